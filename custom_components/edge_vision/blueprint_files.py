"""The blueprints that come along: put where Home Assistant looks for them, and taken away again.

Home Assistant offers those of its own integrations only; of others it reads the user's folder.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from homeassistant.core import HomeAssistant

from .const import DOMAIN

_LOGGER = logging.getLogger(__name__)

_OURS: Final = Path(__file__).parent / "blueprints" / "automation" / DOMAIN
_THEIRS: Final = ("blueprints", "automation", DOMAIN)


async def async_add_blueprints(hass: HomeAssistant) -> None:
    """Add the blueprints that are not there; what the user has changed stays."""
    await hass.async_add_executor_job(_add, Path(hass.config.path(*_THEIRS)))


async def async_remove_blueprints(hass: HomeAssistant) -> None:
    """Remove the blueprints that are as they came."""
    await hass.async_add_executor_job(_remove, Path(hass.config.path(*_THEIRS)))


def _pairs(folder: Path) -> Iterator[tuple[Path, Path]]:
    for path in sorted(_OURS.glob("*.yaml")):
        yield path, folder / path.name


def _add(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for ours, theirs in _pairs(folder):
            if not theirs.exists():
                theirs.write_bytes(ours.read_bytes())
    except OSError as err:
        _LOGGER.warning("The blueprints cannot be added: %s", err.strerror)


def _remove(folder: Path) -> None:
    try:
        for ours, theirs in _pairs(folder):
            if theirs.is_file() and theirs.read_bytes() == ours.read_bytes():
                theirs.unlink()
        folder.rmdir()
    except OSError:
        pass  # there are others in it, or it never was
