"""The rule for an answer about the whole frame."""

from __future__ import annotations

from edge_vision_node.protocol import NO_ANSWER
from edge_vision_node.rules.answer import NOTHING, Answer, HeldAnswer
from hypothesis import given
from hypothesis import strategies as st

ANSWERS = st.sampled_from(["cat", "dog", NO_ANSWER])


def told(held: HeldAnswer, *labels: str) -> list[str]:
    """Return what was news in some looks."""
    news = (held.step(Answer(label, 80.0)) for label in labels)
    return [answer.label for answer in news if answer is not None]


def test_the_first_answer_counts_at_once() -> None:
    held = HeldAnswer(3)
    assert held.answer is None
    assert told(held, "cat") == ["cat"]
    assert held.answer == Answer("cat", 80.0)


def test_that_nothing_is_there_from_the_beginning_is_no_news_but_known() -> None:
    held = HeldAnswer(2)
    assert held.step(NOTHING) is None
    assert held.answer == NOTHING


def test_another_answer_has_to_hold() -> None:
    held = HeldAnswer(3)
    assert told(held, "cat", "dog", "dog") == ["cat"]
    assert told(held, "dog") == ["dog"]


def test_one_look_that_errs_changes_nothing_and_starts_the_count_anew() -> None:
    held = HeldAnswer(2)
    assert told(held, "cat", "dog", "cat", "dog", NO_ANSWER, "dog") == ["cat"]


def test_nothing_has_to_hold_as_well() -> None:
    held = HeldAnswer(2)
    assert told(held, "cat", NO_ANSWER, NO_ANSWER) == ["cat", NO_ANSWER]


def test_the_confidence_is_the_newest() -> None:
    held = HeldAnswer(2)
    held.step(Answer("cat", 60.0))
    assert held.step(Answer("cat", 90.0)) is None
    assert held.answer == Answer("cat", 90.0)


def test_what_held_before_a_restart_is_not_told_again() -> None:
    held = HeldAnswer(2)
    held.restore("cat", 70.0)
    assert held.answer == Answer("cat", 70.0)
    assert told(held, "cat", "dog", "dog") == ["dog"]


@given(st.lists(ANSWERS), st.integers(1, 4))
def test_it_changes_only_to_what_the_last_looks_agree_on(labels: list[str], needed: int) -> None:
    held = HeldAnswer(needed)
    holding: str | None = None
    for position, label in enumerate(labels):
        news = held.step(Answer(label, 50.0))
        assert held.answer is not None
        if position and held.answer.label != holding:
            assert news == held.answer
            assert set(labels[position + 1 - needed : position + 1]) == {held.answer.label}
        elif position:
            assert news is None
        holding = held.answer.label


@given(st.lists(ANSWERS, min_size=1), st.integers(1, 4))
def test_it_follows_in_the_end(labels: list[str], needed: int) -> None:
    held = HeldAnswer(needed)
    for label in [*labels, *[labels[-1]] * needed]:
        held.step(Answer(label, 50.0))
    assert held.answer is not None
    assert held.answer.label == labels[-1]


@given(st.lists(ANSWERS))
def test_with_one_look_it_is_the_newest_answer(labels: list[str]) -> None:
    held = HeldAnswer(1)
    for label in labels:
        held.step(Answer(label, 50.0))
        assert held.answer == Answer(label, 50.0)
