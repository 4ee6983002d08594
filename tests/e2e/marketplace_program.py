"""Run Home Assistant with a Marketplace that uses a server on this machine.

The address is in the environment variable MARKETPLACE_AT.
"""

from __future__ import annotations

import dataclasses
import os
import sys

from homeassistant.__main__ import main
from homeassistant.components.marketplace import profiles

base = os.environ.pop("MARKETPLACE_AT")
profiles.GITHUB = dataclasses.replace(
    profiles.GITHUB,
    api=f"{base}/api",
    github=f"{base}/gh",
    raw=f"{base}/raw",
    catalog=f"{base}/catalog",
)
profiles.PROFILES[profiles.DEFAULT_PROFILE] = profiles.GITHUB
sys.argv[0] = "homeassistant"
sys.exit(main())
