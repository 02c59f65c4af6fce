"""A model's inputs as the protocol sees them, and the matrices that the batcher takes.

A model of numbers has one input [-1, columns] by its tensor's name. Each model, that one too, has an input [-1] a
column by the column's name. A request sends the one or the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from gateway.blocks import empty_rows
from gateway.errors import BadRequest
from gateway.v2 import words
from gateway.v2.tensors import DATATYPES, Tensor, from_bytes, from_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from converters.modelfile import Signature
    from gateway.rows import Texts
    from gateway.v2.messages import InferInput

    # What `Batcher.submit_array` takes.
    Matrices = tuple[npt.NDArray[Any], Texts | None]

__all__ = ["Inputs", "TensorKind"]

_FLOAT = {"float32": "FP32", "float64": "FP64"}
_KINDS = {"int": "INT64", "bool": "BOOL", "string": "BYTES"}
_EXACT_MAX = 2**53
"""A whole number beyond it, either side of 0, is taken for one that no float equals."""


class TensorKind(msgspec.Struct, frozen=True, kw_only=True):
    """What metadata say of an input or an output."""

    name: str
    datatype: str
    shape: list[int]
    """-1 is any number of rows."""


class Inputs:
    """Reads the inputs of requests to one model."""

    def __init__(self, model: str, signature: Signature) -> None:
        self._model = model
        self._signature = signature
        self._float = _FLOAT[signature.dtype]
        self._width = len(signature.columns)
        self._places = {column.name: place for place, column in enumerate(signature.columns)}
        self._text_places = {place: index for index, place in enumerate(signature.texts)}
        self._columns = [
            TensorKind(name=column.name, datatype=_KINDS.get(column.kind, self._float), shape=[-1])
            for column in signature.columns
        ]
        whole = TensorKind(name=signature.input_name, datatype=self._float, shape=[-1, self._width])
        self.kinds = self._columns if signature.text_input else [whole]
        """What metadata list; columns are taken by name as well where they list one tensor."""

    def read(self, inputs: Sequence[InferInput], behind: memoryview) -> Matrices:
        """The matrices of a request's inputs.

        Args:
            inputs: as they stand in the JSON.
            behind: the body behind the JSON, with the binary data of inputs, in their order.

        Raises:
            BadRequest: names the input, and the value where one is wrong.
        """
        self._check_names([given.name for given in inputs])
        arrays, at = [], 0
        for place, given in enumerate(inputs):
            tensor = Tensor(given.name, given.datatype, given.shape, self._model, place)
            source = _source(given)
            if given.datatype not in DATATYPES:
                raise BadRequest(words.no_datatype(given.name, given.datatype, list(DATATYPES)))
            self._check_shape(tensor, whole=len(inputs) == 1 and self._is_whole(given))
            if isinstance(source, int):
                arrays.append((tensor, from_bytes(tensor, behind[at : at + source])))
                at += source
            else:
                arrays.append((tensor, from_json(tensor, source)))
        if at != len(behind):
            raise BadRequest(words.additional_data(self._model))
        if len(inputs) == 1 and self._is_whole(inputs[0]):
            return self._matrix(*arrays[0]), None
        return self._by_column(arrays)

    def _is_whole(self, given: InferInput) -> bool:
        """Whether an input is the tensor of all columns; one column of the same name is the same but for its shape."""
        signature = self._signature
        one = given.name == signature.input_name and not signature.text_input
        return one and (given.name not in self._places or len(given.shape) == 2)

    def _check_names(self, names: list[str]) -> None:
        if names == [self._signature.input_name] and not self._signature.text_input:
            return
        seen: set[str] = set()
        for name in names:
            if name not in self._places and not (names == [name] and name == self._signature.input_name):
                raise BadRequest(words.unexpected_input(name, self._model, [kind.name for kind in self.kinds]))
            if name in seen:
                raise BadRequest(words.input_twice(name))
            seen.add(name)
        if len(seen) != self._width:
            wanted = [column.name for column in (self._columns if names else self.kinds)]
            raise BadRequest(words.input_count(self._model, names, wanted))

    def _check_shape(self, tensor: Tensor, *, whole: bool) -> None:
        shape = tensor.shape
        if whole:
            fits, expected = len(shape) == 2 and shape[1] == self._width, f"[-1,{self._width}]"
        else:
            fits, expected = len(shape) == 1 or (len(shape) == 2 and shape[1] == 1), "[-1]"
        if not fits:
            raise BadRequest(words.input_shape(tensor.name, self._model, expected, shape))

    def _matrix(self, tensor: Tensor, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return self._numbers(tensor, values, self._float).reshape(tensor.shape)

    def _by_column(self, arrays: list[tuple[Tensor, npt.NDArray[Any]]]) -> Matrices:
        count = len(arrays[0][1])
        for tensor, values in arrays:
            if len(values) != count:
                raise BadRequest(words.row_counts(tensor.name, self._model, len(values), count))
        rows, texts = empty_rows(self._signature, count)
        for tensor, values in arrays:
            place = self._places[tensor.name]
            index = self._text_places.get(place)
            if index is None or texts is None:
                rows[:, place] = self._numbers(tensor, values, self._columns[place].datatype)
            elif tensor.datatype != "BYTES":
                raise BadRequest(words.input_datatype(tensor.name, tensor.datatype, self._model, "BYTES"))
            else:
                texts[:, index] = values
        return rows, texts

    def _numbers(self, tensor: Tensor, values: npt.NDArray[Any], expected: str) -> npt.NDArray[Any]:
        """Values in the signature's dtype: whole numbers exactly, others rounded to the nearest, as certified."""
        dtype = np.dtype(self._signature.dtype)
        if values.dtype == dtype:
            return values
        if values.dtype.kind == "O":
            raise BadRequest(words.input_datatype(tensor.name, tensor.datatype, self._model, expected))
        with np.errstate(over="ignore"):
            fitted = values.astype(dtype)
        if tensor.datatype.startswith("FP"):
            lost = np.isinf(fitted) & np.isfinite(values)
        else:
            lost = (fitted != values) & ~np.isnan(fitted) | (values > _EXACT_MAX) | (values < -_EXACT_MAX)
        if lost.any():
            value = values[int(lost.argmax())].item()
            raise BadRequest(f"{value!r} does not fit {self._float} - in input '{tensor.name}'")
        return fitted


def _source(given: InferInput) -> msgspec.Raw | int:
    """An input's data in the JSON, or how many bytes behind it are its."""
    size = given.parameters.binary_data_size if given.parameters is not None else msgspec.UNSET
    region = given.parameters.shared_memory_region if given.parameters is not None else msgspec.UNSET
    sources = {"data": given.data, "binary_data_size": size, "shared_memory_region": region}
    found = [field for field, value in sources.items() if value is not msgspec.UNSET]
    if len(found) != 1:
        raise BadRequest(words.one_source(found))
    if not isinstance(region, msgspec.UnsetType):
        raise BadRequest(f"no shared memory here: send the data of input '{given.name}' in the body")
    return given.data if isinstance(size, msgspec.UnsetType) else size  # type: ignore[return-value]  # one is set
