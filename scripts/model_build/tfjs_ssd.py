"""Read a TensorFlow.js SSD graph and write its network as ONNX.

The graph model is a TensorFlow GraphDef in JSON plus raw little-endian weight
shards, so neither TensorFlow nor a converter is needed for the handful of
operators between the pre-processing and the raw predictions. All constant factors and
summands of the result of a convolution (biases and batch normalization) are
folded into that convolution in float64, so that every engine gets the same
simple network: Conv, Clip (ReLU6), Add, and at the end Transpose, Reshape,
Concat.

Format: https://github.com/tensorflow/tfjs (graph model, weights manifest);
operator semantics: TensorFlow's and ONNX's operator references.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from network import ONNX_IR_VERSION, ONNX_OPSET, UnsupportedGraph, same_padding
from onnx import TensorProto, helper, numpy_helper

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TfjsGraph:
    """Nodes by name, and the constant tensors by node name."""

    nodes: dict[str, dict[str, Any]]
    weights: dict[str, npt.NDArray[Any]]

    @classmethod
    def load(cls, path: Path) -> TfjsGraph:
        """Read a `.json` and the weight shards next to it."""
        model = json.loads(path.read_text("utf-8"))
        nodes = {node["name"]: node for node in model["modelTopology"]["node"]}
        weights: dict[str, npt.NDArray[Any]] = {}
        for group in model["weightsManifest"]:
            data = b"".join((path.parent / name).read_bytes() for name in group["paths"])
            offset = 0
            for entry in group["weights"]:
                stored = entry.get("quantization", entry)["dtype"]
                if stored not in ("float32", "float16", "int32"):
                    raise UnsupportedGraph(f"weight {entry['name']} is stored as {stored}")
                dtype = np.dtype(stored).newbyteorder("<")
                count = int(np.prod(entry["shape"], dtype=np.int64))
                array = np.frombuffer(data, dtype, count, offset)
                weights[entry["name"]] = array.reshape(entry["shape"])
                offset += count * dtype.itemsize
            if offset != len(data):
                raise UnsupportedGraph(f"{len(data) - offset} bytes of the weights are unused")
        return cls(nodes, weights)


@dataclass
class _Conv:
    """A convolution that is still collecting its constant scale and shift."""

    source: str
    kernel: F64  # [out, in / groups, height, width]
    bias: F64  # [out]
    stride: int
    groups: int

    def scaled(self, scale: F64, shift: F64) -> _Conv:
        return _Conv(
            self.source,
            self.kernel * scale.reshape(-1, 1, 1, 1),
            self.bias * scale + shift,
            self.stride,
            self.groups,
        )


@dataclass
class SsdOnnxWriter:
    """Writes the part of a graph between an input and two concatenations.

    `layout` is the layout of the input of the written model, "NHWC" or "NCHW".
    With `half_weights`, the convolution kernels are stored as float16 and cast
    to float32 in the graph. The file has half the size, and engines fold the
    constant casts while loading and compute in float32.
    """

    graph: TfjsGraph
    input_node: str
    input_size: int
    layout: str
    half_weights: bool
    _nodes: list[onnx.NodeProto] = field(default_factory=list)
    _constants: list[onnx.TensorProto] = field(default_factory=list)
    _tensors: dict[str, str] = field(default_factory=dict)
    _sizes: dict[str, int] = field(default_factory=dict)
    _channels: dict[str, int] = field(default_factory=dict)

    def write(self, outputs: dict[str, tuple[str, int]]) -> onnx.ModelProto:
        """Return the model; `outputs` maps output name to (concat node, values per anchor)."""
        size = self.input_size
        shape = [1, size, size, 3] if self.layout == "NHWC" else [1, 3, size, size]
        self._constant("relu6_min", np.array(0, np.float32))
        self._constant("relu6_max", np.array(6, np.float32))
        self._tensors[self.input_node] = "image"
        if self.layout == "NHWC":
            self._tensors[self.input_node] = self._node(
                "Transpose", ["image"], "image_nchw", perm=[0, 3, 1, 2]
            )
        self._sizes[self._tensors[self.input_node]] = size
        values = []
        for name, (concat, width) in outputs.items():
            anchors = self._predictions(concat, name, width)
            values.append(
                helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, anchors, width])
            )
        graph = helper.make_graph(
            self._nodes,
            "ssd",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
            values,
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

    def _predictions(self, concat: str, output: str, width: int) -> int:
        parts, anchors = [], 0
        for reshape in self.graph.nodes[concat]["input"][:-1]:
            source = self._tensor(self.graph.nodes[reshape]["input"][0])
            channels_last = self._node("Transpose", [source], f"{source}_nhwc", perm=[0, 2, 3, 1])
            count = self._sizes[source] ** 2 * self._channels[source] // width
            shape = self._constant(f"{source}_shape", np.array([1, count, width], np.int64))
            parts.append(self._node("Reshape", [channels_last, shape], f"{source}_rows"))
            anchors += count
        self._node("Concat", parts, output, axis=1)
        return anchors

    def _tensor(self, name: str) -> str:
        """Return the ONNX tensor with the result of graph node `name`."""
        if name not in self._tensors:
            conv = self._conv(name)
            if conv is not None:
                self._tensors[name] = self._write_conv(conv)
            else:
                self._tensors[name] = self._write_other(name)
        return self._tensors[name]

    def _write_other(self, name: str) -> str:
        node = self.graph.nodes[name]
        if node["op"] == "Relu6":
            sources = [self._tensor(node["input"][0]), "relu6_min", "relu6_max"]
            result = self._node("Clip", sources, f"relu{len(self._nodes)}")
        elif node["op"] == "Add":
            sources = self._residual_with_shift(name)
            result = self._node("Add", sources, f"add{len(self._nodes)}")
        else:
            raise UnsupportedGraph(f"operator {node['op']} of {name} is not supported")
        self._sizes[result] = self._sizes[sources[0]]
        self._channels[result] = self._channels[sources[0]]
        return result

    def _residual_with_shift(self, name: str) -> list[str]:
        """Return the two summands of a residual connection.

        TensorFlow's optimizer moved the shift of the convolution behind the sum:
        (conv + input) + shift. Move it back into the convolution.
        """
        constants = [i for i in self.graph.nodes[name]["input"] if i in self.graph.weights]
        others = [i for i in self.graph.nodes[name]["input"] if i not in self.graph.weights]
        if len(constants) == 1 and self.graph.nodes[others[0]]["op"] == "AddN":
            summands = self.graph.nodes[others[0]]["input"]
            conv = self._conv(summands[0])
            if conv is not None and len(summands) == 2:
                shift = self._weight(constants[0])
                shifted = self._write_conv(conv.scaled(np.ones_like(shift), shift))
                return [shifted, self._tensor(summands[1])]
        raise UnsupportedGraph(f"{name} is not a residual connection")

    def _conv(self, name: str) -> _Conv | None:
        """Return node `name` as a convolution with all constants folded in, or None."""
        node = self.graph.nodes[name]
        match node["op"]:
            case "Conv2D" | "DepthwiseConv2dNative":
                return self._read_conv(node)
            case "FusedBatchNorm":
                conv = self._conv(node["input"][0])
                gamma, beta, mean, variance = (self._weight(i) for i in node["input"][1:])
                if conv is None or node["attr"]["is_training"]["b"]:
                    raise UnsupportedGraph(f"{name} does not normalize a convolution")
                scale = gamma / np.sqrt(variance + node["attr"]["epsilon"]["f"])
                return conv.scaled(scale, beta - mean * scale)
            case "Add" | "BiasAdd" | "Mul":
                constants = [i for i in node["input"] if i in self.graph.weights]
                others = [i for i in node["input"] if i not in self.graph.weights]
                conv = self._conv(others[0]) if len(others) == 1 else None
                if conv is None:
                    return None
                value = self._weight(constants[0])
                if node["op"] == "Mul":
                    return conv.scaled(value, np.zeros_like(value))
                return conv.scaled(np.ones_like(value), value)
            case _:
                return None

    def _weight(self, name: str) -> F64:
        return self.graph.weights[name].astype(np.float64).reshape(-1)

    def _read_conv(self, node: dict[str, Any]) -> _Conv:
        source, weight = node["input"]
        kernel = self.graph.weights[weight].astype(np.float64)  # [h, w, in, out or multiplier]
        attributes = node["attr"]
        strides = [int(i) for i in attributes["strides"]["list"]["i"]]
        dilations = [int(i) for i in attributes["dilations"]["list"]["i"]]
        if bytes(attributes["padding"]["s"]) != b"SAME" or dilations != [1, 1, 1, 1]:
            raise UnsupportedGraph(f"padding or dilation of {node['name']} is not supported")
        if strides[1] != strides[2] or kernel.shape[0] != kernel.shape[1]:
            raise UnsupportedGraph(f"{node['name']} is not square")
        groups = 1
        if node["op"] == "DepthwiseConv2dNative":
            if kernel.shape[3] != 1:
                raise UnsupportedGraph(f"{node['name']} has a channel multiplier")
            groups = kernel.shape[2]
            kernel = kernel.transpose(2, 3, 0, 1)
        else:
            kernel = kernel.transpose(3, 2, 0, 1)
        return _Conv(source, kernel, np.zeros(kernel.shape[0]), strides[1], groups)

    def _write_conv(self, conv: _Conv) -> str:
        source = self._tensor(conv.source)
        name = f"conv{len(self._nodes)}"
        kernel: str
        if self.half_weights:
            half = self._constant(f"{name}_kernel_half", conv.kernel.astype(np.float16))
            kernel = self._node("Cast", [half], f"{name}_kernel", to=TensorProto.FLOAT)
        else:
            kernel = self._constant(f"{name}_kernel", conv.kernel.astype(np.float32))
        bias = self._constant(f"{name}_bias", conv.bias.astype(np.float32))
        size, width = self._sizes[source], conv.kernel.shape[2]
        before, after = same_padding(size, width, conv.stride)
        result = self._node(
            "Conv",
            [source, kernel, bias],
            name,
            kernel_shape=[width, width],
            strides=[conv.stride, conv.stride],
            pads=[before, before, after, after],
            group=conv.groups,
        )
        self._sizes[result] = -(-size // conv.stride)
        self._channels[result] = conv.kernel.shape[0]
        return result

    def _constant(self, name: str, value: npt.NDArray[Any]) -> str:
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def _node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output
