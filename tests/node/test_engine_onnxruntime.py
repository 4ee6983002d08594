"""Execution providers of ONNX Runtime, with a real plug-in provider from a separate package."""

from __future__ import annotations

import importlib.util
import json
import logging
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from edge_vision_node.engines import onnx_providers
from edge_vision_node.engines.base import EngineFiles
from edge_vision_node.engines.onnx_providers import Target, find_targets, options_for
from edge_vision_node.engines.onnxruntime import (
    OnnxRuntimeEngine,
    _check_placement,
    _load_on,
    _profiled,
    operations_by_provider,
)
from edge_vision_node.errors import AcceleratorError, InferenceError, ModelError
from edge_vision_node.hardware.devices import Found

from tests.small_models import add_failing

from .engine_files import MODELS, default_model, noise

onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed here")

needs_plugin = pytest.mark.skipif(
    importlib.util.find_spec("nxrt_ep_cpu") is None, reason="the package nxrt-ep-cpu is not here"
)
PLUGIN = "cpu_ep:0"


def test_a_failure_is_raised_and_not_also_written_with_the_models_names(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Names may contain line breaks, and the rest would look like a line of the log."""
    folder = tmp_path / add_failing(tmp_path, "onnxruntime")
    spec = json.loads((folder / "model.json").read_text())["engines"]["onnxruntime"]
    files = EngineFiles(
        model="failing",
        paths={"model": folder / "model.onnx"},
        inputs=tuple(spec["inputs"]),
        outputs=tuple(spec["outputs"]),
    )
    session = OnnxRuntimeEngine().load(files, "cpu", 1)
    red = np.zeros((1, 3, 16, 16), dtype=np.float32)
    red[:, 0] = 1
    with pytest.raises(InferenceError, match="Gather"):
        session.infer(red)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


@needs_plugin
def test_a_plugin_provider_is_found_in_its_package_and_runs_the_model() -> None:
    engine = OnnxRuntimeEngine()
    infos = {item.id: item for item in engine.accelerators()}
    assert "nxrt-ep-cpu" in onnx_providers.plugin_packages()
    assert infos[PLUGIN].name.startswith("cpu_ep: ")
    # it is only another way to use the processor, so it is not the default
    assert list(infos).index("cpu") < list(infos).index(PLUGIN)
    session = engine.load(default_model(), PLUGIN, 2)
    placed = operations_by_provider(session._session)
    assert placed.keys() == {"cpu_ep"} and placed["cpu_ep"] > 100
    plain = engine.load(default_model(), "cpu", 2)
    for mine, other in zip(session.infer(noise()), plain.infer(noise()), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-3)


@needs_plugin
def test_a_provider_that_can_run_nothing_of_a_model_is_an_error_not_a_silent_fallback() -> None:
    if not MODELS.is_dir():
        pytest.skip("the larger test data are not here (../shared/testdata)")
    files = EngineFiles(
        model="yolox_nano",
        paths={"model": MODELS / "yolox_nano.onnx"},
        inputs=("images",),
        outputs=("output",),
    )
    with pytest.raises(AcceleratorError, match="cannot run any part of yolox_nano"):
        OnnxRuntimeEngine().load(files, PLUGIN, 2)


def test_an_accelerator_that_is_not_here_is_an_error_that_names_those_that_are() -> None:
    with pytest.raises(
        AcceleratorError, match=r"no accelerator 'cuda:0' on this device; it has.*cpu"
    ):
        OnnxRuntimeEngine().load(default_model(), "cuda:0", 2)


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Simulate an ONNX Runtime without placement information; return its profile folder."""
    owner = next(
        kind
        for kind in onnxruntime.InferenceSession.__mro__
        if "get_provider_graph_assignment_info" in vars(kind)
    )
    monkeypatch.delattr(owner, "get_provider_graph_assignment_info")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@needs_plugin
def test_an_older_onnx_runtime_is_asked_by_the_profile_of_the_first_run(
    silent: Path,
) -> None:
    engine = OnnxRuntimeEngine()
    session = engine.load(default_model(), PLUGIN, 2)
    plain = engine.load(default_model(), "cpu", 2)
    for _ in range(2):
        for mine, other in zip(session.infer(noise()), plain.infer(noise()), strict=True):
            np.testing.assert_allclose(mine, other, atol=1e-3)
    assert list(silent.iterdir()) == [], "the profile is not left behind"


@needs_plugin
def test_an_older_onnx_runtime_that_runs_nothing_there_is_an_error_at_the_first_run(
    silent: Path,
) -> None:
    if not MODELS.is_dir():
        pytest.skip("the larger test data are not here (../shared/testdata)")
    files = EngineFiles(
        "yolox_nano", {"model": MODELS / "yolox_nano.onnx"}, ("images",), ("output",)
    )
    session = OnnxRuntimeEngine().load(files, PLUGIN, 2)
    with pytest.raises(AcceleratorError, match="cannot run any part of yolox_nano"):
        session.infer(np.zeros((1, 3, 416, 416), np.float32))
    assert list(silent.iterdir()) == []


def test_an_onnx_runtime_that_tells_nothing_at_all_is_not_believed(
    tmp_path: Path,
) -> None:
    folder = tempfile.TemporaryDirectory(dir=tmp_path)
    mute = SimpleNamespace(end_profiling=lambda: "")
    with pytest.raises(AcceleratorError, match="does not report whether CUDA: Orin runs any part"):
        _check_placement(_profiled(mute, folder), CUDA, "ssd")


CUDA = Target("cuda:0", "CUDA: Orin", "CUDAExecutionProvider", "0")


def test_a_session_without_the_provider_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real session with a provider whose libraries could not be loaded reports this."""
    session = SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *args, **more: session)
    with pytest.raises(
        AcceleratorError, match="would run ssd on CPUExecutionProvider, not on CUDA"
    ):
        _load_on(onnxruntime, default_model(), CUDA, 1, None)


def test_a_model_that_is_divided_is_normal_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    _check_placement({"CUDAExecutionProvider": 180, "CPUExecutionProvider": 4}, CUDA, "ssd")
    assert "CUDA: Orin runs 180 of 184 parts of ssd" in caplog.text


def test_built_in_providers_are_offered_for_devices_that_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A build for a Jetson, on a Jetson; then the same build without the driver."""
    providers = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    package = SimpleNamespace(get_available_providers=lambda: providers)
    places = (("onnxruntime", "tensorrt:"), ("onnxruntime", "cuda:"))
    jetson = Found("board:tegra", "gpu", "NVIDIA Jetson GPU", places, None, "")
    monkeypatch.setattr(onnx_providers, "find_all", lambda host: (jetson,))
    found = find_targets(package)  # type: ignore[arg-type]
    assert [(item.id, item.name) for item in found] == [
        ("tensorrt:0", "TensorRT: NVIDIA Jetson GPU"),
        ("cuda:0", "CUDA: NVIDIA Jetson GPU"),
    ]
    broken = Found("board:tegra", "gpu", "NVIDIA Jetson GPU", places, "Install JetPack.", "")
    monkeypatch.setattr(onnx_providers, "find_all", lambda host: (broken,))
    assert find_targets(package) == []  # type: ignore[arg-type]


def test_compiled_engines_go_into_the_cache_of_the_model() -> None:
    cache = Path("/data/cache/ssd")
    tensorrt = Target("tensorrt:1", "", "TensorrtExecutionProvider", "1")
    assert options_for(tensorrt, 2, cache) == {
        "device_id": "1",
        "trt_fp16_enable": "1",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(cache),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(cache),
    }
    assert "trt_engine_cache_path" not in options_for(tensorrt, 2, None)
    coreml = Target("coreml", "", "CoreMLExecutionProvider", "0")
    assert options_for(coreml, 2, cache)["ModelCacheDirectory"] == str(cache)
    plugin = Target("openvino:CPU", "", "OpenVINOExecutionProvider", "CPU", ep_device=object())
    settings = json.loads(options_for(plugin, 3, cache)["load_config"])["CPU"]
    assert settings["CACHE_DIR"] == str(cache)
    assert settings["INFERENCE_PRECISION_HINT"] == "f32"
    assert settings["INFERENCE_NUM_THREADS"] == 3
    assert options_for(Target("cpu_ep:0", "", "cpu_ep", "0"), 2, cache) == {}


def test_a_plugin_that_cannot_be_loaded_is_named_and_takes_no_other_along(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(onnx_providers, "plugin_packages", lambda: ["onnxruntime-ep-nowhere"])
    assert onnx_providers.register_plugins(ModuleType("onnxruntime")) == ()
    assert "onnxruntime-ep-nowhere cannot be loaded" in caplog.text


def test_a_damaged_file_and_wrong_names_are_model_errors(tmp_path: Path) -> None:
    engine = OnnxRuntimeEngine()
    damaged = tmp_path / "model.onnx"
    damaged.write_bytes(b"no model")
    files = default_model()
    with pytest.raises(ModelError, match=r"cannot load ssd: \w.*; export the model again"):
        engine.load(EngineFiles("ssd", {"model": damaged}, files.inputs, files.outputs), "cpu", 1)
    with pytest.raises(ModelError, match="no output nowhere; the file has boxes, logits"):
        engine.load(EngineFiles("ssd", files.paths, ("image",), ("boxes", "nowhere")), "cpu", 1)
    with pytest.raises(ModelError, match="no 'model' file"):
        engine.load(EngineFiles("ssd", {"param": damaged}, ("image",), ("boxes",)), "cpu", 1)


@pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime_ep_openvino") is None,
    reason="the package onnxruntime-ep-openvino is not here (158 MB)",
)
def test_openvino_as_a_plugin_keeps_its_compiled_engine_and_computes_exactly(
    tmp_path: Path,
) -> None:
    engine = OnnxRuntimeEngine()
    session = engine.load(default_model(tmp_path), "openvino:CPU", 2)
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert kept and all("openvino_CPU" in str(path) for path in kept)
    plain = engine.load(default_model(), "cpu", 2)
    for mine, other in zip(session.infer(noise()), plain.infer(noise()), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-3)


def test_the_installed_onnx_runtime_has_what_the_engine_asks_of_it() -> None:
    assert callable(onnxruntime.get_ep_devices)
    assert callable(onnxruntime.register_execution_provider_library)
    assert hasattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info")
