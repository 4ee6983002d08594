"""The rule for an answer about the whole frame."""

from __future__ import annotations

from edge_vision_node.protocol import NO_ANSWER
from edge_vision_node.rules.answer import NOTHING, AnswerRule
from edge_vision_node.rules.scene import Answer, RuleEvent, Scene
from hypothesis import given
from hypothesis import strategies as st

ANSWERS = st.sampled_from(["cat", "dog", NO_ANSWER])


def look(held: AnswerRule, answer: Answer | None) -> list[RuleEvent]:
    return held.step(Scene(answer=answer))


def told(held: AnswerRule, *labels: str) -> list[str]:
    """Return what was news in some looks."""
    return [event.label for label in labels for event in look(held, Answer(label, 80.0))]


def test_the_first_answer_counts_at_once() -> None:
    held = AnswerRule(3)
    assert held.answer is None
    assert told(held, "cat") == ["cat"]
    assert held.answer == Answer("cat", 80.0)


def test_that_nothing_is_there_from_the_beginning_is_no_news_but_known() -> None:
    held = AnswerRule(2)
    assert look(held, NOTHING) == []
    assert held.answer == NOTHING


def test_another_answer_has_to_hold() -> None:
    held = AnswerRule(3)
    assert told(held, "cat", "dog", "dog") == ["cat"]
    assert told(held, "dog") == ["dog"]


def test_one_look_that_errs_changes_nothing_and_starts_the_count_anew() -> None:
    held = AnswerRule(2)
    assert told(held, "cat", "dog", "cat", "dog", NO_ANSWER, "dog") == ["cat"]


def test_nothing_has_to_hold_as_well() -> None:
    held = AnswerRule(2)
    assert told(held, "cat", NO_ANSWER, NO_ANSWER) == ["cat", NO_ANSWER]


def test_the_confidence_is_the_newest() -> None:
    held = AnswerRule(2)
    look(held, Answer("cat", 60.0))
    assert look(held, Answer("cat", 90.0)) == []
    assert held.answer == Answer("cat", 90.0)


def test_what_held_before_a_restart_is_not_told_again() -> None:
    held = AnswerRule(2)
    before = AnswerRule(2)
    look(before, Answer("cat", 70.0))
    held.restore(before.state())
    assert held.answer == Answer("cat", 70.0)
    assert told(held, "cat", "dog", "dog") == ["dog"]


def test_a_scene_without_an_answer_changes_nothing() -> None:
    held = AnswerRule(2)
    assert held.state() == {}
    assert told(held, "cat", "dog") == ["cat"]
    assert look(held, None) == []
    assert told(held, "dog") == ["dog"]


@given(st.lists(ANSWERS), st.integers(1, 4))
def test_it_changes_only_to_what_the_last_looks_agree_on(labels: list[str], needed: int) -> None:
    held = AnswerRule(needed)
    holding: str | None = None
    for position, label in enumerate(labels):
        news = [event.label for event in look(held, Answer(label, 50.0))]
        assert held.answer is not None
        if position and held.answer.label != holding:
            assert news == [held.answer.label]
            assert set(labels[position + 1 - needed : position + 1]) == {held.answer.label}
        elif position:
            assert news == []
        holding = held.answer.label


@given(st.lists(ANSWERS, min_size=1), st.integers(1, 4))
def test_it_follows_in_the_end(labels: list[str], needed: int) -> None:
    held = AnswerRule(needed)
    for label in [*labels, *[labels[-1]] * needed]:
        look(held, Answer(label, 50.0))
    assert held.answer is not None
    assert held.answer.label == labels[-1]


@given(st.lists(ANSWERS))
def test_with_one_look_it_is_the_newest_answer(labels: list[str]) -> None:
    held = AnswerRule(1)
    for label in labels:
        look(held, Answer(label, 50.0))
        assert held.answer == Answer(label, 50.0)
