"""Flows as a user's browser walks through them, and nodes that go wrong in every way."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from homeassistant.config_entries import SOURCE_USER
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType

from custom_components.edge_vision.const import CONF_ENGINE, DOMAIN
from tests.hub.conftest import Home

# What a package that pretends to be an engine does when the node imports it.
CRASHES = "import os, signal; os.kill(os.getpid(), signal.{signal})"
CANNOT_BE_IMPORTED = "raise ImportError('libgomp.so.1 is missing')"
HANGS = "import time; time.sleep(60)"
SESSION = """
import numpy
__version__ = "0.0"
def set_default_logger_severity(level): pass
def get_available_providers(): return ["CPUExecutionProvider"]
class SessionOptions:
    def add_session_config_entry(self, key, value): pass
class Tensor:
    type = "tensor(float)"
    shape = [1, 300, 300, 3]
    def __init__(self, name): self.name = name
class InferenceSession:
    def __init__(self, path, options, providers): {loading}
    def get_inputs(self): return [Tensor("image")]
    def get_outputs(self): return [Tensor("boxes"), Tensor("logits")]
    def run(self, outputs, inputs):
        return [numpy.zeros((1, 1917, 4), "f"), numpy.full((1, 1917, 91), -20, "f")]
"""
CANNOT_LOAD = SESSION.format(loading="raise RuntimeError('bad magic')")
SEES_NOTHING = SESSION.format(loading="pass")


def fake_engine(monkeypatch: pytest.MonkeyPatch, folder: Path, code: str) -> None:
    """Have nodes import this instead of ONNX Runtime."""
    fake_module(monkeypatch, folder, "onnxruntime", code)


def fake_module(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, code: str) -> None:
    """Have nodes import this module before any other of its name."""
    folder = folder / "fake"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder))


# The real engine, with a file in its way: a model is loaded when that is gone.
SLOW = """
import importlib, pathlib, sys, time
sys.path.remove(str(pathlib.Path(__file__).parent))
del sys.modules["onnxruntime"]
real = importlib.import_module("onnxruntime")
class InferenceSession(real.InferenceSession):
    def __init__(self, *args, **more):
        while pathlib.Path({gate!r}).exists():
            time.sleep(0.02)
        super().__init__(*args, **more)
real.InferenceSession = InferenceSession
"""


def slow_engine(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """Have nodes load no model with ONNX Runtime while the file that is returned exists."""
    gate = folder / "gate"
    gate.touch()
    fake_engine(monkeypatch, folder, SLOW.format(gate=str(gate)))
    return gate


async def begin(hass: HomeAssistant) -> Any:
    """Open the form."""
    return await hass.config_entries.flow.async_init(DOMAIN, context={"source": SOURCE_USER})


async def choose(hass: HomeAssistant, flow_id: str, engine: str) -> Any:
    """Send the form."""
    return await hass.config_entries.flow.async_configure(flow_id, {CONF_ENGINE: engine})


async def through_progress(hass: HomeAssistant, flow_id: str, actions: list[str]) -> Any:
    """Ask again whenever a step is done, as the browser does; notes the progress shown."""
    while True:
        result = await hass.config_entries.flow.async_configure(flow_id)
        if result["type"] is not FlowResultType.SHOW_PROGRESS:
            return result
        if not actions or actions[-1] != result["progress_action"]:
            actions.append(result["progress_action"])
        await asyncio.sleep(0.02)


async def until_testing(hass: HomeAssistant, flow_id: str) -> None:
    """Wait until the self test has begun."""
    while True:
        result = await hass.config_entries.flow.async_configure(flow_id)
        if result["progress_action"] == "test":
            return
        await asyncio.sleep(0.02)


async def try_engine(hass: HomeAssistant, engine: str) -> Any:
    """Open the form, send it, and wait for what comes of it."""
    form = await begin(hass)
    await choose(hass, form["flow_id"], engine)
    return await through_progress(hass, form["flow_id"], [])


class ChangeFlow:
    """Changing the one camera, as a browser does."""

    def __init__(self, hass: HomeAssistant, home: Home) -> None:
        self._hass, self._home = hass, home
        self.result: Any = None

    async def begin(self, option: str, subentry_id: str | None = None) -> None:
        if subentry_id is None:
            (subentry_id,) = self._home.entry.subentries
        self.result = await self._home.entry.start_subentry_reconfigure_flow(
            self._hass, subentry_id
        )
        await self.pick(option)

    async def pick(self, option: str) -> None:
        await self.send(next_step_id=option)

    async def send(self, **answer: Any) -> None:
        self.result = await self._hass.config_entries.subentries.async_configure(
            self.result["flow_id"], answer
        )


def picture_address(flow: Any) -> str:
    picture: str = flow["description_placeholders"]["picture"]
    return picture.splitlines()[0].removeprefix("![](").removesuffix(")")
