"""A model's outputs as the protocol sees them, made of the one matrix that the engine answers.

A target with classes has `label` [-1] (BOOL, INT64, FP64 or BYTES, as scikit-learn's classes are) and
`probabilities` FP32 [-1, classes], or `scores` where it only has a decision function ([-1] of two classes). A target of
numbers has `value` FP32 [-1], or [-1, width]. Of several targets the names end in the target's: `label.colour`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from converters.answers import parts_of, places_of, scores_of
from gateway.errors import BadRequest
from gateway.v2 import words
from gateway.v2.inputs import TensorKind
from gateway.v2.messages import InferAnswer, InferOutput, RequestedOutput
from gateway.v2.tensors import as_bytes, as_list

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from converters.modelfile import Signature, Target
    from gateway.v2.messages import InferRequest

    # Makes an output of the columns of its target.
    Make = Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]]

__all__ = ["Outputs", "Wanted"]

_encode = msgspec.json.Encoder().encode


class Wanted(msgspec.Struct, frozen=True, gc=False):
    """One output that a request wants."""

    kind: TensorKind
    columns: slice
    make: Any
    binary: bool


class Outputs:
    """Makes the answers of one model."""

    def __init__(self, model: str, signature: Signature) -> None:
        self._model = model
        self._width = signature.width
        self._made: dict[str, tuple[TensorKind, slice, Make]] = {}
        for target, columns in parts_of(signature):
            suffix = f".{target.name}" if len(signature.targets) > 1 else ""
            for name, datatype, shape, make in _outputs_of(target):
                kind = TensorKind(name=name + suffix, datatype=datatype, shape=shape)
                self._made[kind.name] = kind, columns, make
        self.kinds = [kind for kind, _, _ in self._made.values()]
        self._all = [RequestedOutput(name=name) for name in self._made]

    def wanted(self, request: InferRequest) -> list[Wanted]:
        """The outputs that a request names, in its order; all of them, if it names none.

        Raises:
            BadRequest: an unknown output, one that is named twice, or a form of it that there is not.
        """
        default = request.parameters is not None and request.parameters.binary_data_output
        found: dict[str, Wanted] = {}
        for asked in request.outputs or self._all:
            made = self._made.get(asked.name)
            if made is None:
                raise BadRequest(words.unexpected_output(asked.name, self._model, list(self._made)))
            if asked.name in found:
                raise BadRequest(words.output_twice(asked.name))
            found[asked.name] = Wanted(*made, _is_binary(asked, default=default))
        return list(found.values())

    def answer(
        self, scores: list[list[float]], wanted: Sequence[Wanted], version: str, request_id: str | None
    ) -> tuple[bytes, int | None]:
        """The body of an answer, and the length of its JSON if binary data follow.

        Args:
            scores: [rows][width], as the batcher gives them.
            wanted: which outputs.
            version: the model's.
            request_id: what the request's body says as `id`.
        """
        matrix = np.array(scores, dtype=np.float32).reshape(len(scores), self._width)
        outputs, parts = [], []
        for one in wanted:
            values = one.make(matrix[:, one.columns])
            fields: dict[str, Any] = {"data": as_list(values)}
            if one.binary:
                parts.append(as_bytes(values))
                fields = {"parameters": {"binary_data_size": len(parts[-1])}}
            shape = list(values.shape)
            outputs.append(InferOutput(name=one.kind.name, datatype=one.kind.datatype, shape=shape, **fields))
        answer = InferAnswer(model_name=self._model, model_version=version, id=request_id, outputs=outputs)
        head = _encode(answer)
        return (b"".join([head, *parts]), len(head)) if parts else (head, None)


def _is_binary(asked: RequestedOutput, *, default: bool) -> bool:
    parameters = asked.parameters
    if parameters is None:
        return default
    if parameters.classification:
        raise BadRequest(f"no classification of output '{asked.name}': ask for the label or the probabilities")
    if parameters.shared_memory_region is not msgspec.UNSET:
        raise BadRequest(f"no shared memory here: output '{asked.name}' comes in the body")
    return default if parameters.binary_data is msgspec.UNSET else parameters.binary_data


def _outputs_of(target: Target) -> list[tuple[str, str, list[int], Make]]:
    """Name, datatype, shape and maker of each output of a target."""
    width = target.width
    if not target.classes:
        return [("value", "FP32", [-1] if width == 1 else [-1, width], _flat if width == 1 else _same)]
    datatype, classes = _classes(target.classes)
    found: list[tuple[str, str, list[int], Make]] = [
        ("label", datatype, [-1], lambda part: classes[places_of(target, part).astype(np.int64)])
    ]
    if width:
        name = "probabilities" if target.scores == "probabilities" and width == len(classes) > 1 else "scores"
        form = _flat if width == 1 else _same
        found.append((name, "FP32", [-1] if width == 1 else [-1, width], lambda part: form(scores_of(target, part))))
    return found


def _classes(classes: tuple[bool | int | float | str, ...]) -> tuple[str, npt.NDArray[Any]]:
    """The datatype that holds all classes, and them."""
    kinds = {type(value) for value in classes}
    if kinds == {bool}:
        return "BOOL", np.array(classes, dtype=np.bool_)
    if kinds == {int}:
        return "INT64", np.array(classes, dtype=np.int64)
    if kinds <= {int, float}:
        return "FP64", np.array(classes, dtype=np.float64)
    found = np.empty(len(classes), dtype=object)
    found[:] = [str(value) for value in classes]
    return "BYTES", found


def _flat(part: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    return part[:, 0]


def _same(part: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    return part
