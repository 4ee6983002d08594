"""Which models have run on this device, and which have crashed their engine. Stored on disk.

Both are bound to a model's digest for an engine: a changed file is another model, and is tried
again. A file that cannot be read counts as empty. If it cannot be written, its content is lost at
the next restart.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import QuarantinedError
from ..protocol import ProtocolError, QuarantinedModel, read, write
from .manifest import Model

_LOGGER = logging.getLogger(__name__)

PROVEN_NAME = "proven.json"
QUARANTINE_NAME = "quarantine.json"
# Crashes in a row after which a model that once ran is quarantined.
STRIKES = 3


class Trust:
    """Proven and quarantined models of this device. Nothing is stored without a folder."""

    def __init__(self, folder: Path | None = None) -> None:
        """Read the files."""
        self._folder = folder
        self._writing = asyncio.Lock()
        self._proven: dict[str, str] = {}
        for key, at in self._read(PROVEN_NAME).items():
            self._proven[key] = str(at)
        self._strikes: dict[str, QuarantinedModel] = {}
        for key, item in self._read(QUARANTINE_NAME).items():
            try:
                self._strikes[key] = read(QuarantinedModel, item)
            except ProtocolError as err:
                _LOGGER.warning("%s: %s is ignored: %s", QUARANTINE_NAME, key, err)

    # --- Proven -------------------------------------------------------------------------------

    def is_proven(self, model: Model, engine: str, version: str, accelerator: str) -> bool:
        """Return whether a model has run on this version of an engine, on this accelerator."""
        key = f"{model.digest(engine)} {engine} {version}"
        # Earlier versions stored no accelerator; it was nearly always the processor.
        return f"{key} {accelerator}" in self._proven or (
            accelerator == "cpu" and key in self._proven
        )

    async def prove(self, model: Model, engine: str, version: str, accelerator: str) -> None:
        """Note that a model has run on an accelerator."""
        self._proven[f"{model.digest(engine)} {engine} {version} {accelerator}"] = _now()
        await self._write(PROVEN_NAME, self._proven)

    # --- Quarantine ---------------------------------------------------------------------------

    @property
    def quarantined(self) -> tuple[QuarantinedModel, ...]:
        """Return the quarantined models."""
        return tuple(item for item in self._strikes.values() if item.strikes >= STRIKES)

    def require_free(self, model: Model, engine: str, accelerator: str) -> None:
        """Raise `QuarantinedError` if a model is quarantined."""
        item = self._strikes.get(_key(model, engine, accelerator))
        if item is not None and item.strikes >= STRIKES:
            times = f"{item.strikes} times in a row" if item.proven else "when it was first tested"
            raise QuarantinedError(
                f"{item.name} crashed its engine {times} on {engine} {accelerator} ({item.reason})"
                " and was disabled; choose another model or engine, or allow it again"
            )

    async def strike(
        self,
        model: Model,
        engine: str,
        accelerator: str,
        reason: str,
        *,
        proven: bool = True,
        enough: bool = False,
    ) -> None:
        """Count a crash or a hang. `enough`: this one is enough to quarantine the model.

        It takes effect at once, and is on disk when this returns.
        """
        key = _key(model, engine, accelerator)
        before = self._strikes.get(key)
        self._strikes[key] = QuarantinedModel(
            model=model.id,
            model_version=model.manifest.version,
            name=model.manifest.name,
            engine=engine,
            accelerator=accelerator,
            strikes=STRIKES if enough else (before.strikes if before else 0) + 1,
            reason=reason,
            at=_now(),
            proven=proven,
        )
        await self._write_strikes()

    async def forgive(self, model: Model, engine: str, accelerator: str) -> None:
        """Forget the crashes of a model that runs again."""
        if self._strikes.pop(_key(model, engine, accelerator), None) is not None:
            await self._write_strikes()

    async def clear(self, model_id: str | None) -> tuple[QuarantinedModel, ...]:
        """Release a model from quarantine, or all for None; return those that were released."""
        cleared = {
            key: item for key, item in self._strikes.items() if model_id in (None, item.model)
        }
        for key in cleared:
            del self._strikes[key]
        if cleared:
            await self._write_strikes()
        return tuple(replace(item, strikes=0) for item in cleared.values())

    async def _write_strikes(self) -> None:
        await self._write(QUARANTINE_NAME, self._strikes)

    # --- Files --------------------------------------------------------------------------------

    def _read(self, name: str) -> dict[str, Any]:
        if self._folder is None:
            return {}
        try:
            document = json.loads((self._folder / name).read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as err:
            _LOGGER.warning("%s cannot be read: %s", name, err)
            return {}
        return document if isinstance(document, dict) else {}

    async def _write(self, name: str, items: Mapping[str, str | QuarantinedModel]) -> None:
        """Write a file in a thread, because a slow disk must not block the event loop."""
        if self._folder is None:
            return
        async with self._writing:  # the state at that time: the last call writes everything
            document = {
                key: item if isinstance(item, str) else write(item) for key, item in items.items()
            }
            # If this is canceled, the thread still writes.
            await asyncio.to_thread(self._write_file, self._folder / name, document)

    @staticmethod
    def _write_file(path: Path, document: Mapping[str, Any]) -> None:
        temporary = path.with_suffix(".tmp")
        try:
            with temporary.open("w", encoding="utf-8") as file:
                json.dump(document, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as err:
            _LOGGER.error("%s cannot be written: %s", path, err.strerror)


def _key(model: Model, engine: str, accelerator: str) -> str:
    return f"{model.digest(engine)} {engine} {accelerator}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
