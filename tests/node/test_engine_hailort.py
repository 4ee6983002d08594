"""HailoRT with a SIMULATION of Hailo's package. This was not run on a Hailo accelerator.

The simulation is imitated/hailo_platform.py, based on the documentation of Hailo.
"""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from edge_vision_node.engines.base import EngineFiles
from edge_vision_node.engines.hailort import HailoEngine
from edge_vision_node.errors import AcceleratorError, EngineMissingError, InferenceError, ModelError

IMITATED = Path(__file__).parent / "imitated"


@pytest.fixture
def imitation(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return a new simulation that replaces the package in this process."""
    spec = spec_from_file_location("hailo_platform", IMITATED / "hailo_platform.py")
    assert spec is not None
    assert spec.loader is not None
    package = module_from_spec(spec)
    spec.loader.exec_module(package)
    monkeypatch.setitem(sys.modules, "hailo_platform", package)
    return package


def hef(kind: str, dtype: str = "uint8", output: str | None = None) -> EngineFiles:
    name = output or {"plain": "net/conv1", "nms": "net/nms"}.get(kind, "net/x")
    paths = {"model": Path(f"/models/{kind}.hef")}
    return EngineFiles("net", paths, ("net/input_layer1",), (name,), dtype=dtype)


def test_it_says_that_it_was_not_tried_on_hardware() -> None:
    assert "not tested on hardware" in HailoEngine().name


@pytest.mark.skipif("hailo_platform" in sys.modules, reason="hailo_platform is here")
def test_without_the_package_it_says_what_to_install() -> None:
    with pytest.raises(EngineMissingError, match="install HailoRT and its Python package"):
        HailoEngine().version()


def test_without_a_device_it_is_not_usable(imitation: ModuleType) -> None:
    imitation.Device = SimpleNamespace(scan=list)
    with pytest.raises(EngineMissingError, match="found no Hailo accelerator"):
        HailoEngine().version()


def test_devices_are_listed(imitation: ModuleType) -> None:
    (info,) = HailoEngine().accelerators()
    assert (info.id, info.name) == ("hailo:0", "Hailo 0001:01:00.0")


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_picture_goes_in_and_real_units_come_out(imitation: ModuleType, dtype: str) -> None:
    session = HailoEngine().load(hef("plain", dtype), "hailo:0", 1)
    (first,) = session.infer(np.full((1, 32, 48, 3), 7, dtype))
    (second,) = session.infer(np.full((1, 32, 48, 3), 9, dtype))
    assert first.shape == (1, 4, 6, 8) and first.dtype == np.float32
    assert (first.max(), second.max()) == (7.0, 9.0)  # the first result is not overwritten


def test_what_the_device_suppressed_becomes_rows(imitation: ModuleType) -> None:
    session = HailoEngine().load(hef("nms"), "hailo:0", 1)
    (rows,) = session.infer(np.zeros((1, 32, 48, 3), np.uint8))
    np.testing.assert_allclose(
        rows,
        [[[0.2, 0.1, 0.4, 0.3, 0.9, 0], [0.6, 0.5, 0.8, 0.7, 0.5, 2], [0, 0, 1, 1, 0.4, 2]]],
        rtol=1e-6,
    )


def test_failures_have_their_type_and_the_device_is_given_back(
    imitation: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = HailoEngine()
    with pytest.raises(ModelError, match="HailoRT cannot load net: HAILO_INVALID_HEF"):
        engine.load(hef("damaged"), "hailo:0", 1)
    with pytest.raises(
        ModelError, match="has no nowhere; the file has net/input_layer1, net/conv1"
    ):
        engine.load(hef("plain", output="nowhere"), "hailo:0", 1)
    with pytest.raises(AcceleratorError, match="no accelerator 'hailo:1' on this device"):
        engine.load(hef("plain"), "hailo:1", 1)
    session = engine.load(hef("plain"), "hailo:0", 1)
    session._device.open = False
    with pytest.raises(InferenceError, match="HailoRT failed: HAILO_STREAM_ABORT"):
        session.infer(np.zeros((1, 32, 48, 3), np.uint8))
    monkeypatch.setattr(imitation.VDevice, "busy", True)
    with pytest.raises(AcceleratorError, match="does another program use it"):
        engine.load(hef("plain"), "hailo:0", 1)
