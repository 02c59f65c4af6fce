"""Bodies of MLflow's scoring protocol: four shapes of JSON, and CSV, as `mlflow models serve` reads them.

Statuses and the first words of a message are MLflow's; behind `Error:` it names what is wrong. docs/mlflow.md lists
where the two differ, from a test that asks both.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.errors import UnsupportedMediaType
from gateway.frames import Frame, InvalidInput, SchemaMismatch, table_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from converters.modelfile import Signature
    from gateway.frames import Table

__all__ = ["CSV", "JSON", "read_table"]

JSON = "application/json"
CSV = "text/csv"

_ONE_OF = (
    "The input must be a JSON dictionary with exactly one of the input fields"
    " {'dataframe_records', 'dataframe_split', 'inputs', 'instances'}."
)
_NO_JSON = "Invalid input. Ensure that the input is a valid JSON-formatted string. Error: "
_NO_CSV = (
    "Failed to parse input as a Pandas DataFrame. Ensure that the input is a valid CSV-formatted Pandas DataFrame"
    " produced using the `pandas.DataFrame.to_csv()` method. Error: "
)
_NO_SPLIT = (
    "Invalid input. Provided dataframe_split field is not a valid dataframe representation in 'split' format. Error: "
)
_NO_RECORDS = (
    "Invalid input. Provided dataframe_records field is not a valid dataframe representation in 'records' format."
    " Error: "
)
# fmt: off
_MISSING = frozenset({
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
})
# fmt: on
"""What pandas' `read_csv` takes for a missing value."""

_decode = msgspec.json.Decoder().decode


def read_table(body: bytes, content_type: str | None, signature: Signature) -> Table:
    """The rows of a request.

    Raises:
        UnsupportedMediaType: neither JSON nor CSV, or not in UTF-8.
        InvalidInput: none of MLflow's shapes, or a value is none of its column's.
        SchemaMismatch: not the model's columns.
    """
    kind = content_type if content_type in {JSON, CSV} else _media_type(content_type)
    frame = _json_frame(body) if kind == JSON else _csv_frame(body, signature)
    return table_of(frame, signature)


def _media_type(content_type: str | None) -> str:
    kind, *parameters = [part.strip() for part in (content_type or "").split(";")]
    given = dict(pair.partition("=")[::2] for pair in parameters)
    if given.pop("charset", "utf-8").lower() != "utf-8":
        raise UnsupportedMediaType("The scoring server only supports UTF-8")
    if given:
        raise UnsupportedMediaType(f"Unrecognized content type parameters: {', '.join(given)}.")
    if kind not in {JSON, CSV}:
        raise UnsupportedMediaType(
            f"This predictor only supports the following content types: Types: {[CSV, JSON]}. Got '{content_type}'."
        )
    return kind


# JSON


def _json_frame(body: bytes) -> Frame:
    data = _json_object(body)
    shapes = [key for key in data if key in _SHAPES]  # other keys are ignored, `params` too: no model here takes any
    if len(shapes) != 1:
        raise InvalidInput(f"{_ONE_OF} Received dictionary with input fields: {shapes}")
    return _SHAPES[shapes[0]](data[shapes[0]])


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        data = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        data = _python_json(body)
    if isinstance(data, dict):
        return data
    told = "Received a list." if isinstance(data, list) else "Error: the body is a single value."
    raise InvalidInput(f"Invalid input. {_ONE_OF} {told}")


def _python_json(body: bytes) -> Any:
    """Decode what msgspec does not: NaN and Infinity, which pandas and Python's `json` write, and long integers."""
    try:
        return json.loads(body)
    except RecursionError:
        why = "it is nested too deeply"
    except ValueError as error:
        why = str(error) if body else "it is empty"
    raise InvalidInput(f"Invalid input. Ensure that input is a valid JSON formatted string. Error: {why}")


def _split_frame(given: Any) -> Frame:
    """`{"columns": [name, ...], "data": [[value, ...], ...]}`."""
    if not isinstance(given, dict):
        told = "Got list." if isinstance(given, list) else "Error: it is neither."
        raise InvalidInput(f"Invalid input. Dataframe split format must be a dictionary. {told}")
    if "data" not in given or not given.keys() <= {"columns", "data", "index"}:
        raise InvalidInput(
            "Invalid input. Dataframe split format must have 'data' field and optionally 'columns' and 'index' fields."
            f" Error: got {list(given)}"
        )
    names, rows, index = given.get("columns"), given["data"], given.get("index")
    if not isinstance(rows, list):
        raise InvalidInput(f"{_NO_SPLIT}'data' must be a list of rows")
    if names is not None and (not isinstance(names, list) or any(isinstance(name, (list, dict)) for name in names)):
        raise InvalidInput(f"{_NO_SPLIT}'columns' must be a list of names")
    if isinstance(index, list) and len(index) != len(rows):
        raise InvalidInput(f"{_NO_SPLIT}Length of values ({len(rows)}) does not match length of index ({len(index)})")
    if not rows or all(isinstance(row, dict) for row in rows):
        return _records(rows) if names is None else Frame(names, [list(map(row.get, names)) for row in rows])
    rows = _lists(rows, _NO_SPLIT)
    width = len(names) if names is not None else len(rows[0])
    if odd := next((row for row in rows if len(row) != width), None):
        raise InvalidInput(f"{_NO_SPLIT}{width} columns passed, passed data had {len(odd)} columns")
    return Frame(names, rows)


