"""Messages that every process of the node sends on its own."""

from __future__ import annotations

from dataclasses import dataclass

BEGAN = "began"


@dataclass(frozen=True, kw_only=True)
class Began:
    """`began`: the process starts to execute a command, which caused it if the process ends now."""

    order: int
