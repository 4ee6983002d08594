"""Files of other kinds, told for what they are: by suffix, first bytes, or an archive's members."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

_PYTORCH = "a PyTorch checkpoint, which runs code of its maker; export it to ONNX"
_KERAS = "a Keras model; convert it to TensorFlow Lite"
_CORE_ML = "a Core ML model, which only Apple's systems read; bring the model it was made from"
_TENSORFLOW = "a TensorFlow graph; convert it to TensorFlow Lite or ONNX"
_TENSORRT = "a TensorRT engine, made for one GPU and version; bring the ONNX it was built from"

_OTHER_ARCHIVE = "an archive of a kind that is not read here; pack it as .zip"

_BY_SUFFIX = {
    ".pt": _PYTORCH,
    ".pth": _PYTORCH,
    ".ckpt": _PYTORCH,
    ".torchscript": _PYTORCH,
    ".h5": _KERAS,
    ".keras": _KERAS,
    ".mlmodel": _CORE_ML,
    ".mlpackage": _CORE_ML,
    ".pb": _TENSORFLOW,
    ".engine": _TENSORRT,
    ".plan": _TENSORRT,
    ".trt": _TENSORRT,
    ".7z": _OTHER_ARCHIVE,
    ".rar": _OTHER_ARCHIVE,
    ".xz": _OTHER_ARCHIVE,
    ".bz2": _OTHER_ARCHIVE,
    ".zst": _OTHER_ARCHIVE,
    ".txz": _OTHER_ARCHIVE,
}
# A file that such an archive or folder has, and no other.
_BY_MEMBER = {
    "data.pkl": _PYTORCH,
    "constants.pkl": _PYTORCH,
    "model.weights.h5": _KERAS,
    "model.mlmodel": _CORE_ML,
    "saved_model.pb": _TENSORFLOW,
}
_BY_HEAD = {
    b"\x89HDF": _KERAS,
    b"version https://git-lfs": "a web page or a pointer to a file, not the file itself",
    b"<!DOCTYPE": "a web page or a pointer to a file, not the file itself",
    b"<html": "a web page or a pointer to a file, not the file itself",
    b"PK": "an archive that is damaged or cut short",
    b"7z\xbc\xaf": _OTHER_ARCHIVE,
    b"Rar!": _OTHER_ARCHIVE,
    b"\xfd7zXZ": _OTHER_ARCHIVE,
    b"BZh": _OTHER_ARCHIVE,
    b"\x28\xb5\x2f\xfd": _OTHER_ARCHIVE,
    b"\x1f\x8b": "packed by gzip, and no .tar; unpack it, and bring what is inside",
    b"\x80\x02": _PYTORCH,
    b"%PDF": "a document",
}

SUPPORTED = (
    "supported are ONNX (.onnx), TensorFlow Lite (.tflite), ncnn (.param with .bin), OpenVINO (.xml"
    " with .bin) and Hailo (.hef with a model.json), also packed as .zip or .tar"
)


def by_suffix(name: str) -> str | None:
    """Return what a file is by its name, and what to do with it; None where that tells nothing."""
    return _BY_SUFFIX.get(PurePosixPath(name).suffix.lower())


def by_members(names: Iterable[str]) -> str | None:
    """Return what an archive is by its members: several kinds of model files are zip archives."""
    kinds = (_BY_MEMBER.get(PurePosixPath(name).name) for name in names)
    return next((kind for kind in kinds if kind is not None), None)


def by_head(head: bytes) -> str | None:
    """Return what a file is by its first bytes."""
    return next((kind for start, kind in _BY_HEAD.items() if head.startswith(start)), None)


def refusal(name: str, what: str | None) -> str:
    """Return the sentence that tells a user so."""
    return f"{name} is {what or 'of a kind that is not known here'}; {SUPPORTED}"