def _records_frame(given: Any) -> Frame:
    """`[{name: value, ...}, ...]`; a name that a row does not have is a missing value."""
    if not isinstance(given, list):
        told = "Got dictionary." if isinstance(given, dict) else "Error: it is neither."
        raise InvalidInput(f"Invalid input. Dataframe records format must be a list of records. {told}")
    return _rows(given, _NO_RECORDS)


def _instances_frame(given: Any) -> Frame:
    """Rows by name, all with the same names; or lists in the model's order; or columns."""
    if isinstance(given, list) and given and isinstance(given[0], dict):
        if not all(isinstance(row, dict) for row in given):
            raise InvalidInput(
                "Invalid input. Ensure that the input is a valid JSON-formatted string. Error: mixed rows"
            )
        if any(row.keys() != given[0].keys() for row in given):
            raise InvalidInput("Invalid input. The length of values for each input/column name are not the same")
    return _inputs_frame(given)


def _inputs_frame(given: Any) -> Frame:
    """Columns by name, or one row of single values by name; or rows."""
    if isinstance(given, list):
        return _rows(given, "Invalid input. Error: ")
    if not isinstance(given, dict):
        raise InvalidInput("send a list of rows, or the columns by name")
    columns = {name: values for name, values in given.items() if isinstance(values, list)}
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        raise SchemaMismatch(f"All arrays must be of the same length. Error: there are {sorted(lengths)}")
    count = lengths.pop() if lengths else 1
    repeated = [columns.get(name) or [value] * count for name, value in given.items()]
    return Frame(list(given), list(zip(*repeated, strict=True)))


def _rows(given: list[Any], wrong: str) -> Frame:
    if all(isinstance(row, dict) for row in given):
        return _records(given)
    return Frame(None, _lists(given, wrong))


def _records(rows: list[dict[str, Any]]) -> Frame:
    names = list(rows[0]) if rows else []
    if any(row.keys() != rows[0].keys() for row in rows):
        names = list(dict.fromkeys(itertools.chain.from_iterable(rows)))
    return Frame(names, [[row.get(name) for name in names] for row in rows])


def _lists(rows: list[Any], wrong: str) -> list[list[Any]]:
    """The rows; single values are rows of one column, as pandas has it."""
    if all(isinstance(row, list) for row in rows):
        return rows
    if any(isinstance(row, (list, dict)) for row in rows):
        raise InvalidInput(f"{wrong}the rows are neither all lists nor all objects")
    return [[value] for value in rows]


_SHAPES: dict[str, Callable[[Any], Frame]] = {
    "dataframe_split": _split_frame,
    "dataframe_records": _records_frame,
    "instances": _instances_frame,
    "inputs": _inputs_frame,
}


# CSV


def _csv_frame(body: bytes, signature: Signature) -> Frame:
    """A header of names and the rows under it; an index column has another name than the model's, and is ignored."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"Invalid input. Ensure that input is a valid UTF-8 encoded string. Error: {error.reason} at {error.start}"
        ) from None
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
    except csv.Error as error:
        raise InvalidInput(f"{_NO_CSV}{error}") from None
    if not lines:
        raise InvalidInput(f"{_NO_CSV}there is no header")
    header, *rows = lines
    if odd := next((row for row in rows if len(row) > len(header)), None):
        raise InvalidInput(f"{_NO_CSV}a row has {len(odd)} fields, the header {len(header)}")
    first = {name: place for place, name in reversed(list(enumerate(header)))}
    names = [name if first[name] == place else None for place, name in enumerate(header)]  # pandas renames the others
    filled = [row + [""] * (len(header) - len(row)) for row in rows]
    return Frame(names, _cells(filled, names, signature))


def _cells(rows: list[list[str]], names: list[str | None], signature: Signature) -> list[list[Any]]:
    """The values of the cells; of a column of numbers they may stay texts, which pass for numbers."""
    if all(column.kind not in {"bool", "string"} for column in signature.columns):
        with contextlib.suppress(ValueError):
            return [list(map(float, row)) for row in rows]
    flags = {column.name for column in signature.columns if column.kind == "bool"}
    reads = [_flag if name in flags else _cell for name in names]
    return [[read(cell) for read, cell in zip(reads, row, strict=True)] for row in rows]


def _cell(cell: str) -> str | None:
    return None if cell in _MISSING else cell


def _flag(cell: str) -> str | float | None:
    return {"true": 1.0, "false": 0.0}.get(cell.lower(), _cell(cell))
