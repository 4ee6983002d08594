"""The blueprints that are delivered: added where Home Assistant looks for them, updated, removed.

Home Assistant offers those of its own integrations only; of others it reads the user's folder.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from homeassistant.components import persistent_notification
from homeassistant.components.automation import automations_with_blueprint
from homeassistant.components.automation.const import DOMAIN as AUTOMATION
from homeassistant.config import async_hass_config_yaml
from homeassistant.const import CONF_PATH, SERVICE_RELOAD
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.util.file import WriteError, write_utf8_file

from ..const import DOMAIN, MANUFACTURER

_LOGGER = logging.getLogger(__name__)

_SOURCE: Final = Path(__file__).parents[1] / "blueprints" / AUTOMATION / DOMAIN
_TARGET: Final = ("blueprints", AUTOMATION, DOMAIN)
_USE_BLUEPRINT: Final = "use_blueprint"

# The SHA-256 of each blueprint in every version that was ever delivered, newest first. A copy with
# one of them is ours; any other is the user's. Add one when a blueprint changes; remove none.
DELIVERED: Final[dict[str, tuple[str, ...]]] = {
    "light_while_occupied.yaml": (
        "984a6092226309788587fda086c0e9794862c866c744999f04561c11e21e4008",
        "fa8a7339dbe4236434e90b4c247417ee9ea2927686045db71ea1dc3bcceeffaa",
        "53a7f932328b1729c83edb6631647997b49ba21d190564fffd6e6bc2111c6d4e",
        "ed6fc19c8d627ecefad703bdd83e644d4e06590cb1a87826945ed3b4d9abcafb",
        "a8f6ea3e5b89b6df406aa4c586beeb499fe9ab4553da42778b9ff9ee298d2a1f",
        "3304276df3aa149a4227f84adaf8e4d04a1dfc81d2d063370a0fb4ad1df15308",
    ),
    "notify_with_picture.yaml": (
        "abb0eb768e9234291c7ce796b8370fa4ab43c6a3b15c6acd3bf0ea4afbcd2aa1",
        "883b1ee753fbc815aff4c719e78f4248397df838229333f5872002a92627cbeb",
        "b9fd209dbf9f41cb06fb8b48c4d3653606455f8a5e0a38121e2eac524dcd4847",
        "5297bbdededc5ea8e370953fe9d695b4dfa2519ca427f066478f72bfec6da68f",
        "52f60e9bfe397ec8def1914313bc5064bd04d5a263c4df56ef575c8e4b09c2af",
        "166ea9fd8b2844b553b510cd042ac9bc994d90e2c356076a8ad578d712b7bb3a",
    ),
}


async def async_add_blueprints(hass: HomeAssistant) -> None:
    """Add the blueprints that are missing and update untouched copies; changed ones stay."""
    updated = await hass.async_add_executor_job(_add, Path(hass.config.path(*_TARGET)))
    if any(automations_with_blueprint(hass, f"{DOMAIN}/{name}") for name in updated):
        # Home Assistant has read the older version already.
        await hass.services.async_call(AUTOMATION, SERVICE_RELOAD)


async def async_remove_blueprints(hass: HomeAssistant) -> None:
    """Remove untouched copies that no automation uses; say which ones are still in use."""
    used = {name for name in DELIVERED if automations_with_blueprint(hass, f"{DOMAIN}/{name}")}
    used |= await _used_by_configuration(hass)
    kept = await hass.async_add_executor_job(_remove, Path(hass.config.path(*_TARGET)), used)
    if kept:
        names = ", ".join(f"`{'/'.join((*_TARGET, name))}`" for name in kept)
        persistent_notification.async_create(
            hass,
            f"Automations still use these blueprints of Edge Vision, so they were kept: {names}. "
            "Delete the automations first, then the blueprints under Settings → Automations & "
            "scenes → Blueprints.",
            title=MANUFACTURER,
            notification_id=f"{DOMAIN}_blueprints",
        )


async def _used_by_configuration(hass: HomeAssistant) -> set[str]:
    """Return what automations use that are not loaded: disabled ones, or ones with errors."""
    try:
        config = await async_hass_config_yaml(hass)
    except FileNotFoundError:
        return set()
    except HomeAssistantError as err:
        _LOGGER.warning("The configuration cannot be read, so all blueprints are kept: %s", err)
        return set(DELIVERED)
    paths: set[Any] = set()
    for key, automations in config.items():
        if str(key).split(maxsplit=1)[:1] == [AUTOMATION]:
            for item in automations if isinstance(automations, list) else [automations]:
                use = item.get(_USE_BLUEPRINT) if isinstance(item, dict) else None
                paths.add(str(use.get(CONF_PATH)) if isinstance(use, dict) else None)
    return {name for name in DELIVERED if f"{DOMAIN}/{name}" in paths}


def _is_untouched(path: Path) -> bool:
    """Return whether a file is as some version delivered it. Raises `OSError`."""
    return hashlib.sha256(path.read_bytes()).hexdigest() in DELIVERED[path.name]


def _add(folder: Path) -> list[str]:
    """Add and update; return the names of those that were replaced."""
    replaced = []
    for source in sorted(_SOURCE.glob("*.yaml")):
        target = folder / source.name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            content = source.read_bytes()
            if target.exists():
                if target.read_bytes() == content or not _is_untouched(target):
                    continue
                replaced.append(source.name)
            write_utf8_file(str(target), content, mode="wb")
        except (OSError, WriteError) as err:
            _LOGGER.warning("The blueprint %s cannot be added: %s", source.name, err)
    return replaced


def _remove(folder: Path, used: Collection[str]) -> list[str]:
    """Remove untouched copies; return the names of those that stay because they are in use."""
    kept = []
    for name in sorted(DELIVERED):
        target = folder / name
        try:
            if not target.is_file():
                continue
            if name in used:
                kept.append(name)
            elif _is_untouched(target):
                target.unlink()
        except OSError as err:
            _LOGGER.warning("The blueprint %s cannot be removed: %s", name, err)
    with suppress(OSError):  # something is still in it, or it never was there
        folder.rmdir()
    return kept
