"""Checks whether a model fits a microcontroller, with the real TensorFlow Lite Micro."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
from edge_vision_node.errors import EngineMissingError, ModelError
from edge_vision_node.micro import trial
from edge_vision_node.micro.trial import BOARDS, Fit, FitTensor, c_array, check_fit

from tests.pictures import TEST_DATA, needs_test_data

from .test_cli import run, run_json

schema = pytest.importorskip(
    "tflite_micro.tensorflow.lite.micro.python.schema_py_generated",
    reason="TensorFlow Lite Micro has packages for Linux on x86_64 only",
)
flatbuffers = pytest.importorskip("flatbuffers")

ESP32_S3 = BOARDS["esp32-s3"]


def tflite(
    operator: str = "RELU",
    shape: tuple[int, ...] = (1, 8, 8, 3),
    *,
    custom: str | None = None,
    dtype: int = schema.TensorType.FLOAT32,
    weights: int = 0,
) -> bytes:
    """Return a model of one operator with one input and one output of the same shape."""
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, operator)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version, code.customCode = 1, custom
    graph = schema.SubGraphT()
    graph.tensors = []
    for name in ("in", "out"):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), dtype, 0
        graph.tensors.append(tensor)
    step = schema.OperatorT()
    step.inputs, step.outputs = [0], [1]
    graph.inputs, graph.outputs, graph.operators = [0], [1], [step]
    weight = schema.BufferT()
    weight.data = bytes(weights)
    model = schema.ModelT()
    model.version = 3
    model.operatorCodes, model.subgraphs = [code], [graph]
    model.buffers = [schema.BufferT(), weight]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.fixture
def relu(tmp_path: Path) -> Path:
    path = tmp_path / "relu.tflite"
    path.write_bytes(tflite())
    return path


def fit_of(path: Path, data: bytes, arena_kib: int | None = None) -> Fit:
    path.write_bytes(data)
    return check_fit(path, ESP32_S3, arena_kib)


def test_a_small_model_fits_and_its_arena_is_what_it_needs(relu: Path) -> None:
    fit = check_fit(relu, ESP32_S3)
    assert fit.fits
    assert fit.memory == "sram"
    assert fit.operators == {"RELU": 1}
    assert fit.inputs == fit.outputs == (FitTensor("float32", (1, 8, 8, 3)),)
    tensors = 2 * 8 * 8 * 3 * 4
    assert fit.arena_bytes is not None
    assert tensors < fit.arena_bytes < tensors + 4096
    assert any("int8" in note for note in fit.notes)


def test_the_interpreters_own_example_fits() -> None:
    spec = find_spec("tflite_micro")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0])
    fit = check_fit(folder / "python" / "tflite_micro" / "sine_float.tflite", ESP32_S3)
    assert fit.fits
    assert fit.operators == {"FULLY_CONNECTED": 3}
    assert fit.arena_bytes is not None
    assert fit.arena_bytes < 8 * 1024


def test_a_larger_arena_goes_to_psram(relu: Path) -> None:
    fit = fit_of(relu, tflite(shape=(1, 256, 256, 3)))  # 1.5 MiB of tensors
    assert fit.fits
    assert fit.memory == "psram"
    assert any("PSRAM" in note for note in fit.notes)


def test_an_arena_beyond_the_boards_memory_does_not_fit(relu: Path) -> None:
    fit = fit_of(relu, tflite(shape=(1, 1024, 1024, 3)))
    assert not fit.fits
    assert fit.memory is None
    assert fit.arena_bytes is not None
    assert fit.arena_bytes > 8 * 2**20
    (problem,) = fit.problems
    assert "needs an arena of 24 MiB" in problem


def test_an_arena_beyond_all_bounds_is_told_from_a_crash(relu: Path) -> None:
    fit = fit_of(relu, tflite(shape=(1, 4096, 4096, 3)))
    assert fit.arena_bytes is None
    assert "the arena is far too large" in fit.problems[0]


def test_the_firmwares_own_arena_counts(relu: Path) -> None:
    assert not check_fit(relu, ESP32_S3, 1).fits
    assert check_fit(relu, ESP32_S3, 4).fits
    assert not check_fit(relu, ESP32_S3, 9000).fits, "more than there is"


def test_a_file_larger_than_the_flash_does_not_fit(relu: Path) -> None:
    fit = fit_of(relu, tflite(weights=3 * 2**20))
    assert not fit.fits
    assert "leaves only 2560 KiB of the 8 MiB of flash" in fit.problems[0]
    assert fit.arena_bytes is not None, "it still says what it needs"


def test_an_operator_that_is_missing_is_named(relu: Path) -> None:
    fit = fit_of(relu, tflite("NON_MAX_SUPPRESSION_V5"))
    assert fit.problems == ("TensorFlow Lite Micro has no operator NON_MAX_SUPPRESSION_V5.",)
    assert fit.operators == {"NON_MAX_SUPPRESSION_V5": 1}


def test_a_custom_operator_is_named_without_its_tricks(relu: Path) -> None:
    fit = fit_of(relu, tflite("CUSTOM", custom="my-op\n#include\x1b[2J"))
    assert fit.problems == ("TensorFlow Lite Micro has no custom operator my-op?#include?[2J.",)


def test_a_model_for_the_edge_tpu_is_recognised(relu: Path) -> None:
    fit = fit_of(relu, tflite("CUSTOM", custom="edgetpu-custom-op"))
    assert "compiled for an Edge TPU" in fit.problems[0]


def test_a_type_that_an_operator_does_not_know_is_refused(relu: Path) -> None:
    fit = fit_of(relu, tflite(dtype=schema.TensorType.STRING))
    assert not fit.fits
    assert fit.arena_bytes is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"\x08\x07onnx model", "is not a TensorFlow Lite model"),
        (tflite()[:200], "damaged or cut short"),
        (b"\xff\xff\xff\x7fTFL3" + bytes(100), "damaged or cut short"),
    ],
)
def test_what_is_no_model_is_refused(relu: Path, content: bytes, reason: str) -> None:
    relu.write_bytes(content)
    with pytest.raises(ModelError, match=reason):
        check_fit(relu, ESP32_S3)


def test_a_file_that_is_not_there_or_far_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        check_fit(tmp_path / "nothing.tflite", ESP32_S3)
    huge = tmp_path / "huge.tflite"
    with huge.open("wb") as file:
        file.truncate(65 * 2**20)
    with pytest.raises(ModelError, match="too large for any"):
        check_fit(huge, ESP32_S3)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "loop"])
def test_only_a_file_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "m.tflite"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
        case _:
            path.symlink_to(path.name)
    with pytest.raises(ModelError, match=r"m\.tflite: "):
        check_fit(path, ESP32_S3)


def test_damage_anywhere_in_a_model_ends_in_an_answer(relu: Path) -> None:
    """The interpreter may crash, but the command must not."""
    data = tflite()
    for position in range(8, len(data), 40):
        broken = bytearray(data)
        broken[position] ^= 0xFF
        relu.write_bytes(broken)
        try:
            fit = check_fit(relu, ESP32_S3)
        except ModelError:
            continue
        assert fit.fits or fit.problems


def test_a_model_that_does_not_end_is_ended(relu: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_DEADLINE_S", 0.01)
    fit = check_fit(relu, ESP32_S3)
    assert "did not finish within 0.01 s" in fit.problems[0]


def test_without_the_package_the_answer_is_how_to_get_it(
    relu: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "find_spec", lambda name: None)
    with pytest.raises(EngineMissingError, match=r"install edge-vision-node\[micro\]"):
        check_fit(relu, ESP32_S3)


def test_a_package_that_does_not_load_is_not_the_models_fault(
    relu: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken" / "tflite_micro"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('built for another processor')")
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    with pytest.raises(EngineMissingError, match="built for another processor"):
        check_fit(relu, ESP32_S3)


@needs_test_data
def test_a_model_that_crashes_the_interpreter_only_ends_its_own_process() -> None:
    fit = check_fit(TEST_DATA / "models" / "model_invoking_error.tflite", ESP32_S3)
    assert fit.problems == (
        "The model crashed the interpreter (SIGSEGV), possibly because of CUSTOM fake-op-double.",
    )


@needs_test_data
def test_old_quantisation_is_named() -> None:
    fit = check_fit(TEST_DATA / "models" / "mobilenet_v2_1.0_224_quant.tflite", ESP32_S3)
    assert "full integer quantization (int8)" in fit.problems[0]
    assert "flash" in fit.problems[1]


# --- The header and the command line ---------------------------------------------------------


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler here")
@pytest.mark.parametrize("language", ["c", "c++"])
def test_a_compiler_gets_the_models_bytes_out_of_the_header(
    tmp_path: Path, relu: Path, language: str
) -> None:
    if language == "c++" and shutil.which("g++") is None:
        pytest.skip("no C++ compiler here")
    model = tmp_path / "2 cats-and.dogs.tflite"
    fit = fit_of(model, relu.read_bytes())
    (tmp_path / "model.h").write_text(c_array(model.read_bytes(), fit, "1.0"))
    (tmp_path / "main.c").write_text(
        '#include "model.h"\n#include "model.h"\n#include <stdio.h>\n'
        "int main(void) {\n"
        "  if ((size_t)_2_cats_and_dogs_model % 16) return 1;\n"
        f"  if (_2_CATS_AND_DOGS_MODEL_ARENA_BYTES != {fit.arena_bytes}) return 2;\n"
        "  return fwrite(_2_cats_and_dogs_model, 1, _2_cats_and_dogs_model_len, stdout) == 0;\n"
        "}\n"
    )
    flags = ["-Wall", "-Wextra", "-Werror", "-x", language]
    program = tmp_path / "program"
    compiler = "gcc" if language == "c" else "g++"
    subprocess.run([compiler, *flags, tmp_path / "main.c", "-o", program], check=True)
    printed = subprocess.run([program], capture_output=True, check=True).stdout
    assert printed == model.read_bytes()


def test_command_line(relu: Path, tmp_path: Path) -> None:
    header = tmp_path / "relu.h"
    shown = run("fits", relu, "--board", "esp32-s3", "--c-array", header).stdout
    assert "fits the ESP32-S3" in shown
    assert "RELU" in shown
    assert hashlib.sha256(relu.read_bytes()).hexdigest() in header.read_text()


def test_command_line_for_programs(relu: Path) -> None:
    document = run_json("fits", relu, "--board", "esp32-s3")
    assert document["fits"] is True
    assert document["memory"] == "sram"
    assert document["inputs"] == [{"dtype": "float32", "shape": [1, 8, 8, 3]}]


def test_a_header_is_written_only_where_the_model_fits_or_one_insists(
    relu: Path, tmp_path: Path
) -> None:
    relu.write_bytes(tflite("ATAN2"))
    header = tmp_path / "relu.h"
    options = ("fits", relu, "--board", "esp32-s3", "--c-array", header, "--json")
    document = json.loads(run(*options, status=1).stdout)
    assert (document["fits"], document["c_array"]) == (False, None)
    assert not header.exists()
    run(*options, "--force", status=1)
    assert "ARENA_BYTES" not in header.read_text()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--board", "arduino"], "invalid choice"),
        ([], "--board"),
        (["--board", "esp32-s3", "--arena", "0"], "at least 1"),
    ],
)
def test_wrong_usage_is_refused(relu: Path, arguments: list[str], reason: str) -> None:
    assert reason in run("fits", relu, *arguments, status=2).stderr


def test_the_model_itself_is_never_overwritten(relu: Path) -> None:
    before = relu.read_bytes()
    refused = run("fits", relu, "--board", "esp32-s3", "--c-array", relu, status=2)
    assert "would overwrite" in refused.stderr
    assert relu.read_bytes() == before
    refused = run("fits", relu, "--board", "esp32-s3", "--c-array", "/nonexistent/x.h", status=2)
    assert "cannot be written" in refused.stderr
