"""Reading of model files of all supported formats."""

from __future__ import annotations

import math
from pathlib import Path

from ...errors import ModelError
from ...plain_files import open_plain
from . import hef, ncnn, onnx, openvino, strangers, tflite
from .model_file import ModelFile, require_answer, require_sane

# Suffixes of the main file of a model.
MODEL_SUFFIXES = (".onnx", ".tflite", ".param", ".xml", ".hef")
# For inputs and outputs together: face detectors have a dozen.
MAX_ENDS = 256


def read_model_file(path: Path) -> ModelFile:
    """Read a model file of any supported format; related files are next to it.

    Raises `ModelError` if the file has another format or tensors of absurd size.
    """
    content = _read_model_file(path)
    ends = len(content.inputs) + len(content.outputs)
    if ends > MAX_ENDS:
        raise ModelError(f"{path.name} has {ends} inputs and outputs; the maximum is {MAX_ENDS}")
    for tensor in content.inputs:
        require_sane(tensor.name, tensor.shape)
    require_answer(sum(math.prod(side or 1 for side in out.shape) for out in content.outputs))
    return content


def _read_model_file(path: Path) -> ModelFile:
    try:
        with open_plain(path) as file:
            head = file.read(64)
    except OSError as err:
        raise ModelError(f"{path.name} cannot be read: {err.strerror}") from err
    if not head:
        raise ModelError(f"{path.name} is empty")
    if head[4:8] == b"TFL3":
        return tflite.read(path)
    if head.startswith(b"7767517"):
        return ncnn.read(path)
    if head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith((b"<?xml", b"<net")):
        return openvino.read(path)
    what = strangers.by_head(head)
    if path.suffix.lower() == ".onnx" and what is not None:
        raise ModelError(strangers.refusal(path.name, what))
    if path.suffix.lower() == ".onnx" or onnx.looks_like(head):
        return onnx.read(path)
    if path.suffix.lower() == ".hef" or head.startswith(hef.MAGIC):
        return hef.read_hef(path)
    what = strangers.by_suffix(path.name) or what
    raise ModelError(strangers.refusal(path.name, what))
