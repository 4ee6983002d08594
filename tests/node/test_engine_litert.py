"""LiteRT: quantized models, Edge TPU files without an Edge TPU, and a real delegate."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from edge_vision_node.engines import default_accelerator, litert
from edge_vision_node.engines.base import CPU, EngineFiles
from edge_vision_node.engines.litert import (
    DELEGATE_OPTIONS_VARIABLE,
    DELEGATE_VARIABLE,
    LiteRtEngine,
)
from edge_vision_node.errors import AcceleratorError, InferenceError, ModelError
from edge_vision_node.hardware.devices import Found
from edge_vision_node.hardware.host import Host
from edge_vision_node.protocol import AcceleratorInfo

from .conftest import node_environment
from .engine_files import MOBILENET, picture, tflite
from .tflite_files import SCALE, ZERO, one_operation

pytestmark = pytest.mark.skipif(
    not any(importlib.util.find_spec(name) for name in ("ai_edge_litert", "tflite_runtime")),
    reason="the package ai-edge-litert is not here",
)

PIXELS = np.array([[[0, 1, 2], [10, 200, 255]]], np.uint8)
SOURCE = Path(__file__).parent / "delegate.c"
CAT = 283  # up to 287, of the 1001 ImageNet labels whose first is "background"


def mobilenet() -> EngineFiles:
    name, image, scores = MOBILENET
    return tflite(name, [image], [scores])


@pytest.fixture
def reshape(tmp_path: Path) -> EngineFiles:
    """A quantized model that LiteRT and the delegate can run."""
    return one_operation(tmp_path / "reshape.tflite", "RESHAPE")


@pytest.fixture
def double(tmp_path: Path) -> EngineFiles:
    """A model with an operation that only the delegate supports."""
    return one_operation(tmp_path / "double.tflite", "fake-op-double")


def error_model() -> EngineFiles:
    return tflite("model_invoking_error.tflite", [""], [""])


# --- On the CPU -----------------------------------------------------------------------------------


def test_a_quantised_model_takes_pixels_and_gives_real_units() -> None:
    session = LiteRtEngine().load(mobilenet(), CPU.id, 2)
    (scores,) = session.infer(picture("cat_720p.jpg", 224))
    assert scores.dtype == np.float32 and scores.shape == (1, 1001)
    assert CAT - 1 <= scores.argmax() <= CAT + 4
    assert scores.sum() == pytest.approx(1, abs=0.1)  # a softmax, not 0-255


def test_quantised_numbers_come_out_in_real_units(reshape: EngineFiles) -> None:
    (result,) = LiteRtEngine().load(reshape, CPU.id, 1).infer(PIXELS)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, (PIXELS.reshape(1, 6).astype(float) - ZERO) * SCALE)


def test_an_operation_that_litert_lacks_is_named(double: EngineFiles) -> None:
    with pytest.raises(ModelError, match="double uses the operation 'fake-op-double', which"):
        LiteRtEngine().load(double, CPU.id, 1)


def test_scaled_floats_are_quantised_with_the_scale_of_the_input() -> None:
    session = LiteRtEngine().load(mobilenet(), CPU.id, 2)
    pixels = picture("cat_720p.jpg", 224)
    (of_floats,) = session.infer((pixels.astype(np.float32) - 128) / 128)
    (of_pixels,) = session.infer(pixels)
    np.testing.assert_array_equal(of_floats, of_pixels)


def test_pixels_go_shifted_into_a_signed_input() -> None:
    details = {"dtype": np.int8, "quantization": (1 / 128, 0)}
    pixels = np.array([0, 1, 127, 128, 255], np.uint8)
    shifted = litert._as_input(pixels, details)
    assert shifted.dtype == np.int8
    assert shifted.tolist() == [-128, -127, -1, 0, 127]


def test_numbers_that_are_not_quantised_keep_their_value() -> None:
    count = litert._as_float(np.array([7], np.int32), {"quantization": (0.0, 0)})
    assert count.dtype == np.float32 and count.tolist() == [7.0]


def test_a_model_with_further_inputs_gets_its_constants() -> None:
    """In addition to the picture, there are two LSTM states that never change."""
    outputs = ["TFLite_Detection_PostProcess", "TFLite_Detection_PostProcess:2"]
    files = tflite("traffic_model.tflite", ["normalized_input_image_tensor"], outputs)
    states = {f"raw_inputs/init_lstm_{name}": ("uint8", 0) for name in "ch"}
    files = EngineFiles(files.model, files.paths, files.inputs, files.outputs, states, "uint8")
    boxes, scores = LiteRtEngine().load(files, CPU.id, 2).infer(picture("traffic_0001.png", 256))
    assert boxes.shape == (1, 40, 4) and scores.shape == (1, 40)
    assert scores.max() > 0.4


def test_what_cannot_be_loaded_is_explained(tmp_path: Path) -> None:
    engine = LiteRtEngine()
    with pytest.raises(ModelError, match="'fake-op-double', which LiteRT does not have"):
        engine.load(error_model(), CPU.id, 1)
    good = mobilenet().paths["model"].read_bytes()
    for name, content in (("empty", b""), ("text", b"no model"), ("cut", good[: len(good) // 2])):
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(content)
        files = EngineFiles(name, {"model": path}, ("input",), ("x",), dtype="uint8")
        with pytest.raises(ModelError, match=f"LiteRT cannot load {name}"):
            engine.load(files, CPU.id, 1)
    wrong = EngineFiles("m", mobilenet().paths, ("input",), ("x",), dtype="uint8")
    with pytest.raises(ModelError, match="no output x; the file has MobilenetV2/Predictions"):
        engine.load(wrong, CPU.id, 1)


def test_a_picture_of_the_wrong_size_is_an_inference_error() -> None:
    session = LiteRtEngine().load(mobilenet(), CPU.id, 1)
    with pytest.raises(InferenceError, match="LiteRT failed"):
        session.infer(np.zeros((1, 100, 100, 3), np.uint8))


# --- Edge TPU -------------------------------------------------------------------------------------


def test_an_edge_tpu_model_without_an_edge_tpu_says_what_to_do() -> None:
    name = "mobilenet_v1_1.0_224_quant_embedding_extractor_edgetpu.tflite"
    names = (["input"], ["MobilenetV1/Logits/AvgPool_1a/AvgPool"])
    as_model = tflite(name, *names)
    with pytest.raises(ModelError, match="compiled for an Edge TPU and runs on nothing else"):
        LiteRtEngine().load(as_model, CPU.id, 1)
    as_compiled = tflite(name, *names, role="edgetpu")
    with pytest.raises(AcceleratorError, match="No Edge TPU is connected to this device"):
        LiteRtEngine().load(as_compiled, "edgetpu:0", 1)


def stick(missing: str | None) -> Found:
    return Found(
        "usb:1-1",
        "edge_tpu",
        "Coral USB Accelerator",
        (("litert", "edgetpu:"),),
        missing,
        "",
        "usb:2",
    )


def test_an_edge_tpu_that_lacks_something_is_not_offered_and_says_what_it_lacks(
    reshape: EngineFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacks = "The Edge TPU's library is not installed."
    monkeypatch.setattr(litert, "find_all", lambda host: (stick(lacks),))
    assert LiteRtEngine().accelerators() == (CPU,)
    with pytest.raises(
        AcceleratorError, match="Coral USB Accelerator: The Edge TPU's library is not"
    ):
        LiteRtEngine().load(reshape, "edgetpu:0", 1)


def test_an_edge_tpu_that_is_ready_comes_first_and_wants_its_own_file(
    reshape: EngineFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litert, "find_all", lambda host: (stick(None),))
    first, cpu = LiteRtEngine().accelerators()
    assert (first.id, first.name, cpu) == ("edgetpu:0", "Coral USB Accelerator", CPU)
    with pytest.raises(ModelError, match="has no file compiled for the Edge TPU"):
        LiteRtEngine().load(reshape, "edgetpu:0", 1)


def test_an_edge_tpu_is_called_what_libedgetpu_calls_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A simulation of libedgetpu reports its options; there is no Edge TPU here."""
    monkeypatch.setattr(litert, "find_all", lambda host: (stick("in use"), stick(None)))
    monkeypatch.setattr(litert, "_EDGE_TPU_LIBRARY", str(echo_library(tmp_path)))
    files = one_operation(tmp_path / "m.tflite", "RESHAPE")
    files = replace(files, paths={"edgetpu": files.paths["model"]})
    with pytest.raises(AcceleratorError, match=r"device=usb:2$"):
        LiteRtEngine().load(files, "edgetpu:0", 1)


