"""What every process of the node says unasked."""

from __future__ import annotations

from dataclasses import dataclass

BEGAN = "began"


@dataclass(frozen=True, kw_only=True)
class Began:
    """`began`: the process begins to execute an order. If it ends now, that order is to blame."""

    order: int
