"""The accelerators of ncnn: the CPU, and Vulkan devices with correct names."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import numpy as np
import pytest
from edge_vision_node.engines import ncnn as engine_module
from edge_vision_node.engines.base import CPU, EngineFiles, native_output_off
from edge_vision_node.engines.ncnn import NcnnEngine
from edge_vision_node.errors import AcceleratorError
from edge_vision_node.models.store import ModelStore
from edge_vision_node.protocol import AcceleratorInfo, EngineInfo
from edge_vision_node.workers.pool import Workers

from .engine_files import noise


def vulkan(*devices: tuple[str, int]) -> ModuleType:
    """Return a package with Vulkan devices of a name and a kind."""
    package = ModuleType("ncnn")
    package.get_gpu_count = lambda: len(devices)  # type: ignore[attr-defined]
    package.get_gpu_info = lambda number: SimpleNamespace(  # type: ignore[attr-defined]
        device_name=lambda: devices[number][0], type=lambda: devices[number][1]
    )
    return package


def test_graphics_cards_come_first_and_small_gpus_after_the_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    package = vulkan(("V3D 7.1", 1), ("GeForce", 0), ("llvmpipe (LLVM 15)", 3))
    monkeypatch.setattr(engine_module, "_package", lambda: package)
    infos = NcnnEngine().accelerators()
    assert [item.id for item in infos] == ["vulkan:1", "cpu", "vulkan:0", "vulkan:2"]


def test_a_program_that_imitates_a_gpu_is_called_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "_package", lambda: vulkan(("llvmpipe", 3)))
    _, imitation = NcnnEngine().accelerators()
    assert imitation.name == "llvmpipe: emulates a GPU on the processor"


async def test_an_imitated_gpu_is_not_measured_whatever_kind_it_says_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    package = vulkan(("V3D 7.1", 1), ("SwiftShader Device (LLVM 10)", 1), ("llvmpipe", 3))
    monkeypatch.setattr(engine_module, "_package", lambda: package)
    here = NcnnEngine().accelerators()
    assert [item.emulated for item in here] == [False, False, True, True]
    workers = Workers()
    ncnn = EngineInfo(id="ncnn", name="ncnn", version="1", accelerators=here)
    monkeypatch.setattr(workers, "engines", AsyncMock(return_value=(ncnn,)))
    model = ModelStore().get(None)
    places = await workers.places(model)
    assert [place.accelerator for place in places] == ["cpu", "vulkan:0"]


def test_a_build_without_vulkan_has_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "_package", lambda: ModuleType("ncnn"))
    assert NcnnEngine().accelerators() == (CPU,)


def test_an_accelerator_that_is_not_here_is_an_error_that_names_those_that_are() -> None:
    files = ModelStore().get(None).files("ncnn")
    with pytest.raises(
        AcceleratorError, match=r"no accelerator 'vulkan:9' on this device; it has.*cpu"
    ):
        NcnnEngine().load(files, "vulkan:9", 1)


def test_a_gpu_that_is_gone_when_the_model_is_loaded_is_an_error_not_a_silent_fallback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Real ncnn, real model: only the list of devices is simulated."""
    gone = AcceleratorInfo(id="vulkan:0", name="GeForce")
    monkeypatch.setattr(NcnnEngine, "accelerators", lambda engine: (gone, CPU))
    monkeypatch.setenv(
        "VK_DRIVER_FILES", "/nowhere"
    )  # a machine with a GPU does not have this one either
    files = ModelStore().get(None).files("ncnn")
    with native_output_off():
        count = engine_module._package().get_gpu_count()
    if count:
        pytest.skip("Vulkan was started before, with a device")
    with pytest.raises(AcceleratorError, match=r"would run .* on the CPU, not on vulkan:0"):
        NcnnEngine().load(files, "vulkan:0", 1)


@pytest.mark.parametrize(
    ("level", "shown"), [(logging.WARNING, ""), (logging.INFO, ""), (logging.DEBUG, "no Vulkan\n")]
)
def test_that_there_is_no_vulkan_is_said_only_to_who_debugs(
    level: int, shown: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Home Assistant starts its node with the log level "info"."""
    with caplog.at_level(level), native_output_off():
        os.write(2, b"no Vulkan\n")
    assert capfd.readouterr().err == shown


@pytest.mark.skipif(
    all(not item.id.startswith("vulkan") for item in NcnnEngine().accelerators()),
    reason="Vulkan shows no device here",
)
def test_vulkan_computes_what_the_processor_computes() -> None:
    files = ModelStore().get(None).files("ncnn")
    tensor = np.ascontiguousarray(noise().transpose(0, 3, 1, 2))
    for mine, other in zip(
        NcnnEngine().load(files, "vulkan:0", 1).infer(tensor),
        NcnnEngine().load(files, CPU.id, 1).infer(tensor),
        strict=True,
    ):
        # half precision on many GPUs
        np.testing.assert_allclose(mine, other, atol=0.3)


def test_a_graph_that_begins_with_arithmetic_leaves_its_input_alone(tmp_path: Path) -> None:
    """ncnn does arithmetic in place, which crashes its process with borrowed memory."""
    (tmp_path / "m.param").write_text(
        "7767517\n2 2\nInput in0 0 1 in0\nBinaryOp half 1 1 in0 out0 0=2 1=1 2=0.5\n"
    )
    (tmp_path / "m.bin").write_bytes(b"")
    paths = {"param": tmp_path / "m.param", "bin": tmp_path / "m.bin"}
    files = EngineFiles(model="half", paths=paths, inputs=("in0",), outputs=("out0",))
    session = NcnnEngine().load(files, "cpu", 1)
    tensor = np.full((1, 3, 192, 192), 8, np.float32)
    (output,) = session.infer(tensor)
    assert (output == 4).all()
    assert (tensor == 8).all()


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({1: 20, 2: 31, 4: 40}, 1),  # waiting for each other takes longer than what they gain
        ({1: 60, 2: 33, 4: 20}, 4),
        ({1: 60, 2: 33, 4: 32}, 2),  # two more threads for a gain of 3 % are better used elsewhere
        ({1: 20, 2: 18, 4: 16}, 4),  # hardly worth it individually, but together
    ],
)
def test_a_model_gets_as_many_threads_as_are_worth_it(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float], chosen: int
) -> None:
    """Real ncnn, real model: only the clock is simulated."""
    files = ModelStore().get(None).files("ncnn")
    session = NcnnEngine().load(files, CPU.id, 4)
    asked: list[int] = []

    def took(self: Any, _tensor: object) -> float:
        asked.append(self._net.opt.num_threads)
        return seconds[asked[-1]]

    monkeypatch.setattr(type(session), "_seconds", took)
    tensor = np.ascontiguousarray(noise().transpose(0, 3, 1, 2))
    first = session.infer(tensor)
    assert session._net.opt.num_threads == chosen  # type: ignore[attr-defined]
    again = session.infer(tensor)
    assert asked == [1, 2, 4]  # and this is not measured again
    reference = NcnnEngine().load(files, CPU.id, 1).infer(tensor)
    for mine, same, other in zip(first, again, reference, strict=True):
        np.testing.assert_array_equal(mine, same)
        np.testing.assert_allclose(mine, other, atol=1e-3)


def test_one_thread_is_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    session = NcnnEngine().load(ModelStore().get(None).files("ncnn"), CPU.id, 1)
    monkeypatch.setattr(type(session), "_seconds", lambda *_: pytest.fail("nothing to choose"))
    session.infer(np.ascontiguousarray(noise().transpose(0, 3, 1, 2)))
    assert session._net.opt.num_threads == 1  # type: ignore[attr-defined]
