"""TensorFlow Lite files with one or two operations, created with the schema in LiteRT."""

from __future__ import annotations

from pathlib import Path

import pytest
from edge_vision_node.engines.base import EngineFiles

SCALE, ZERO = 0.5, 10  # a quantized number q means (q - ZERO) * SCALE


def one_operation(path: Path, operation: str) -> EngineFiles:
    """Write a model: "image", uint8 [1, 2, 3], through one operation to "result".

    "RESHAPE" returns quantized uint8 [1, 6]; any other name is a custom operation that LiteRT does
    not have, and returns float32 [1, 2, 3].
    """
    schema = pytest.importorskip(
        "ai_edge_litert.schema_py_generated", reason="the package ai-edge-litert is not here"
    )
    flatbuffers = pytest.importorskip("flatbuffers")
    reshapes = operation == "RESHAPE"

    def tensor(name: str, shape: list[int], kind: int) -> object:
        quantization = schema.QuantizationParametersT(scale=[SCALE], zeroPoint=[ZERO])
        item = schema.TensorT(name=name, shape=shape, type=kind, buffer=0)
        item.quantization = quantization if kind == schema.TensorType.UINT8 else None
        return item

    code = schema.OperatorCodeT(version=1)
    code.builtinCode = schema.BuiltinOperator.RESHAPE if reshapes else schema.BuiltinOperator.CUSTOM
    code.deprecatedBuiltinCode = code.builtinCode
    step = schema.OperatorT(opcodeIndex=0, inputs=[0], outputs=[1])
    result = schema.TensorType.UINT8 if reshapes else schema.TensorType.FLOAT32
    if reshapes:
        step.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
        step.builtinOptions = schema.ReshapeOptionsT(newShape=[1, 6])
    else:
        code.customCode = operation
    graph = schema.SubGraphT(inputs=[0], outputs=[1], operators=[step])
    graph.tensors = [
        tensor("image", [1, 2, 3], schema.TensorType.UINT8),
        tensor("result", [1, 6] if reshapes else [1, 2, 3], result),
    ]
    model = schema.ModelT(
        version=3, operatorCodes=[code], subgraphs=[graph], buffers=[schema.BufferT()]
    )
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(builder.Output())
    return EngineFiles(path.stem, {"model": path}, ("image",), ("result",), dtype="uint8")


def ssd_for_edge_tpu(path: Path) -> None:
    """Write an SSD as compiled for the Coral: one operation for everything, then the boxes.

    As in Coral's ssd_mobilenet_v2_coco_quant_postprocess_edgetpu.tflite, the outputs have names but
    no shapes, and there are no labels. It cannot be run.
    """
    schema = pytest.importorskip(
        "ai_edge_litert.schema_py_generated", reason="the package ai-edge-litert is not here"
    )
    flatbuffers = pytest.importorskip("flatbuffers")
    kinds = schema.TensorType
    boxes = "TFLite_Detection_PostProcess"
    tensors = [
        ("normalized_input_image_tensor", [1, 300, 300, 3], kinds.UINT8),
        ("raw_boxes", [1, 1917, 4], kinds.UINT8),
        ("raw_scores", [1, 1917, 91], kinds.UINT8),
        *((f"{boxes}{end}", [], kinds.FLOAT32) for end in ("", ":1", ":2", ":3")),
    ]
    graph = schema.SubGraphT(inputs=[0], outputs=[3, 4, 5, 6])
    graph.tensors = [schema.TensorT(name=n, shape=s, type=k, buffer=0) for n, s, k in tensors]
    graph.operators = [
        schema.OperatorT(opcodeIndex=0, inputs=[0], outputs=[1, 2]),
        schema.OperatorT(opcodeIndex=1, inputs=[1, 2], outputs=[3, 4, 5, 6]),
    ]
    codes = []
    for name in ("edgetpu-custom-op", boxes):
        code = schema.OperatorCodeT(version=1, customCode=name)
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        codes.append(code)
    model = schema.ModelT(
        version=3, operatorCodes=codes, subgraphs=[graph], buffers=[schema.BufferT()]
    )
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path.write_bytes(builder.Output())
