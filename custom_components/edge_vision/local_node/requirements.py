"""The engine's package: which one suits this machine, and installing it on demand.

Engines are no requirements in the manifest: none of them has packages for every machine that
Home Assistant runs on, and a requirement that cannot be installed would stop the whole set-up.
"""

from __future__ import annotations

import os
import platform
import sys
from typing import Final

from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.loader import async_get_integration
from homeassistant.requirements import (
    RequirementsNotFound,
    async_clear_install_history,
    async_process_requirements,
)

from ..const import DOMAIN

ENGINE_NCNN: Final = "ncnn"
ENGINE_ONNXRUNTIME: Final = "onnxruntime"

ENGINE_REQUIREMENTS: Final = {
    ENGINE_ONNXRUNTIME: "onnxruntime==1.32.0",
    ENGINE_NCNN: "ncnn==1.0.20261020",
}
ENGINE_NAMES: Final = {ENGINE_ONNXRUNTIME: "ONNX Runtime", ENGINE_NCNN: "ncnn"}

# Beside the engine of the node: for models and accelerators that others cannot serve.
FURTHER_REQUIREMENTS: Final = {"litert": "ai-edge-litert==2.3.0", "openvino": "openvino==2026.4.1"}
FURTHER_NAMES: Final = {"litert": "LiteRT", "openvino": "OpenVINO"}

# Where ONNX Runtime publishes packages, for 64-bit Python: (system, machine).
_ONNXRUNTIME_PLATFORMS = {("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64")}


class EngineInstallError(HomeAssistantError):
    """The engine's package cannot be installed here. `engine`, `platform` say which and where."""

    def __init__(self, engine: str) -> None:
        """Initialize with the engine and this machine."""
        self.engine = engine
        self.platform = platform_name()
        name = engine_name(engine)
        super().__init__(
            f"{name} ({_requirement(engine)}) cannot be installed on"
            f" {self.platform}: check the internet connection and try again, or choose another"
            " engine",
            translation_domain=DOMAIN,
            translation_key="engine_not_installed",
            translation_placeholders={
                "engine": name,
                "requirement": _requirement(engine),
                "platform": self.platform,
            },
        )


def engine_name(engine: str) -> str:
    """Return what an engine that can be installed is called."""
    return (ENGINE_NAMES | FURTHER_NAMES)[engine]


def _requirement(engine: str) -> str:
    return (ENGINE_REQUIREMENTS | FURTHER_REQUIREMENTS)[engine]


def _libc() -> str:
    """Return "glibc", "musl" or "" without reading a file, for this runs in the event loop."""
    if sys.platform != "linux":
        return ""
    try:
        version = os.confstr("CS_GNU_LIBC_VERSION")
    except OSError, ValueError:
        return "musl"
    return "glibc" if version and version.startswith("glibc") else "musl"


def platform_name() -> str:
    """Return this machine in words, such as "Linux aarch64 (musl), Python 3.14"."""
    libc = f" ({name})" if (name := _libc()) else ""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return f"{platform.system()} {platform.machine()}{libc}, Python {version}"


def default_engine() -> str:
    """Return the engine that suits this machine best: the fastest that has packages for it."""
    here = (platform.system(), platform.machine())
    if here in _ONNXRUNTIME_PLATFORMS and sys.maxsize > 2**32 and _libc() != "musl":
        return ENGINE_ONNXRUNTIME
    return ENGINE_NCNN


async def async_install_engine(hass: HomeAssistant, engine: str) -> None:
    """Install an engine's package unless it is there already. Raises `EngineInstallError`.

    Call it at every set-up: an update of Home Assistant replaces its whole environment.
    """
    requirement = _requirement(engine)
    try:
        await async_process_requirements(hass, DOMAIN, [requirement], is_built_in=False)
    except RequirementsNotFound as err:
        # Home Assistant remembers the failure and would not even try next time.
        async_clear_install_history(hass)
        raise EngineInstallError(engine) from err


async def async_install_video(hass: HomeAssistant) -> str | None:
    """Install the package that reads live video; return why that cannot be done, None where it can.

    Home Assistant's integration `stream` requires it, in the version that goes with the rest, and
    most have it for that. But it is no part of Home Assistant itself.
    """
    stream = await async_get_integration(hass, "stream")
    wanted = [item for item in stream.requirements if item.lower().startswith("av=")]
    try:
        await async_process_requirements(hass, DOMAIN, wanted, is_built_in=False)
    except RequirementsNotFound:
        async_clear_install_history(hass)
        return f"the package {', '.join(wanted)} cannot be installed on {platform_name()}"
    return None
