"""Processes that run models."""

from __future__ import annotations

from ..processes.child_process import ChildProcess


def model_process(name: str, *, memory_limit: int = 0, disposable: bool = False) -> ChildProcess:
    """Return a process that runs models, see `ChildProcess`; nothing is started yet."""
    return ChildProcess(
        name,
        f"{__package__}.child",
        culprit="the engine",
        memory_limit=memory_limit,
        disposable=disposable,
    )
