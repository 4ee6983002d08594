"""Write a network layer by layer as simple ONNX: float32, channels first, one picture at a time.

The readers of other formats (`tflite_network.py`, `tfjs_network.py`) use this for their layers. It
only uses operators that pnnx passes to ncnn unchanged.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]
Shape = tuple[int, ...]  # channels, height, width

ONNX_OPSET = 13
ONNX_IR_VERSION = 8


class UnsupportedGraph(Exception):
    """The graph is not the network this converter was written for."""


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Return the padding of TensorFlow's SAME before and after `size` pixels.

    The result has ceil(size / stride) pixels; an odd pixel is added at the end.
    """
    padding = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return padding // 2, padding - padding // 2


class Network:
    """A network under construction. `shapes`: name → shape of each tensor, without the batch."""

    def __init__(self, shape: Shape) -> None:
        """Start with the input "image" of this shape."""
        self.shapes: dict[str, Shape] = {"image": shape}
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def conv(
        self,
        source: str,
        kernel: Array,
        bias: Array,
        *,
        stride: int,
        same: bool,
        groups: int = 1,
    ) -> str:
        """Add a convolution with a kernel [out, in / groups, height, width]."""
        _, height, width = self.shapes[source]
        window = (kernel.shape[2], kernel.shape[3])
        pads, sides = self._window((height, width), window, stride, same)
        return self._add(
            "Conv",
            [source, self._constant(kernel), self._constant(bias)],
            (kernel.shape[0], *sides),
            kernel_shape=list(window),
            strides=[stride, stride],
            pads=pads,
            group=groups,
        )

    def conv_transpose(self, source: str, kernel: Array, bias: Array, *, stride: int) -> str:
        """Add a transposed convolution with a kernel [in, out, stride, stride].

        The areas of the pixels do not overlap.
        """
        _, height, width = self.shapes[source]
        return self._add(
            "ConvTranspose",
            [source, self._constant(kernel), self._constant(bias)],
            (kernel.shape[1], height * stride, width * stride),
            kernel_shape=[stride, stride],
            strides=[stride, stride],
        )

    def average(self, source: str) -> str:
        """Add the mean of each channel, (channels, 1, 1)."""
        return self._add("GlobalAveragePool", [source], (self.shapes[source][0], 1, 1))

    def max_pool(self, source: str, window: tuple[int, int], *, stride: int, same: bool) -> str:
        """Add the highest value of each window."""
        channels, height, width = self.shapes[source]
        pads, sides = self._window((height, width), window, stride, same)
        return self._add(
            "MaxPool",
            [source],
            (channels, *sides),
            kernel_shape=list(window),
            strides=[stride, stride],
            pads=pads,
        )

    @staticmethod
    def _window(
        size: tuple[int, int], window: tuple[int, int], stride: int, same: bool
    ) -> tuple[list[int], tuple[int, int]]:
        """Return the pads for ONNX, and the height and width of the result."""
        if not same:
            height, width = ((s - w) // stride + 1 for s, w in zip(size, window, strict=True))
            return [0, 0, 0, 0], (height, width)
        top, bottom = same_padding(size[0], window[0], stride)
        left, right = same_padding(size[1], window[1], stride)
        return [top, left, bottom, right], (-(-size[0] // stride), -(-size[1] // stride))

    def relu(self, source: str, highest: float | None = None) -> str:
        """Add max(x, 0), limited to `highest` if given."""
        if highest is None:
            return self._add("Relu", [source], self.shapes[source])
        limits = [self._constant(limit) for limit in (0, highest)]
        return self._add("Clip", [source, *limits], self.shapes[source])

    def sigmoid(self, source: str) -> str:
        """Add 1 / (1 + exp(-x))."""
        return self._add("Sigmoid", [source], self.shapes[source])

    def hard_swish(self, source: str) -> str:
        """Add x * min(max(x + 3, 0), 6) / 6."""
        gate = self._add("HardSigmoid", [source], self.shapes[source], alpha=1 / 6, beta=0.5)
        return self._add("Mul", [source, gate], self.shapes[source])

    def prelu(self, source: str, slopes: Array) -> str:
        """Add x if it is positive, and x times the slope of its channel otherwise."""
        slope = self._constant(slopes.reshape(-1, 1, 1))
        return self._add("PRelu", [source, slope], self.shapes[source])

    def add(self, one: str, other: str) -> str:
        """Add the sum of two tensors with the same shape."""
        if self.shapes[one] != self.shapes[other]:
            raise UnsupportedGraph(f"{one} and {other} have different shapes")
        return self._add("Add", [one, other], self.shapes[one])

    def weighted(self, source: str, weights: str) -> str:
        """Add a tensor whose channels are multiplied by `weights` (channels, 1, 1)."""
        return self._add("Mul", [source, weights], self.shapes[source])

    def scaled(self, source: str, factor: float, summand: float) -> str:
        """Add x * factor + summand, as a convolution.

        ncnn does arithmetic in place, which crashes its process if x is the input and its memory
        belongs to the caller.
        """
        channels = self.shapes[source][0]
        kernel = np.full((channels, 1, 1, 1), factor)
        bias = np.full(channels, summand)
        return self.conv(source, kernel, bias, stride=1, same=True, groups=channels)

    def more_channels(self, source: str, count: int) -> str:
        """Add `count` channels of zeros at the end."""
        channels, height, width = self.shapes[source]
        pads = self._constant([0, 0, 0, 0, 0, count, 0, 0], np.int64)
        zero = self._constant(0)
        return self._add(
            "Pad", [source, pads, zero], (channels + count, height, width), mode="constant"
        )

    def enlarged(self, source: str, height: int, width: int) -> str:
        """Add the same picture enlarged: bilinear, with half-pixel centers."""
        channels, old_height, old_width = self.shapes[source]
        factors = self._constant([1, 1, height / old_height, width / old_width])
        return self._add(
            "Resize",
            [source, "", factors],
            (channels, height, width),
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        )

    def channels_last(self, source: str) -> str:
        """Add the same numbers as (height, width, channels)."""
        channels, height, width = self.shapes[source]
        return self._add("Transpose", [source], (height, width, channels), perm=[0, 2, 3, 1])

    def rows(self, sources: list[str], values: int) -> str:
        """Add rows (N, `values`), one pixel after the other: the anchors of an SSD."""
        parts, total = [], 0
        for source in sources:
            channels, height, width = self.shapes[source]
            count = channels * height * width // values
            last = self.channels_last(source)
            shape = self._constant([1, count, values], np.int64)
            parts.append(self._add("Reshape", [last, shape], (count, values)))
            total += count
        return self._add("Concat", parts, (total, values), axis=1)

    def model(self, outputs: dict[str, str]) -> onnx.ModelProto:
        """Return the network as a model with these outputs, name → tensor."""
        for name, tensor in outputs.items():
            self._nodes.append(helper.make_node("Identity", [tensor], [name]))
        graph = helper.make_graph(
            self._nodes,
            "network",
            [_value("image", (1, *self.shapes["image"]))],
            [_value(name, (1, *self.shapes[tensor])) for name, tensor in outputs.items()],
            self._constants,
        )
        model = helper.make_model(
            graph,
            producer_name="edge-vision",
            opset_imports=[helper.make_opsetid("", ONNX_OPSET)],
        )
        model.ir_version = ONNX_IR_VERSION
        onnx.checker.check_model(model, full_check=True)
        return model

    def _constant(self, value: npt.ArrayLike, dtype: npt.DTypeLike = np.float32) -> str:
        name = f"constant{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.array(value, dtype, order="C"), name))
        return name

    def _add(self, operator: str, inputs: list[str], shape: Shape, **attributes: Any) -> str:
        name = f"{operator}{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        self.shapes[name] = shape
        return name


def _value(name: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
