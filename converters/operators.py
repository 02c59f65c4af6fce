"""Which operators a graph may use, and how: none loops or touches a file, and no row's values break the process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

from converters.errors import ConversionError
from converters.forest import check_forest

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["MAX_SKIPS", "check_divisions", "check_operators", "constants", "open_divisors"]

MAX_SKIPS = 64
"""Most words that a TfIdfVectorizer's n-gram may skip: onnxruntime tries every number up to this one, for each word."""

_ALLOWED = {
    "ai.onnx": frozenset(
        """
        Abs Add And ArgMax ArgMin Cast CastLike Ceil Clip Concat Constant ConstantOfShape CumSum Div Equal Erf Exp
        Expand EyeLike Flatten Floor Gather GatherElements GatherND Gemm Greater GreaterOrEqual Identity IsInf IsNaN
        Less LessOrEqual Log LpNormalization MatMul Max Mean Min Mod Mul Neg Not OneHot Or Pad Pow Range Reciprocal
        ReduceL1 ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu
        Reshape Round ScatterElements SequenceAt SequenceConstruct Shape Sigmoid Sign Sin Slice Softmax Split Sqrt
        Squeeze StringNormalizer Sub Sum Tanh TfIdfVectorizer Tile TopK Transpose Unsqueeze Where Xor
        """.split()  # noqa: SIM905 - a hundred names read better as a paragraph
    ),
    "ai.onnx.ml": frozenset(
        """
        ArrayFeatureExtractor Binarizer CategoryMapper DictVectorizer FeatureVectorizer Imputer LabelEncoder
        LinearClassifier LinearRegressor Normalizer OneHotEncoder SVMClassifier SVMRegressor Scaler
        TreeEnsembleClassifier TreeEnsembleRegressor ZipMap
        """.split()  # noqa: SIM905
    ),
    # Distances of neighbours and kernels; words of a text. A domain lets in no more than is named.
    "com.microsoft": frozenset({"CDist", "Tokenizer"}),
}
"""What the converters of scikit-learn's estimators emit, by domain.

Left out of what skl2onnx 1.20 can emit: Scan, If and Loop (control flow; distances are CDist instead), Einsum and Solve
(the deviation of a Gaussian process), MurmurHash3, ScatterND and ai.onnx.contrib.StringSplit (FeatureHasher). Left out
of ai.onnx.ml: TreeEnsemble, which no converter emits and whose trees would need checks of their own.
"""

_SIZES = {
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "OneHot": (1,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Tile": (1,),
    "TopK": (1,),
}
"""Inputs that say how large an output is, by their place."""


def check_operators(model: onnx.ModelProto) -> None:
    """Refuse a node that is unknown, carries a graph, or does with the right input what no input may do.

    Raises:
        ConversionError: names the operator and what is wrong with it.
    """
    for node in model.graph.node:
        domain = node.domain or "ai.onnx"
        if node.op_type not in _ALLOWED.get(domain, ()):
            raise ConversionError(f"operator {domain}.{node.op_type} is not allowed")
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            raise ConversionError(f"operator {node.op_type} carries a sub-graph, which is not allowed")
        if node.op_type.startswith("TreeEnsemble"):
            check_forest(node)
        if node.op_type == "TfIdfVectorizer":
            _check_skips(node)
    _check_sizes(model.graph)


def _check_skips(node: onnx.NodeProto) -> None:
    skips = max((item.i for item in node.attribute if item.name == "max_skip_count"), default=0)
    if skips > MAX_SKIPS:
        raise ConversionError(f"TfIdfVectorizer skips up to {skips:,} words, at most {MAX_SKIPS} are allowed")


def _check_sizes(graph: onnx.GraphProto) -> None:
    """A size may follow from constants and from the shape of the input, never from its values.

    Else one row, which no golden row resembles, asks for all the memory there is.
    """
    valued = {item.name for item in graph.input}
    known = valued | {tensor.name for tensor in graph.initializer} | {""}
    for node in graph.node:
        unknown = next((name for name in node.input if name not in known), None)
        if unknown is not None:
            raise ConversionError(f"operator {node.op_type} takes {unknown[:100]!r}, which no node before it gives")
        for place in _SIZES.get(node.op_type, ()):
            if place < len(node.input) and node.input[place] in valued:
                raise ConversionError(f"operator {node.op_type} takes a size from the values of a row")
        known.update(node.output)
        if node.op_type != "Shape" and not valued.isdisjoint(node.input):
            valued.update(name for name in node.output if name)  # an output without a name is one left out


def constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """The tensors that stand in the file, by name."""
    found = {tensor.name: tensor for tensor in graph.initializer}
    told = [(node.output[0], item) for node in graph.node if node.op_type == "Constant" for item in node.attribute]
    return found | {name: item.t for name, item in told if item.name == "value"}


def open_divisors(graph: onnx.GraphProto) -> list[str]:
    """What a graph divides by and computes itself: of these the type must be known."""
    known = constants(graph)
    return sorted({node.input[1] for node in graph.node if node.op_type == "Div"} - known.keys())


def check_divisions(graph: onnx.GraphProto, types: dict[str, str]) -> None:
    """Let integers be divided by positive constants only.

    The smallest integer divided by -1 is a trap of the processor: onnxruntime dies of it, and one row suffices.

    Args:
        graph: of the model.
        types: onnxruntime's type of each of `open_divisors`.

    Raises:
        ConversionError: an integer is divided by something else.
    """
    for name, kind in types.items():
        if "int" in kind:
            raise ConversionError(f"operator Div divides integers by the computed {name[:100]!r}")
    known = constants(graph)
    for node in graph.node:
        if node.op_type == "Div" and node.input[1] in known:
            divisor = _array(known[node.input[1]])
            if divisor.dtype.kind in "iu" and not np.all(divisor > 0):
                raise ConversionError(f"operator Div divides integers by {int(divisor.min())}")


def _array(tensor: onnx.TensorProto) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = numpy_helper.to_array(tensor)
    except (TypeError, ValueError) as error:
        raise ConversionError(f"tensor {tensor.name[:100]!r} does not hold what it claims: {error}") from error
    return array
