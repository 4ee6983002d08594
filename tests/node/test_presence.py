"""The presence rule."""

from __future__ import annotations

from edge_vision_node.protocol import Box, LabelPresence, Phase
from edge_vision_node.rules.presence import PresenceRule
from edge_vision_node.rules.scene import Scene, SceneObject
from hypothesis import given
from hypothesis import strategies as st

BOX = Box(x_min=0.1, y_min=0.1, x_max=0.2, y_max=0.2)


def seen(*labels: str, confidence: float = 80.0) -> Scene:
    items = [SceneObject(label=label, confidence=confidence, box=BOX) for label in labels]
    return Scene(objects=items)


def phases(presence: PresenceRule, scene: Scene) -> list[tuple[str, str, int]]:
    return [(event.phase, event.label, event.count) for event in presence.step(scene)]


def test_starts_at_the_first_look_that_shows_an_object() -> None:
    assert phases(PresenceRule(["person"], 2), seen("person")) == [(Phase.START, "person", 1)]


def test_ends_only_after_as_many_empty_looks_as_it_is_told() -> None:
    presence = PresenceRule(["person"], 3)
    presence.step(seen("person"))
    assert phases(presence, seen()) == []
    assert phases(presence, seen()) == []
    assert phases(presence, seen()) == [(Phase.END, "person", 0)]
    assert phases(presence, seen()) == []


def test_one_look_that_misses_an_object_changes_nothing() -> None:
    presence = PresenceRule(["person"], 2)
    presence.step(seen("person"))
    assert phases(presence, seen()) == []
    assert phases(presence, seen("person")) == []


def test_more_are_told_at_once_and_fewer_when_it_is_certain() -> None:
    presence = PresenceRule(["person"], 2)
    presence.step(seen("person"))
    assert phases(presence, seen("person", "person")) == [(Phase.UPDATE, "person", 2)]
    assert phases(presence, seen("person")) == []
    assert phases(presence, seen("person")) == [(Phase.UPDATE, "person", 1)]


def test_labels_do_not_touch_each_other() -> None:
    presence = PresenceRule(["person", "dog"], 1)
    assert phases(presence, seen("person", "dog")) == [
        (Phase.START, "person", 1),
        (Phase.START, "dog", 1),
    ]
    assert phases(presence, seen("dog")) == [(Phase.END, "person", 0)]


def test_nothing_is_known_before_the_first_look_and_zero_is_known_after_it() -> None:
    presence = PresenceRule(["person"], 2)
    assert presence.presence == {}
    presence.step(seen())
    assert presence.presence == {"person": LabelPresence(present=False, count=0)}


def test_what_was_there_before_a_restart_does_not_start_again() -> None:
    presence = PresenceRule(["person"], 2)
    presence.restore({"labels": {"person": {"count": 1}}})
    assert phases(presence, seen("person")) == []
    assert phases(presence, seen()) == []
    assert phases(presence, seen()) == [(Phase.END, "person", 0)]


def test_the_end_knows_how_sure_the_last_sight_was() -> None:
    presence = PresenceRule(["person"], 1)
    presence.step(seen("person", confidence=91.5))
    after = PresenceRule(["person"], 1)
    after.restore(presence.state())
    for rule in (presence, after):
        (end,) = rule.step(seen())
        assert (end.phase, end.confidence, end.item) == (Phase.END, 91.5, None)


@given(
    st.integers(1, 4),
    st.lists(st.lists(st.sampled_from(["person", "dog", "car"]), max_size=5), max_size=40),
)
def test_starts_and_ends_alternate_and_counts_follow_them(
    looks_to_clear: int, looks: list[list[str]]
) -> None:
    presence = PresenceRule([], looks_to_clear)
    counts: dict[str, int] = {}
    for look in looks:
        for change in presence.step(seen(*look)):
            before = counts.get(change.label, 0)
            assert change.count != before
            if change.phase == Phase.START:
                assert before == 0
            elif change.phase == Phase.END:
                assert before > 0 and change.count == 0
            else:
                assert before > 0 and change.count > 0
            counts[change.label] = change.count
        for label in set(look):
            assert counts[label] >= look.count(label)
        assert {k: v.count for k, v in presence.presence.items() if v.count} == {
            k: v for k, v in counts.items() if v
        }
