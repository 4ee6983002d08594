"""What an event says: a type for the event entity, a sentence in Home Assistant's language."""

from __future__ import annotations

from typing import Final, NamedTuple

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.translation import async_get_cached_translations
from homeassistant.util import slugify

from ..const import DOMAIN
from ..node.edge_vision_node.protocol import NO_ANSWER, Kind, NodeEvent, Phase


class _Words(NamedTuple):
    """An event type, and the key of its sentence in the translations."""

    type: str
    sentence: str


_INSTANT: Final[dict[str, _Words]] = {
    Kind.CLASSIFICATION: _Words("classified", "event_classified"),
    Kind.COUNT: _Words("count_changed", "event_counted"),
    Kind.LINE: _Words("crossed_line", "event_crossed_in"),
    Kind.SCAN: _Words("seen_on_request", "event_scanned"),
}
_LASTING: Final[dict[tuple[str, str], _Words]] = {
    (Kind.OBJECT, Phase.START): _Words("appeared", "event_appeared"),
    (Kind.OBJECT, Phase.UPDATE): _Words("changed", "event_changed"),
    (Kind.OBJECT, Phase.END): _Words("gone", "event_gone"),
    (Kind.ZONE, Phase.START): _Words("entered_zone", "event_entered"),
    (Kind.ZONE, Phase.UPDATE): _Words("changed", "event_back_in_zone"),
    (Kind.ZONE, Phase.END): _Words("left_zone", "event_left"),
    (Kind.LOITERING, Phase.START): _Words("loitering", "event_loitering"),
    (Kind.LOITERING, Phase.UPDATE): _Words("changed", "event_loitering"),
    (Kind.LOITERING, Phase.END): _Words("stopped_loitering", "event_stopped_loitering"),
}

EVENT_TYPES: Final = (
    "appeared",
    "changed",
    "gone",
    "entered_zone",
    "left_zone",
    "loitering",
    "stopped_loitering",
    "crossed_line",
    "count_changed",
    "classified",
    "seen_on_request",
)


def _words(kind: str, phase: str) -> _Words | None:
    return _INSTANT.get(kind) or _LASTING.get((kind, phase))


def event_type(kind: str, phase: str) -> str | None:
    """Return what happened, one of `EVENT_TYPES`; None where this version does not know it."""
    words = _words(kind, phase)
    return words.type if words else None


@callback
def event_message(hass: HomeAssistant, event: NodeEvent) -> str:
    """Return an event as a sentence, such as "Person entered the zone Porch"."""
    label = label_name(hass, event.label)
    # In live video each object has events of its own; of stills one event speaks of all.
    several = event.track_id is None and event.kind == Kind.OBJECT and event.count > 1
    words = _words(event.kind, event.phase)
    key = words.sentence if words else ""
    if event.kind == Kind.CLASSIFICATION and event.label == NO_ANSWER:
        key = "event_nothing_certain"
    elif event.kind == Kind.LINE and event.direction == "out":
        key = "event_crossed_out"
    return text(hass, key, "{what}").format(
        what=f"{event.count} x {label}" if several else label,
        label=label,
        count=event.count,
        zone=event.zone,
        line=event.line,
    )


@callback
def text(hass: HomeAssistant, key: str, otherwise: str = "") -> str:
    """Return one of our texts in Home Assistant's language."""
    texts = async_get_cached_translations(hass, hass.config.language, "common", DOMAIN)
    return texts.get(f"component.{DOMAIN}.common.{key}", otherwise)


@callback
def label_name(hass: HomeAssistant, label: str) -> str:
    """Return what a label is called in Home Assistant's language, where that is known."""
    names = async_get_cached_translations(hass, hass.config.language, "selector", DOMAIN)
    key = f"component.{DOMAIN}.selector.label.options.{slugify(label)}"
    return names.get(key, label[:1].upper() + label[1:])
