"""The engines available on each system, and the messages for missing ones."""

from __future__ import annotations

import os
import platform
import sys
from importlib import import_module
from pathlib import Path

import pytest
from edge_vision_node.engines import describe_engine
from edge_vision_node.engines.base import cannot_use
from edge_vision_node.engines.onnxruntime import OnnxRuntimeEngine
from edge_vision_node.engines.packages import has_package, why_missing
from edge_vision_node.hardware.discovery import describe_hardware
from edge_vision_node.hardware.host import Host
from edge_vision_node.system import System, this_system


@pytest.mark.parametrize(
    ("engine", "system", "there"),
    [
        ("openvino", System("Linux", "x86_64", "glibc", "2.28"), True),
        ("openvino", System("Linux", "aarch64", "glibc", "2.35"), True),
        ("openvino", System("Linux", "aarch64", "glibc", "2.41"), True),
        ("openvino", System("Linux", "aarch64", "glibc", "3.0"), True),
        ("openvino", System("Linux", "aarch64", "glibc", "2.34"), False),
        ("openvino", System("Linux", "aarch64", "glibc", "2.9"), False),
        ("openvino", System("Linux", "aarch64", "glibc"), True),
        ("openvino", System("Linux", "aarch64", "musl"), False),
        ("onnxruntime", System("Linux", "aarch64", "glibc", "2.28"), True),
        ("onnxruntime", System("Linux", "x86_64", "musl", "1.2.5"), False),
        ("ncnn", System("Linux", "aarch64", "musl"), True),
    ],
)
def test_packages_are_known_by_system(engine: str, system: System, there: bool) -> None:
    assert has_package(engine, system) is there


def asked(monkeypatch: pytest.MonkeyPatch, answer: str | None, libc_ver: tuple[str, str]) -> None:
    """Simulate the name returned by the C library; None means that it has no such function."""

    def confstr(_: str) -> str:
        if answer is None:
            raise ValueError("unrecognized configuration name")
        return answer

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(os, "confstr", confstr)
    monkeypatch.setattr(platform, "libc_ver", lambda: libc_ver)


@pytest.mark.parametrize(
    ("answer", "libc_ver", "libc"),
    [
        ("glibc 2.41", ("glibc", "2.41"), "glibc 2.41"),
        ("glibc 2.41", ("musl", "1.2.5"), "glibc 2.41"),  # Debian's package musl is installed, too
        (None, ("libc", ""), "musl"),
        (None, ("", ""), "musl"),
        (None, ("musl", "1.2.5"), "musl 1.2.5"),
    ],
)
def test_the_c_library_is_the_one_that_is_used(
    monkeypatch: pytest.MonkeyPatch, answer: str | None, libc_ver: tuple[str, str], libc: str
) -> None:
    asked(monkeypatch, answer, libc_ver)
    assert describe_hardware().libc == libc
    assert Host().is_musl is libc.startswith("musl")
    assert this_system().text.endswith(f"with {libc.partition(' ')[0]}")


def test_a_recorded_system_with_both_libraries_is_a_glibc_one(tmp_path: Path) -> None:
    for name in ("lib/ld-musl-x86_64.so.1", "lib/x86_64-linux-gnu/libc.so.6"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert not Host(root=tmp_path).is_musl
    (tmp_path / "lib/x86_64-linux-gnu/libc.so.6").unlink()
    assert Host(root=tmp_path).is_musl


def test_what_is_not_installed_says_whether_it_could_be(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")
    asked(monkeypatch, "glibc 2.41", ("glibc", "2.41"))
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert str(cannot_use(OnnxRuntimeEngine(), missing)) == "ONNX Runtime is not installed"
    asked(monkeypatch, None, ("", ""))
    assert str(cannot_use(OnnxRuntimeEngine(), missing)) == (
        "ONNX Runtime cannot be installed on this system (Linux x86_64 with musl)"
    )
    # Missing dependencies or a broken package are a different case.
    other = ModuleNotFoundError("No module named 'numpy'", name="numpy")
    assert "No module named 'numpy'" in str(cannot_use(OnnxRuntimeEngine(), other))
    assert "cannot be used here: symbol" in str(cannot_use(OnnxRuntimeEngine(), "symbol lookup"))


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "litert", "ncnn"])
def test_no_engine_is_missing_in_words_of_python(
    monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    packages = ("onnxruntime", "openvino", "ai_edge_litert", "tflite_runtime", "ncnn")

    def absent(name: str) -> object:
        if name.partition(".")[0] in packages:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.partition(".")[0])
        return import_module(name)

    monkeypatch.setattr(f"edge_vision_node.engines.{engine}.import_module", absent)
    found = describe_engine(engine)
    assert found.version is None
    assert found.missing == why_missing(engine, found.name)


def test_an_engine_that_is_on_no_package_index_may_still_be_installed_by_hand() -> None:
    assert not has_package("hailort")
    assert why_missing("hailort", "HailoRT") == "HailoRT is not installed"
