"""BERT's encoder as an ONNX graph that multiplies in small integers.

Most matrices are rounded anew, to seven bits: half as fast again as their four bits in blocks, and a vector's direction
changes by a cosine of 0.999. The matrix behind the activation keeps its blocks: its inputs have
outliers, and one scale for all of them costs quality (docs/retrieval.md)."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from privategpt.retrieval.weights import widened

if TYPE_CHECKING:
    from privategpt.retrieval.weights import Weights

SEVEN_BITS = 63  # the largest weight: with eight bits, CPUs without VNNI overflow
FOUR_BITS = {"bits": 4, "block_size": 32, "accuracy_level": 4}  # 4: multiply in int8, which every recent CPU can
MASKED = -1e9  # added to the attention of padding


class Encoder:
    """Builds the graph node by node; each method adds nodes and returns the name of their output."""

    def __init__(self, weights: "Weights") -> None:
        self._weights, self._shape = weights, weights.shape
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def model(self) -> bytes:
        x = self._norm("embedded", "emb.ln")
        bias = self._bias()
        for layer in range(self._shape.layers):
            x = self._layer(x, f"l{layer}", bias)
        self._pooled(x)
        floats = TensorProto.FLOAT
        graph = helper.make_graph(
            self._nodes,
            "encoder",
            [
                helper.make_tensor_value_info("embedded", floats, ["b", "t", self._shape.width]),
                helper.make_tensor_value_info("mask", floats, ["b", "t"]),
            ],
            [helper.make_tensor_value_info("vectors", floats, ["b", self._shape.width])],
            self._constants,
        )
        versions = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
        found: bytes = helper.make_model(graph, opset_imports=versions, ir_version=10).SerializeToString()
        return found

    def _layer(self, x: str, layer: str, bias: str) -> str:
        x = self._norm(self._add(x, self._attention(x, layer, bias)), f"{layer}.aln")
        inner = self._op("Gelu", self._linear(x, f"{layer}.fi"))
        return self._norm(self._add(x, self._in_blocks(inner, f"{layer}.fo")), f"{layer}.oln")

    def _attention(self, x: str, layer: str, bias: str) -> str:
        query, key, value = (self._linear(x, f"{layer}.{part}") for part in "qkv")
        attended = self._op(
            "MultiHeadAttention", query, key, value, "", "", bias, domain="com.microsoft", num_heads=self._shape.heads
        )
        return self._linear(attended, f"{layer}.ao")

    def _bias(self) -> str:
        """(b, 1, t, t) from the mask: no attention to padding."""
        absent = self._op("Sub", "mask", self._constant(np.float32(1)))
        bias = self._op("Mul", absent, self._constant(np.float32(-MASKED)))
        row = self._op("Unsqueeze", bias, self._constant(np.array([1, 2], np.int64)))
        one = self._op("Unsqueeze", "mask", self._constant(np.array([1, 3], np.int64)))
        zero = self._op("Mul", one, self._constant(np.float32(0)))
        return self._add(row, zero)

    def _pooled(self, x: str) -> None:
        """The mean of what is not padding, at unit length."""
        one, last = self._constant(np.array([1], np.int64)), self._constant(np.array([2], np.int64))
        total = self._op("ReduceSum", self._op("Mul", x, self._op("Unsqueeze", "mask", last)), one, keepdims=0)
        # Unit length needs no division by the count first.
        length = self._op("ReduceL2", total, one, keepdims=1)
        self._nodes.append(helper.make_node("Div", [total, length], ["vectors"]))

    def _linear(self, x: str, name: str) -> str:
        matrix = widened(self._weights.blocks(f"{name}.w", self._shape.width)).T
        scale = np.maximum(np.abs(matrix).max(axis=0) / SEVEN_BITS, 1e-9).astype(np.float32)
        return self._op(
            "DynamicQuantizeMatMul",
            x,
            self._constant(np.rint(matrix / scale).astype(np.int8)),
            self._constant(scale),
            self._constant(np.zeros(len(scale), np.int8)),
            self._constant(self._weights.floats(f"{name}.b")),
            domain="com.microsoft",
        )

    def _in_blocks(self, x: str, name: str) -> str:
        blocks = self._weights.blocks(f"{name}.w", self._shape.inner)
        product = self._op(
            "MatMulNBits",
            x,
            self._constant(_paired(blocks["nibbles"])),
            self._constant(blocks["scale"].astype(np.float32).ravel()),
            domain="com.microsoft",
            K=self._shape.inner,
            N=len(blocks),
            **FOUR_BITS,
        )
        return self._add(product, self._constant(self._weights.floats(f"{name}.b")))

    def _norm(self, x: str, name: str) -> str:
        scale, shift = (self._constant(self._weights.floats(f"{name}.{part}")) for part in "wb")
        return self._op("LayerNormalization", x, scale, shift, axis=-1, epsilon=float(self._shape.epsilon))

    def _add(self, left: str, right: str) -> str:
        return self._op("Add", left, right)

    def _constant(self, value: NDArray[Any] | np.float32) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value).reshape(np.shape(value)), name))
        return name

    def _op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"n{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name


def _paired(nibbles: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """From weights i and i + 16 in a byte to weights 2i and 2i + 1, as ONNX wants them."""
    values = np.concatenate([nibbles & 15, nibbles >> 4], axis=-1)
    found: NDArray[np.uint8] = values[..., 0::2] | (values[..., 1::2] << 4)
    return found
