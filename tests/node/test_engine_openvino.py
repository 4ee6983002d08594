"""OpenVINO: exact numbers, cached compiled models, and no data leaves the device."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from edge_vision_node.engines.base import CPU, EngineFiles
from edge_vision_node.engines.onnxruntime import OnnxRuntimeEngine
from edge_vision_node.engines.openvino import OpenVinoEngine
from edge_vision_node.errors import AcceleratorError, EngineMissingError, ModelError

from .conftest import node_environment
from .engine_files import MOBILENET, default_model, noise, picture, tflite

HERE = importlib.util.find_spec("openvino") is not None
needs_openvino = pytest.mark.skipif(not HERE, reason="the package openvino is not here (56 MB)")


@pytest.mark.skipif(HERE, reason="the package openvino is here")
def test_without_its_package_it_says_so() -> None:
    with pytest.raises(EngineMissingError, match=r"OpenVINO cannot be (used|installed)"):
        OpenVinoEngine().version()


@needs_openvino
def test_it_computes_what_onnx_runtime_computes() -> None:
    mine = OpenVinoEngine().load(default_model(), CPU.id, 2)
    other = OnnxRuntimeEngine().load(default_model(), CPU.id, 2)
    for first, second in zip(mine.infer(noise()), other.infer(noise()), strict=True):
        assert first.dtype == np.float32
        # bfloat16, the default on some processors, is wrong by 0.4 here
        np.testing.assert_allclose(first, second, atol=1e-3)


@needs_openvino
def test_what_it_gave_before_stays_as_it_was() -> None:
    session = OpenVinoEngine().load(default_model(), CPU.id, 2)
    boxes, _ = session.infer(noise())
    kept = boxes.copy()
    session.infer(-noise())
    np.testing.assert_array_equal(boxes, kept)


@needs_openvino
def test_quantised_outputs_come_in_real_units() -> None:
    name, image, scores = MOBILENET
    session = OpenVinoEngine().load(tflite(name, [image], [scores]), CPU.id, 2)
    (result,) = session.infer(picture("cat_720p.jpg", 224))
    assert result.dtype == np.float32
    assert 282 <= result.argmax() <= 287
    assert result.sum() == pytest.approx(1, abs=0.1)


@needs_openvino
def test_compiled_models_are_kept_and_a_damaged_one_is_made_anew(tmp_path: Path) -> None:
    engine = OpenVinoEngine()
    first = engine.load(default_model(tmp_path), CPU.id, 2).infer(noise())
    (blob, *_) = tmp_path.rglob("*.blob")
    blob.write_bytes(b"damaged" + blob.read_bytes()[7:100])
    again = engine.load(default_model(tmp_path), CPU.id, 2).infer(noise())
    np.testing.assert_array_equal(first[0], again[0])


@needs_openvino
def test_what_it_cannot_do_is_explained(tmp_path: Path) -> None:
    engine = OpenVinoEngine()
    with pytest.raises(AcceleratorError, match="no accelerator 'openvino:NPU' on this device"):
        engine.load(default_model(), "openvino:NPU", 1)
    damaged = tmp_path / "model.onnx"
    damaged.write_bytes(b"no model")
    with pytest.raises(ModelError, match="OpenVINO cannot load ssd"):
        engine.load(EngineFiles("ssd", {"model": damaged}, ("image",), ("boxes",)), CPU.id, 1)
    wrong = EngineFiles("ssd", default_model().paths, ("image",), ("nowhere",))
    with pytest.raises(ModelError, match="the file has image"):
        engine.load(wrong, CPU.id, 1)


_IMPORT = """
import multiprocessing.process, socket, urllib.request
def forbidden(*args, **more):
    raise SystemExit(f"something leaves: {args}")
multiprocessing.process.BaseProcess.start = socket.socket.connect = forbidden
urllib.request.urlopen = forbidden
from edge_vision_node.engines.openvino import OpenVinoEngine
print(OpenVinoEngine().version())
"""


@needs_openvino
def test_nothing_leaves_the_device_when_it_is_imported(tmp_path: Path) -> None:
    """By default, it sends statistics from a separate process and stores a user ID."""
    without = {"CI", "TF_BUILD", "JENKINS_URL"}  # it does not do this if it detects a test
    environment = {key: value for key, value in os.environ.items() if key not in without}
    environment |= {**node_environment(), "HOME": str(tmp_path)}
    environment = {key: value for key, value in environment.items() if key not in without}
    done = subprocess.run(
        [sys.executable, "-c", _IMPORT],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, list(tmp_path.iterdir())) == (0, []), done.stderr