def test_qualcomms_npu_is_offered_where_its_delegate_is_but_not_by_default(
    reshape: EngineFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A simulation of the delegate reports its options; there is no such NPU here."""
    npu = Found("board:qcom", "npu", "Qualcomm Hexagon NPU", (("litert", "qnn"),), None, "")
    monkeypatch.setattr(litert, "find_all", lambda host: (npu,))
    assert LiteRtEngine().accelerators() == (CPU,)
    with pytest.raises(AcceleratorError, match="no accelerator 'qnn'"):
        LiteRtEngine().load(reshape, "qnn", 1)
    monkeypatch.setattr(Host, "has_library", lambda host, name: name == "libQnnTFLiteDelegate.so*")
    assert [(item.id, item.name) for item in LiteRtEngine().accelerators()] == [
        ("cpu", "CPU"),
        ("qnn", "Qualcomm Hexagon NPU (not tested)"),
    ]
    monkeypatch.setattr(litert, "_QNN_LIBRARY", str(echo_library(tmp_path)))
    monkeypatch.setattr(Host, "has_library", lambda host, name: True)
    with pytest.raises(AcceleratorError, match=r"backend_type=htp$"):
        LiteRtEngine().load(reshape, "qnn", 1)


def test_a_model_runs_by_default_where_it_has_a_file_for() -> None:
    both = (AcceleratorInfo(id="edgetpu:0", name="Coral"), CPU)
    assert default_accelerator(both, {"model"}) == "cpu"
    assert default_accelerator(both, {"model", "edgetpu"}) == "edgetpu:0"
    assert default_accelerator((CPU,), {"edgetpu"}) is None


_ECHO = """
#include <stdio.h>
#include <stddef.h>
void *tflite_plugin_create_delegate(char **keys, char **values, size_t count,
                                    void (*report)(const char *)) {
  for (size_t i = 0; i < count; i++) {
    char line[200];
    snprintf(line, sizeof line, "%s=%s", keys[i], values[i]);
    report(line);
  }
  return NULL;
}
void tflite_plugin_destroy_delegate(void *delegate) { (void)delegate; }
"""


def echo_library(folder: Path) -> Path:
    """Compile a delegate that rejects everything and reports its options."""
    source, path = folder / "echo.c", folder / "libecho.so"
    source.write_text(_ECHO)
    compile_library(source, path)
    return path


def compile_library(source: Path, path: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler here")
    flags = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC")
    subprocess.run([compiler, *flags, "-o", path, source], check=True)


# --- A real delegate ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("delegate") / "libtestdelegate.so"
    compile_library(SOURCE, path)
    return path


@pytest.fixture
def delegate(library: Path, monkeypatch: pytest.MonkeyPatch) -> ctypes.CDLL:
    """Set the compiled delegate, and return its library, which counts operations."""
    monkeypatch.setenv(DELEGATE_VARIABLE, str(library))
    return ctypes.CDLL(str(library))


def test_a_delegate_is_offered_by_the_name_of_its_library(delegate: ctypes.CDLL) -> None:
    infos = {item.id: item.name for item in LiteRtEngine().accelerators()}
    assert infos["delegate"] == "Delegate libtestdelegate.so"


def test_a_delegate_runs_its_part_of_a_model(
    delegate: ctypes.CDLL, reshape: EngineFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    (expected,) = LiteRtEngine().load(reshape, CPU.id, 1).infer(PIXELS)
    before = delegate.delegate_invocations()
    (result,) = LiteRtEngine().load(reshape, "delegate", 1).infer(PIXELS)
    assert delegate.delegate_invocations() == before + 1
    np.testing.assert_array_equal(result, expected)
    # Its results are used: with the option to erase, nothing of the picture is left.
    monkeypatch.setenv(DELEGATE_OPTIONS_VARIABLE, "erase=1")
    (erased,) = LiteRtEngine().load(reshape, "delegate", 1).infer(PIXELS)
    np.testing.assert_array_equal(erased, np.full((1, 6), -ZERO * SCALE))


def test_a_delegate_and_the_cpu_share_a_real_model(delegate: ctypes.CDLL) -> None:
    files = mobilenet()
    pixels = picture("cat_720p.jpg", 224)
    before = delegate.delegate_invocations()
    (shared,) = LiteRtEngine().load(files, "delegate", 2).infer(pixels)
    assert delegate.delegate_invocations() == before + 1
    (alone,) = LiteRtEngine().load(files, CPU.id, 2).infer(pixels)
    np.testing.assert_array_equal(shared, alone)


def test_a_delegate_runs_an_operation_that_litert_lacks(
    delegate: ctypes.CDLL, double: EngineFiles
) -> None:
    """This is how models compiled for an Edge TPU work."""
    (doubled,) = LiteRtEngine().load(double, "delegate", 1).infer(PIXELS)
    np.testing.assert_array_equal(doubled, PIXELS.astype(float) * 2)


def test_a_delegate_that_takes_nothing_is_an_error_not_a_silent_fallback(
    delegate: ctypes.CDLL, reshape: EngineFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DELEGATE_OPTIONS_VARIABLE, "idle=1; erase=0")
    with pytest.raises(AcceleratorError, match="The delegate cannot run any part of reshape"):
        LiteRtEngine().load(reshape, "delegate", 1)


def test_a_litert_that_does_not_tell_what_the_delegate_took_is_not_believed(
    delegate: ctypes.CDLL, reshape: EngineFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(litert._package()[0].Interpreter, "_get_ops_details")
    with pytest.raises(
        AcceleratorError, match="does not report whether the delegate runs any part"
    ):
        LiteRtEngine().load(reshape, "delegate", 1)


def test_a_delegate_that_cannot_be_loaded_is_an_accelerator_error(
    delegate: ctypes.CDLL, reshape: EngineFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DELEGATE_OPTIONS_VARIABLE, "colour=red")
    with pytest.raises(AcceleratorError, match="knows only the options erase and idle"):
        LiteRtEngine().load(reshape, "delegate", 1)
    monkeypatch.setenv(DELEGATE_VARIABLE, litert._package()[0]._interpreter_wrapper.__file__)
    with pytest.raises(AcceleratorError, match="tflite_plugin_create_delegate"):
        LiteRtEngine().load(reshape, "delegate", 1)
    monkeypatch.setenv(DELEGATE_VARIABLE, "/nowhere/libnothing.so")
    with pytest.raises(AcceleratorError, match=r"/nowhere/libnothing\.so cannot be loaded"):
        LiteRtEngine().load(reshape, "delegate", 1)
    monkeypatch.delenv(DELEGATE_VARIABLE)
    with pytest.raises(AcceleratorError, match=f"set {DELEGATE_VARIABLE}"):
        LiteRtEngine().load(reshape, "delegate", 1)


_QUIET = """
import logging, sys
from pathlib import Path
logging.basicConfig(level=sys.argv[2])
from edge_vision_node.engines.base import EngineFiles
from edge_vision_node.engines.litert import LiteRtEngine
from edge_vision_node.errors import AcceleratorError
outputs = ("MobilenetV2/Predictions/Softmax",)
files = EngineFiles("m", {"model": Path(sys.argv[1])}, ("input",), outputs)
LiteRtEngine().load(files, "cpu", 1)
try:
    LiteRtEngine().load(files, "delegate", 1)
except AcceleratorError:
    print("refused")
"""


@pytest.mark.parametrize(("level", "shown"), [("INFO", False), ("DEBUG", True)])
def test_the_engine_says_on_stderr_what_the_log_level_lets_through(level: str, shown: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _QUIET, mobilenet().paths["model"], level],
        env={**os.environ, **node_environment(), DELEGATE_VARIABLE: "/nowhere/libnothing.so"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "refused\n"
    assert ("XNNPACK" in done.stderr) is shown
    assert "Traceback" not in done.stderr
    assert shown or done.stderr == ""
