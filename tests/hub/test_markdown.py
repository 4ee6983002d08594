"""Texts from outside in descriptions: they are shown, and do nothing."""

from __future__ import annotations

import pytest
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir

from custom_components.edge_vision.const import DOMAIN, Issue, issue_id
from custom_components.edge_vision.flows import model_text
from custom_components.edge_vision.markdown import Markdown, Plain, escaped, placeholders
from custom_components.edge_vision.node.edge_vision_node import protocol
from custom_components.edge_vision.runtime import benchmark_text
from custom_components.edge_vision.runtime.issues import async_raise_issue
from tests.hub.texts import find

HOSTILE = [
    ("SSD MobileNet v2, 300x300 (8 bit): 15.5 ms, 70 %", None),
    ("Haustür Süd, 玄関 №1", None),
    ("/media/clips/yard.mp4", None),
    ("my_model_v2", r"my\_model\_v2"),
    ("*bold* `code` ~~gone~~", r"\*bold\* \`code\` \~\~gone\~\~"),
    ("![x](http://a.example/p.png)", r"!\[x\](http\://a.example/p.png)"),
    ("[click](javascript:alert(1))", r"\[click\](javascript:alert(1))"),
    ("<img src=x onerror=alert(1)>", r"\<img src=x onerror=alert(1)\>"),
    ("<ha-alert>all is well</ha-alert>", r"\<ha-alert\>all is well\</ha-alert\>"),
    ("&lt;script&gt; &#60;b&#62;", r"\&lt;script\&gt; \&\#60;b\&\#62;"),
    ("see HTTPS://evil.example", r"see HTTPS\://evil.example"),
    ("www.evil.example WWW.evil.example", r"www\.evil.example WWW\.evil.example"),
    ("me@evil.example", r"me\@evil.example"),
    ("# head", r"\# head"),
    ("> quote", r"\> quote"),
    ("- item", r"\- item"),
    ("--- ", r"\---"),
    ("1. first", r"1\. first"),
    ("12) twelfth", r"12\) twelfth"),
    ("| a | b |", r"\| a \| b \|"),
    ("a\\", "a\\\\"),
    ("\\*", r"\\\*"),
    ("a\n\n# b\r\n\u2028- c\tline", r"a \# b - c line"),
    ("\x1b[31mred\x00", r"\[31mred"),
    ("\u202egnp.exe", "gnp.exe"),
    ("    code", "code"),
    ("", ""),
]


@pytest.mark.parametrize(("text", "shown"), HOSTILE)
def test_a_text_from_outside_shows_itself(text: str, shown: str | None) -> None:
    assert escaped(text) == (text if shown is None else shown)
    assert escaped(escaped(text)) == escaped(text)  # once


def test_what_is_too_long_is_cut() -> None:
    assert escaped("x" * 501) == "x" * 500 + "…"
    assert escaped("*" * 20, 10) == r"\*" * 10 + "…"


def test_placeholders_are_escaped_unless_they_are_marked_as_something_else() -> None:
    told = placeholders(name="*a*", picture=Markdown("![](b)"), title=Plain("*c*"))
    assert told == {"name": r"\*a\*", "picture": "![](b)", "title": "*c*"}


@pytest.mark.parametrize("issue", list(Issue))
def test_names_and_errors_in_repair_issues_are_escaped(hass: HomeAssistant, issue: Issue) -> None:
    evil = "![](http://a.example/p.png)"
    keys = ("name", "error", "reason", "model", "engine", "place", "camera", "node", "count")
    more = ("minutes", "seconds", "requirement", "platform", "what")
    fixes = "entry" if find(f"issues.{issue}.fix_flow") else None
    told = dict.fromkeys((*keys, *more), evil)
    async_raise_issue(hass, issue, "owner", told, reload_fixes=fixes)
    made = ir.async_get(hass).async_get_issue(DOMAIN, issue_id(issue, "owner"))
    assert made is not None
    told = dict(made.translation_placeholders or {})
    assert {told[key] for key in keys} == {r"!\[\](http\://a.example/p.png)"}
    assert told["name_in_title"] == evil  # a title is plain text


def test_what_a_node_says_is_escaped_in_reports() -> None:
    evil = "<b>*x*</b>"
    inspection = protocol.Inspection(
        file=evil,
        format=evil,
        size_bytes=1,
        inputs=(protocol.ModelTensor(name=evil, shape=(1,), dtype=evil),),
        outputs=(),
        metadata={evil: evil},
        proposal=protocol.ModelProposal(
            task=evil,
            family=evil,
            confidence=50.0,
            reasons=(evil,),
            labels=(evil,),
            manifest={},
        ),
        problem=evil,
    )
    row = protocol.BenchmarkRow(
        engine="e", engine_name=evil, accelerator="a", accelerator_name=evil, error=evil
    )
    benchmark = protocol.Benchmark(model="m", model_name=evil, at="", rows=(row,))
    device = protocol.DeviceInfo(id="d", kind="k", name=evil, missing=evil)
    for text in (
        model_text.report(inspection),
        benchmark_text.listed(benchmark),
        benchmark_text.accelerators([device]),
    ):
        assert isinstance(text, Markdown)
        assert "<" not in text.replace(r"\<", "")
        assert "*x" not in text.replace(r"\*x", "")
