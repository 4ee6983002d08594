"""Merging changes of a flow with changes made while it was open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..areas import KINDS


def merge_changes(
    now: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the current data with the changes from `before` to `after`.

    Each zone, line and mask is merged separately.
    """
    gone = before.keys() - after.keys()
    new = {key: value for key, value in after.items() if key not in before or value != before[key]}
    for key in KINDS:
        if before.get(key) != after.get(key):
            gone.discard(key)
            new[key] = _changed_items(now.get(key, ()), before.get(key, ()), after.get(key, ()))
    return {**{key: value for key, value in now.items() if key not in gone}, **new}


def _changed_items(now: Sequence[Any], before: Sequence[Any], after: Sequence[Any]) -> list[Any]:
    """Return the merged items of a list; zones and lines are identified by name, masks by shape."""

    def by_name(items: Sequence[Any]) -> dict[Any, Any]:
        return {item["name"] if isinstance(item, Mapping) else str(item): item for item in items}

    was, wanted, there = by_name(before), by_name(after), by_name(now)
    kept = {
        name: item
        for name, item in there.items()
        # Keep removals and changes made by others in the meantime.
        if name in wanted or name not in was
    }
    new = {name: item for name, item in wanted.items() if item != was.get(name)}
    return list({**kept, **new}.values())
