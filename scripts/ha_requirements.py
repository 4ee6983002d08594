"""Print what Home Assistant would install while it starts in the demo and the end-to-end tests.

Run it with the Python of an environment that has Home Assistant. The list comes from the
manifests of the integrations in use and of all they depend on, and from the default login.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import homeassistant
from homeassistant.auth.mfa_modules import totp
from homeassistant.bootstrap import CORE_INTEGRATIONS, DEFAULT_INTEGRATIONS

# What the configuration in ha_instance.py and Edge Vision load, beyond the default set.
INTEGRATIONS = (
    "camera",
    "config",
    "history",
    "image_processing",
    "logbook",
    "mjpeg",
    "stream",
)

# The voice pipeline is part of the default set, but these have no wheel for Python 3.14 and would
# need a compiler. Home Assistant is started with stand-ins (without_voice/): voice is not what is
# tested here, but its frontend does not load when they cannot be imported.
NEED_A_COMPILER = ("pymicro-vad", "pyspeex-noise")


def requirements() -> list[str]:
    """Return the requirements of the integrations, of the default set and of their dependencies."""
    components = Path(homeassistant.__file__).parent / "components"
    waiting = {*INTEGRATIONS, *CORE_INTEGRATIONS, *DEFAULT_INTEGRATIONS}
    seen: set[str] = set()
    found = set(totp.REQUIREMENTS)  # of the second factor, which is set up without being asked for
    while waiting:
        domain = waiting.pop()
        seen.add(domain)
        manifest: dict[str, Any] = json.loads((components / domain / "manifest.json").read_text())
        found.update(manifest.get("requirements", ()))
        # Home Assistant also installs for what only has to come first, set up or not.
        for key in ("dependencies", "after_dependencies"):
            waiting.update(set(manifest.get(key, ())) - seen)
    return sorted(
        (item for item in found if item.partition("==")[0].lower() not in NEED_A_COMPILER),
        key=str.lower,
    )


if __name__ == "__main__":
    print("\n".join(requirements()))
