"""Read the network of MoveNet from its TensorFlow.js graph: from pixels to the four raw heads.

The operators after that (ArgMax, GatherNd) are implemented in the node's head `movenet`. Format:
https://github.com/tensorflow/tfjs (graph model); operator semantics: TensorFlow's.
"""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import numpy as np
import onnx
from network import Network, UnsupportedGraph
from tfjs_ssd import TfjsGraph

_PREFIX = "StatefulPartitionedCall"
# In the order of the graph: the centers of people, the joints expected from a center, the joints,
# and the offset of each joint from the center of its cell.
MOVENET_OUTPUTS = {
    "center": f"{_PREFIX}/center_0/conv2d_4/BiasAdd",
    "regression": f"{_PREFIX}/kpt_regress_0/conv2d_6/BiasAdd",
    "heatmap": f"{_PREFIX}/kpt_heatmap_0/conv2d_5/BiasAdd",
    "offset": f"{_PREFIX}/kpt_offset_0/conv2d_7/BiasAdd",
}
# The graph scales pixels as (pixel - 0) * factor - 1, where factor is 2 / 255 rounded to 16 bits.
_FACTOR = f"{_PREFIX}/truediv"
_SCALED = f"{_PREFIX}/sub_1"
_SIDE = 192


class MoveNet:
    """The graph, rebuilt with `Network`. Its input are unscaled pixels, 0-255."""

    def __init__(self, graph: TfjsGraph) -> None:
        """Prepare for a graph."""
        self._graph = graph
        self._network = Network((3, _SIDE, _SIDE))
        factor = float(graph.weights[_FACTOR].flat[0])
        self._tensors = {_SCALED: self._network.scaled("image", factor, -1)}

    def model(self) -> onnx.ModelProto:
        """Return the network with the four heads. Raises `UnsupportedGraph`."""
        return self._network.model(
            {name: self._tensor(node) for name, node in MOVENET_OUTPUTS.items()}
        )

    def _tensor(self, name: str) -> str:
        if name not in self._tensors:
            node = self._graph.nodes[name]
            sources = [i for i in node["input"] if i not in self._graph.weights]
            values = [self._graph.weights[i] for i in node["input"] if i in self._graph.weights]
            self._tensors[name] = self._layer(node, [self._tensor(i) for i in sources], values)
        return self._tensors[name]

    def _layer(self, node: dict[str, Any], sources: list[str], values: list[Any]) -> str:
        match node["op"]:
            case "_FusedConv2D":
                return self._convolution(node, sources[0], values[0].transpose(3, 2, 0, 1), values)
            case "FusedDepthwiseConv2dNative" | "DepthwiseConv2dNative":
                return self._convolution(node, sources[0], values[0].transpose(2, 3, 0, 1), values)
            case "AddV2" if len(sources) == 2:
                return self._network.add(*sources)
            case "ResizeBilinear" if node["attr"]["half_pixel_centers"]["b"]:
                return self._network.enlarged(sources[0], *values[0].tolist())
        raise UnsupportedGraph(f"operator {node['op']} of {node['name']} is not supported")

    def _convolution(
        self, node: dict[str, Any], source: str, kernel: Any, values: list[Any]
    ) -> str:
        attributes = node["attr"]
        strides = [int(i) for i in attributes["strides"]["list"]["i"]]
        dilations = attributes.get("dilations", {"list": {"i": []}})["list"]["i"]
        if strides[1] != strides[2] or any(int(i) != 1 for i in dilations):
            raise UnsupportedGraph(f"strides or dilation of {node['name']} are not supported")
        fused = attributes.get("fused_ops", {"list": {"s": []}})["list"]["s"]
        steps = [b64decode(step).decode() for step in fused]
        result = self._network.conv(
            source,
            kernel,
            values[1] if "BiasAdd" in steps else np.zeros(len(kernel)),
            stride=strides[1],
            same=b64decode(attributes["padding"]["s"]) == b"SAME",
            groups=1 if node["op"] == "_FusedConv2D" else len(kernel),
        )
        match [step for step in steps if step != "BiasAdd"]:
            case []:
                return result
            case ["Relu"]:
                return self._network.relu(result)
            case ["Relu6"]:
                return self._network.relu(result, 6)
        raise UnsupportedGraph(f"{node['name']} has {steps} fused")
