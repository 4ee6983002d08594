"""Background work, and the one place where its errors end up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

_LOGGER = logging.getLogger(__name__)
_T = TypeVar("_T")


class Background:
    """Runs work to its end and notes what fails. Used from the event loop."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """Initialize; `changed` is called when `error` appears, changes or is gone."""
        self._changed = changed
        self._tasks: set[asyncio.Task[Any]] = set()
        self._errors: dict[str, str] = {}

    @property
    def error(self) -> str | None:
        """Return what fails at the moment, in a sentence; None if nothing does."""
        return next(iter(self._errors.values()), None)

    @contextmanager
    def noting(self, what: str) -> Iterator[None]:
        """Log an error and note it until the same thing succeeds; `what` starts the sentence."""
        try:
            yield
        except Exception as err:
            _LOGGER.exception("%s", what)
            self._note(what, err)
        else:
            self._note(what, None)

    def call_all(self, what: str, listeners: Iterable[Callable[..., object]], *args: Any) -> None:
        """Call all listeners, even if one of them fails; see `noting`."""
        failure: Exception | None = None
        for listener in tuple(listeners):
            try:
                listener(*args)
            except Exception as err:
                _LOGGER.exception("%s", what)
                failure = err
        self._note(what, failure)

    def _note(self, what: str, failure: Exception | None) -> None:
        before = self._errors.pop(what, None)
        if failure is not None:
            self._errors[what] = f"{what}: {type(failure).__name__}: {failure}"
        if self._errors.get(what) != before:
            self._changed()

    def spawn(self, work: Coroutine[Any, Any, object], what: str) -> asyncio.Task[None]:
        """Run work in the background; see `noting`."""

        async def run() -> None:
            with self.noting(what):
                await work

        return self._keep(asyncio.create_task(run()))

    async def finish(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run work to its end even if the caller is cancelled; errors are the caller's."""
        task = self._keep(asyncio.create_task(work))
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            task.add_done_callback(_log_failure)
            raise
        return task.result()

    def _keep(self, task: asyncio.Task[_T]) -> asyncio.Task[_T]:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def settled(self) -> None:
        """Wait until everything that has been started is done."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _log_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (err := task.exception()) is not None:
        _LOGGER.error("A change failed after its caller had left", exc_info=err)
