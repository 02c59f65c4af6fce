"""The end of a graph: whatever a converter answers becomes one float32 matrix, a target beside the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from converters.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from converters.modelfile import Target
    from converters.oracle import Oracle

__all__ = ["ANSWER", "PROBED_ROWS", "finish"]

ANSWER = "answer"
PROBED_ROWS = 3
"""As many rows are run to see the shapes of a converter's outputs."""

_ML_OPSET = 3
"""From 2 on a LabelEncoder gives numbers."""


class _Tail:
    """Nodes that are added to a graph, with names of their own."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._count = 0

    def node(self, operator: str, inputs: list[str], *, domain: str = "", out: str = "", **attributes: Any) -> str:
        self._count += 1
        name = out or f"hotgate_{self._count}"
        self._graph.node.append(
            helper.make_node(
                operator, inputs, [name], name=f"hotgate_{operator}_{self._count}", domain=domain, **attributes
            )
        )
        return name

    def constant(self, values: Any, dtype: type = np.int64) -> str:
        self._count += 1
        name = f"hotgate_{self._count}"
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(values, dtype=dtype), name))
        return name

    def shaped(self, name: str, *shape: int) -> str:
        return self.node("Reshape", [name, self.constant(shape)])

    def columns(self, name: str, places: list[int]) -> str:
        return self.node("Gather", [name, self.constant(places)], axis=1)


def finish(model: onnx.ModelProto, oracle: Oracle, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Replace the graph's outputs by `ANSWER`: float32 [rows, width], as the targets say.

    Args:
        model: as a converter made it; changed in place.
        oracle: what the answer's columns are.
        shapes: of the outputs that are tensors, as they were seen for `PROBED_ROWS`.

    Raises:
        ConversionError: the converter's outputs do not hold what the targets need.
    """
    graph, targets = model.graph, oracle.targets
    for opset in model.opset_import:
        if opset.domain == "ai.onnx.ml":
            opset.version = max(opset.version, _ML_OPSET)
    tail = _Tail(graph)
    labels, scores = _outputs(model, oracle)
    parts: list[str] = []
    matrices = _scores(tail, graph, scores, oracle, shapes) if any(target.width for target in targets) else []
    places = _places(tail, model, labels, targets) if any(target.decides == "given" for target in targets) else []
    for index, target in enumerate(targets):
        if target.decides == "given":
            parts.append(places[index])
        if target.width:
            parts.append(matrices[index])
    if len(parts) > 1:
        tail.node("Concat", parts, out=ANSWER, axis=1)
    else:
        tail.node("Identity", parts, out=ANSWER)
    if all(opset.domain != "ai.onnx.ml" for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid("ai.onnx.ml", _ML_OPSET))
    del graph.output[:]
    width = sum(target.columns for target in targets)
    graph.output.append(helper.make_tensor_value_info(ANSWER, TensorProto.FLOAT, [None, width]))


def _outputs(model: onnx.ModelProto, oracle: Oracle) -> tuple[str, str]:
    """Names of the outputs with the label and with the scores; empty where there is none."""
    names = [output.name for output in model.graph.output]
    if not oracle.targets[0].classes:
        return "", names[0]
    return names[0], names[1] if len(names) > 1 else ""


def _scores(
    tail: _Tail, graph: onnx.GraphProto, name: str, oracle: Oracle, shapes: Mapping[str, tuple[int, ...]]
) -> list[str]:
    """A float matrix [rows, width] for each target."""
    targets = oracle.targets
    widths = [target.width for target in targets]
    if not name:
        raise ConversionError(f"the graph of {type(oracle.estimator).__name__} answers no scores, only classes")
    parts = _sequence(graph, name)
    if parts:
        return [_float(tail, part, width) for part, width in zip(parts, widths, strict=True)]
    shape = shapes[name]
    size = int(np.prod(shape)) // PROBED_ROWS
    if len(shape) == 3:  # [targets, rows, most classes]
        whole = tail.shaped(tail.node("Transpose", [name], perm=[1, 0, 2]), -1, shape[0] * shape[2])
        starts = [index * shape[2] for index in range(len(targets))]
        return [
            _float(tail, tail.columns(whole, list(range(start, start + width))), width)
            for start, width in zip(starts, widths, strict=True)
        ]
    found = _parted(tail, _float(tail, name, size, known=shape == (PROBED_ROWS, size)), size, widths)
    if found:
        return found
    raise ConversionError(
        f"the graph of {type(oracle.estimator).__name__} answers {size} scores, scikit-learn {sum(widths)}"
    )


def _parted(tail: _Tail, whole: str, size: int, widths: list[int]) -> list[str]:
    """The columns of a float matrix [rows, size], a target's each; nothing if they are not the targets'."""
    if [size] == widths:
        return [whole]
    if size == sum(widths):
        ends = np.cumsum(widths).tolist()
        return [tail.columns(whole, list(range(end - width, end))) for end, width in zip(ends, widths, strict=True)]
    if (size, widths) == (2, [1]):  # both sides of one decision
        return [tail.columns(whole, [1])]
    if widths == [2] * size:  # the probability of 1
        one, columns = tail.constant([[1.0]], np.float32), [tail.columns(whole, [index]) for index in range(size)]
        return [tail.node("Concat", [tail.node("Sub", [one, each]), each], axis=1) for each in columns]
    return []


def _sequence(graph: onnx.GraphProto, name: str) -> list[str]:
    """What a sequence output is made of; the node that makes it goes: a gateway wants tensors."""
    for node in graph.node:
        if node.op_type == "SequenceConstruct" and name in node.output:
            parts = list(node.input)
            graph.node.remove(node)
            return parts
    return []


def _float(tail: _Tail, name: str, width: int, *, known: bool = False) -> str:
    cast = tail.node("Cast", [name], to=TensorProto.FLOAT)
    return cast if known else tail.shaped(cast, -1, width)


def _places(tail: _Tail, model: onnx.ModelProto, name: str, targets: tuple[Target, ...]) -> list[str]:
    """The place of each target's class, a float column each."""
    output = next(item for item in model.graph.output if item.name == name)
    element = output.type.tensor_type.elem_type
    texts = element == TensorProto.STRING
    whole = name if texts else tail.node("Cast", [name], to=TensorProto.INT64)
    whole = tail.shaped(whole, -1, len(targets))
    columns = [whole] if len(targets) == 1 else [tail.columns(whole, [index]) for index in range(len(targets))]
    found = []
    for column, target in zip(columns, targets, strict=True):
        keys: list[Any] = [str(each) if texts else int(each) for each in target.classes]
        attributes: dict[str, Any] = {"keys_strings" if texts else "keys_int64s": keys}
        places = [float(place) for place in range(len(keys))]
        found.append(
            tail.node(
                "LabelEncoder", [column], domain="ai.onnx.ml", values_floats=places, default_float=-1.0, **attributes
            )
        )
    return found
