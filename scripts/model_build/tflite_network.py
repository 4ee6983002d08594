"""Read the networks of MediaPipe's TensorFlow Lite files.

Format: TensorFlow's `schema.fbs`, read with `tflite` from PyPI. Weights are stored as float16, each
with a DEQUANTIZE; activations are float32, channels last.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import tflite
from network import Network, UnsupportedGraph

_DTYPES = {
    tflite.TensorType.FLOAT32: np.dtype("<f4"),
    tflite.TensorType.FLOAT16: np.dtype("<f2"),
    tflite.TensorType.INT32: np.dtype("<i4"),
}
_OPERATORS = {
    value: name for name, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)
}


class TfliteNetwork:
    """The only graph of a file, rebuilt with `Network`."""

    def __init__(self, path: Path) -> None:
        """Read a file. Raises `UnsupportedGraph`."""
        self._model = tflite.Model.GetRootAsModel(path.read_bytes(), 0)
        if self._model.SubgraphsLength() != 1:
            raise UnsupportedGraph(f"{path.name} does not have exactly one graph")
        self._graph = self._model.Subgraphs(0)
        (image,) = self._graph.InputsAsNumpy()
        _, height, width, channels = self._shape(image)
        self._network = Network((channels, height, width))
        self._tensors: dict[int, str] = {int(image): "image"}
        # Results of RESHAPE and CONCATENATION: (source tensors, values per row).
        self._rows: dict[int, tuple[list[str], int]] = {}
        self._values: dict[int, npt.NDArray[Any]] = {}
        for number in range(self._graph.OperatorsLength()):
            self._read(self._graph.Operators(number))

    def model(self) -> onnx.ModelProto:
        """Return the network with the outputs of the file, in its order, with their names."""
        outputs = {}
        for index in self._graph.OutputsAsNumpy():
            if int(index) in self._rows:
                sources, values = self._rows[int(index)]
                tensor = self._network.rows(sources, values)
            elif self._network.shapes[self._tensors[int(index)]][1:] == (1, 1):
                tensor = self._tensors[int(index)]  # a vector has no order of channels
            else:
                tensor = self._network.channels_last(self._tensors[int(index)])
            outputs[self._graph.Tensors(index).Name().decode()] = tensor
        return self._network.model(outputs)

    def _read(self, operator: tflite.Operator) -> None:
        code = self._model.OperatorCodes(operator.OpcodeIndex())
        kind = _OPERATORS[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        inputs = [int(index) for index in operator.InputsAsNumpy()]
        (output,) = (int(index) for index in operator.OutputsAsNumpy())
        match kind:
            case "DEQUANTIZE":
                self._values[output] = self._value(inputs[0])
                return
            case "RESHAPE":
                self._rows[output] = [self._tensors[inputs[0]]], self._shape(output)[2]
                return
            case "CONCATENATION":
                parts = [self._rows[index] for index in inputs]
                sources = [source for names, _ in parts for source in names]
                self._rows[output] = sources, self._shape(output)[2]
                return
        self._tensors[output] = result = self._layer(kind, operator, inputs)
        _, height, width, channels = self._shape(output)
        if self._network.shapes[result] != (channels, height, width):
            raise UnsupportedGraph(f"{kind} resulted in {self._network.shapes[result]}")

    def _layer(self, kind: str, operator: tflite.Operator, inputs: list[int]) -> str:
        source = self._tensors[inputs[0]]
        match kind:
            case "CONV_2D" | "DEPTHWISE_CONV_2D":
                return self._convolution(kind, operator, source, inputs)
            case "MAX_POOL_2D" | "AVERAGE_POOL_2D":
                return self._pooling(kind, operator, source)
            case "PAD":
                (*others, channels) = self._value(inputs[1]).tolist()
                if any(any(pair) for pair in others) or channels[0]:
                    raise UnsupportedGraph("PAD adds more than channels at the end")
                return self._network.more_channels(source, channels[1])
            case "RESIZE_BILINEAR":
                return self._network.enlarged(source, *self._value(inputs[1]).tolist())
            case "CUSTOM":  # MediaPipe's Convolution2DTransposeBias
                kernel = self._value(inputs[1]).transpose(3, 0, 1, 2)
                bias = self._value(inputs[2])
                return self._network.conv_transpose(source, kernel, bias, stride=kernel.shape[2])
            case "ADD":
                _options(tflite.AddOptions(), operator)
                return self._network.add(source, self._tensors[inputs[1]])
            case "MUL":
                return self._network.weighted(source, self._tensors[inputs[1]])
            case "PRELU":
                return self._network.prelu(source, self._value(inputs[1]))
        activations = {
            "RELU": self._network.relu,
            "LOGISTIC": self._network.sigmoid,
            "HARD_SWISH": self._network.hard_swish,
        }
        if kind not in activations:
            raise UnsupportedGraph(f"operator {kind} is not supported")
        return activations[kind](source)

    def _convolution(
        self, kind: str, operator: tflite.Operator, source: str, inputs: list[int]
    ) -> str:
        kernel = self._value(inputs[1])
        if kind == "CONV_2D":
            options = _options(tflite.Conv2DOptions(), operator)
            kernel, groups = kernel.transpose(0, 3, 1, 2), 1
        else:
            options = _options(tflite.DepthwiseConv2DOptions(), operator)
            kernel, groups = kernel.transpose(3, 0, 1, 2), kernel.shape[3]
        if (options.DilationHFactor(), options.DilationWFactor()) != (1, 1):
            raise UnsupportedGraph("dilation is not supported")
        return self._network.conv(
            source,
            kernel,
            self._value(inputs[2]),
            stride=options.StrideW(),
            same=_is_same(options),
            groups=groups,
        )

    def _pooling(self, kind: str, operator: tflite.Operator, source: str) -> str:
        options = _options(tflite.Pool2DOptions(), operator)
        window = options.FilterHeight(), options.FilterWidth()
        if kind == "MAX_POOL_2D":
            return self._network.max_pool(
                source, window, stride=options.StrideW(), same=_is_same(options)
            )
        if window != self._network.shapes[source][1:]:
            raise UnsupportedGraph("AVERAGE_POOL_2D does not cover everything")
        return self._network.average(source)

    def _shape(self, index: int) -> tuple[int, ...]:
        return tuple(int(side) for side in self._graph.Tensors(index).ShapeAsNumpy())

    def _value(self, index: int) -> npt.NDArray[Any]:
        """Return a constant tensor."""
        if index not in self._values:
            tensor = self._graph.Tensors(index)
            data = self._model.Buffers(tensor.Buffer()).DataAsNumpy().tobytes()
            array = np.frombuffer(data, _DTYPES[tensor.Type()])
            self._values[index] = array.reshape(self._shape(index))
        return self._values[index]


def _options(options: Any, operator: tflite.Operator) -> Any:
    """Return the options of an operator. Raises `UnsupportedGraph` for unexpected ones."""
    table = operator.BuiltinOptions()
    options.Init(table.Bytes, table.Pos)
    if options.FusedActivationFunction() != tflite.ActivationFunctionType.NONE:
        raise UnsupportedGraph("a fused activation is not supported")
    if hasattr(options, "StrideH") and options.StrideH() != options.StrideW():
        raise UnsupportedGraph("different strides are not supported")
    return options


def _is_same(options: Any) -> bool:
    return bool(options.Padding() == tflite.Padding.SAME)
