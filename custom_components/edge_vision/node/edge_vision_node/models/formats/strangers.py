"""Detection of unsupported files by suffix, first bytes, or the members of an archive."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

_PYTORCH = "a PyTorch checkpoint, which can run arbitrary code; export it to ONNX"
_KERAS = "a Keras model; convert it to TensorFlow Lite"
_CORE_ML = "a Core ML model for Apple systems only; use the model it was converted from"
_TENSORFLOW = "a TensorFlow graph; convert it to TensorFlow Lite or ONNX"
_TENSORRT = "a TensorRT engine for a specific GPU and version; use the ONNX file it was built from"

_OTHER_ARCHIVE = "an archive in an unsupported format; pack the files as .zip"

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
# Files that only exist in an archive or folder of this kind.
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
    b"\x1f\x8b": "a gzip file that is not a .tar; unpack it and use the file inside",
    b"\x80\x02": _PYTORCH,
    b"%PDF": "a document",
}

SUPPORTED = (
    "supported formats are ONNX (.onnx), TensorFlow Lite (.tflite), ncnn (.param with .bin),"
    " OpenVINO (.xml with .bin) and Hailo (.hef with a model.json), also packed as .zip or .tar"
)


def by_suffix(name: str) -> str | None:
    """Return what a file is and what to do, judging by its name, or None if unknown."""
    return _BY_SUFFIX.get(PurePosixPath(name).suffix.lower())


def by_members(names: Iterable[str]) -> str | None:
    """Return what an archive is, judging by its members: some model files are zip archives."""
    kinds = (_BY_MEMBER.get(PurePosixPath(name).name) for name in names)
    return next((kind for kind in kinds if kind is not None), None)


def by_head(head: bytes) -> str | None:
    """Return what a file is, judging by its first bytes, or None if unknown."""
    return next((kind for start, kind in _BY_HEAD.items() if head.startswith(start)), None)


def refusal(name: str, what: str | None) -> str:
    """Return the error message for an unsupported file."""
    return f"{name} is {what or 'of an unknown kind'}; {SUPPORTED}"
