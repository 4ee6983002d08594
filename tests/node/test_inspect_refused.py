"""Your own models: files that cannot be used, and the messages for the user."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from edge_vision_node.errors import ModelError

from tests.engines import needs
from tests.onnx_files import Tensor, onnx_file
from tests.pictures import needs_test_data

from .inspection import DEFAULT, MODELS, Bench, image, out


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("m.onnx", b"", "m.onnx is empty"),
        (
            "m.onnx",
            (DEFAULT / "model.onnx").read_bytes()[:100_000],
            "m.onnx is damaged or cut short: it is not a complete ONNX file",
        ),
        (
            "m.onnx",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "m.onnx is a web page or a pointer to a file, not the file itself",
        ),
        ("m.tflite", b"<html>", "m.tflite is a web page or a pointer to a file"),
        ("m.tflite", b"\x1c\0\0\0TFL3" + bytes(20), "m.tflite is damaged or cut short"),
        ("m.pt", b"PK\x03\x04 a zip, says who", "m.pt is a PyTorch checkpoint, which can run"),
        ("m.dat", b"PK\x03\x04 a zip, says who", "m.dat is an archive that is damaged or cut"),
        ("m.h5", b"\x89HDF\r\n", "m.h5 is a Keras model; convert it to TensorFlow Lite"),
        ("m.engine", b"ftrt", "m.engine is a TensorRT engine for a specific GPU"),
        ("m.param", b"7767517\n5 5\nInput in 0 1 in0\n", "m.param needs its weights, m.bin"),
        ("m.xml", b"<?xml version='1.0'?><net></net>", "m.xml is an XML file, but not an OpenVINO"),
        ("m.xml", b"<?xml version='1.0'?><!DOCTYPE net [<!ENTITY a 'b'>]><net/>", "XML entities"),
        ("m.dat", b"who knows", "of an unknown kind; supported formats are ONNX"),
    ],
)
async def test_a_file_that_is_no_model_is_told_for_what_it_is(
    bench: Bench, name: str, content: bytes, reason: str
) -> None:
    (bench.folder / name).write_bytes(content)
    with pytest.raises(ModelError) as caught:
        await bench.look(bench.folder / name)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("name", "members", "reason"),
    [
        ("best.pt", ["best/data.pkl", *(f"best/data/{i}" for i in range(302))], "PyTorch"),
        ("renamed.zip", ["best/data.pkl", *(f"best/data/{i}" for i in range(302))], "PyTorch"),
        ("m.keras", ["metadata.json", "config.json", "model.weights.h5"], "Keras model"),
        ("m.zip", ["metadata.json", "config.json", "model.weights.h5"], "Keras model"),
        ("m.mlpackage", ["Manifest.json", "Data/com.apple.CoreML/model.mlmodel"], "Core ML"),
        ("m.zip", ["m.mlpackage/Data/com.apple.CoreML/model.mlmodel"], "Core ML"),
        ("saved.zip", ["m/saved_model.pb", "m/variables/variables.index"], "TensorFlow graph"),
    ],
)
async def test_model_files_of_others_that_are_archives_are_told_before_they_are_unpacked(
    bench: Bench, name: str, members: list[str], reason: str
) -> None:
    with zipfile.ZipFile(bench.folder / name, "w") as file:
        for member in members:
            file.writestr(member, b"x")
    with pytest.raises(ModelError, match=f"^{name} is a.* {reason}"):
        await bench.look(bench.folder / name)


async def test_what_is_not_recognised_is_explained_with_every_tensor(bench: Bench) -> None:
    found = await bench.look_at(
        [image(320)], [out(1, 63, name="hand"), out(1, 5, name="side")], save_as="hands"
    )
    assert [(item.name, item.shape, item.dtype) for item in (*found.inputs, *found.outputs)] == [
        ("images", (1, 3, 320, 320), "float32"),
        ("hand", (1, 63), "float32"),
        ("side", (1, 5), "float32"),
    ]
    assert found.problem is not None
    assert found.problem.startswith(
        "Its outputs do not match a known family of models: hand [63], side [5]. Supported are: SSD"
    )
    assert (found.proposal, found.saved) == (None, None)


@pytest.mark.parametrize(
    ("inputs", "outputs", "metadata", "reason"),
    [
        ([("x", (1, 80), "float32")], [out(1, 5)], {}, "None of its inputs accepts a picture"),
        ([("x", (1, 1, 28, 28), "float32")], [out(1, 10)], {}, "a grayscale picture"),
        (
            [image(256), ("state", (1, 8, 8, 320), "float32")],
            [out(1, 5)],
            {},
            "In addition to the picture, it needs state [1, 8, 8, 320] float32",
        ),
        (
            [image(640)],
            [out(1, 116, 8400), out(1, 32, 160, 160, name="protos")],
            {"task": "segment"},
            "It segments instances (boxes with a mask each), which is not supported",
        ),
        ([image(640)], [out(1, 20, 8400)], {"task": "obb"}, "rotated boxes"),
    ],
)
async def test_a_model_for_something_else_is_told_so(
    bench: Bench,
    inputs: list[Tensor],
    outputs: list[Tensor],
    metadata: dict[str, str],
    reason: str,
) -> None:
    found = await bench.look_at(inputs, outputs, metadata=metadata)
    assert found.problem is not None
    assert reason in found.problem


@needs("onnxruntime")
async def test_numbers_that_are_none_are_told(bench: Bench) -> None:
    found = await bench.look_at([image(416)], [out(1, 3549, 85)], fill=float("nan"))
    assert found.problem is not None
    assert "numbers that are not finite" in found.problem


@needs("onnxruntime")
async def test_absurd_answers_are_refused_before_an_engine_computes_them(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(bench.workers, "choose", None)  # if there is an engine
        with pytest.raises(ModelError, match="It returns 252000000 numbers for one picture"):
            await bench.look_at([image(640)], [out(1, 84, 3_000_000)])
    # Undefined shapes are only known when the model is run.
    path = bench.folder / "open.onnx"
    left_open = [("output0", (1, None, None), "float32")]
    path.write_bytes(onnx_file([image(64)], [out(1, 84, 3_000_000)], declared=left_open))
    found = await bench.look(path)
    assert found.problem is not None
    assert "It returns 252000000 numbers for one picture" in found.problem


async def test_a_model_that_crashes_its_engine_is_told_and_not_saved(bench: Bench) -> None:
    crashes = "7767517\n2 2\nInput in 0 1 in0 0=8 1=8 2=3\nROIPooling r 1 1 in0 out0 0=7 1=7\n"
    (bench.folder / "m.param").write_text(crashes)
    (bench.folder / "m.bin").write_bytes(bytes(64))
    found = await bench.look(bench.folder / "m.param", save_as="crash")
    assert found.problem == (
        "It was tested in a separate process, where the engine crashed (SIGSEGV); it is not used"
    )
    assert found.saved is None


async def test_weights_from_elsewhere_do_not_come_along(bench: Bench, tmp_path: Path) -> None:
    from .test_quarantine import external

    for location in ("../secret", "/etc/passwd"):
        (bench.folder / "m.onnx").write_bytes(external(location))
        with pytest.raises(ModelError, match="which is outside its folder"):
            await bench.look(bench.folder / "m.onnx")
    (tmp_path / "target").write_bytes(b"secret")
    (bench.folder / "weights").symlink_to(tmp_path / "target")
    (bench.folder / "m.onnx").write_bytes(external("weights"))
    with pytest.raises(ModelError, match="missing"):
        await bench.look(bench.folder / "m.onnx")


@needs_test_data
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "model_invoking_error.tflite",
            (
                "None of its inputs accepts a picture: expected a shape of 1 x 3 x height x width"
                " or 1 x height x width x 3; and it uses the operation fake-op-double, which"
                " belongs to another program"
            ),
        ),
        (
            "movenet_single_pose_lightning_ptq_edgetpu.tflite",
            (
                "It is compiled for an Edge TPU and runs on nothing else, and there is none here;"
                " connect one, or use the file for the CPU"
            ),
        ),
        ("traffic_model.tflite", "In addition to the picture, it needs raw_inputs/init_lstm_c"),
    ],
)
async def test_tflite_models_that_cannot_be_used_say_why(
    bench: Bench, name: str, reason: str
) -> None:
    found = await bench.look(MODELS / name, save_as="mine")
    assert found.problem is not None
    assert reason in found.problem
    assert found.saved is None


@needs_test_data
@pytest.mark.parametrize("size", [0, 5, 100, 20_000, 1_000_000])
async def test_a_tflite_model_cut_short_says_so(bench: Bench, size: int) -> None:
    path = bench.folder / "cut.tflite"
    path.write_bytes((MODELS / "mobilenet_v2_1.0_224_quant.tflite").read_bytes()[:size])
    with pytest.raises(ModelError, match=r"cut short|empty|unknown kind"):
        await bench.look(path)
