"""What V2 errors say: Triton's words where its clients match on text, followed by the cure where Triton gives none."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "additional_data",
    "byte_size",
    "header_length",
    "input_count",
    "input_datatype",
    "input_shape",
    "input_twice",
    "load_failed",
    "load_parameters",
    "load_unknown",
    "no_datatype",
    "no_token",
    "not_json",
    "not_ready",
    "one_source",
    "output_twice",
    "row_counts",
    "string_count",
    "string_cut",
    "string_length_cut",
    "true_shape",
    "unexpected_input",
    "unexpected_output",
    "unknown_model",
    "unknown_version",
    "unload",
    "unparsed",
    "wrong_token",
]

_SHOWN_NAMES = 5


def unknown_model(model: str) -> str:
    """No such model."""
    return f"Request for unknown model: '{model}' is not found"


def unknown_version(model: str, version: str, serves: str) -> str:
    """The model serves, but not in this version."""
    return f"Request for unknown model: '{model}' version {version} is not found: version {serves} serves"


def not_ready(model: str) -> str:
    """The model is wanted but not loaded."""
    return f"Request for unknown model: '{model}' is not at ready state: it is not loaded yet"


def not_json(why: str) -> str:
    """The body, or its JSON part, is no JSON."""
    return f"failed to parse the request JSON buffer: {why}"


def unparsed(field: str, why: str) -> str:
    """A field is missing, or of another type."""
    return f"Unable to parse '{field}': {why}"


def header_length(given: str, length: int) -> str:
    """`Inference-Header-Content-Length` is no length within the body."""
    return f"inference header size should be in range (0, {length}), got: {given[:40]}"


def additional_data(model: str) -> str:
    """The body goes on behind the last binary input."""
    return f"unexpected additional input data for model '{model}'"


def one_source(found: Sequence[str]) -> str:
    """An input has no data, or several."""
    but = f"set {' '.join(repr(field) for field in found)}" if found else "no field is set"
    return (
        "Input must set only one of the following fields: 'data', 'binary_data_size' in 'parameters', "
        f"'shared_memory_region' in 'parameters'. But {but}"
    )


def no_datatype(name: str, datatype: str, known: Sequence[str]) -> str:
    """A datatype that does not exist, or is not taken."""
    return f"invalid datatype for input {name}: {datatype[:40]!r}, send one of {', '.join(known)}"


def unexpected_input(name: str, model: str, takes: Sequence[str]) -> str:
    """The model has no such input."""
    return f"unexpected inference input '{name}' for model '{model}', which takes {_shown(takes)}"


def input_twice(name: str) -> str:
    """One input, two times."""
    return f"input '{name}' already exists in request"


def input_count(model: str, given: Sequence[str], wanted: Sequence[str]) -> str:
    """Inputs are missing."""
    missing = [name for name in wanted if name not in given]
    return (
        f"expected {len(wanted)} inputs but got {len(given)} inputs for model '{model}'. "
        f"Got input(s) [{_shown(given)}], but missing required input(s) [{_shown(missing)}]. "
        "Please provide all required input(s)."
    )


def input_shape(name: str, model: str, expected: str, got: Sequence[int]) -> str:
    """The shape is none that the input may have."""
    return f"unexpected shape for input '{name}' for model '{model}'. Expected {expected}, got {_dims(got)}"


def input_datatype(name: str, datatype: str, model: str, expected: str) -> str:
    """Numbers for text, or text for numbers."""
    return f"inference input '{name}' data-type is '{datatype}', but model '{model}' expects '{expected}'"


def row_counts(name: str, model: str, rows: int, others: int) -> str:
    """One input has more rows than another."""
    return f"input '{name}' batch size does not match other inputs for '{model}': {rows} rows, the first has {others}"


def true_shape(name: str, shape: Sequence[int], count: int) -> str:
    """The JSON data are more or fewer than the shape says."""
    return (
        f"Failed to parse 'data' field: shape does not match true shape: input '{name}', {_dims(shape)}, {count} values"
    )


def byte_size(name: str, model: str, expected: int, got: int) -> str:
    """The binary data are longer or shorter than shape and datatype say."""
    return f"input byte size mismatch for input '{name}' for model '{model}'. Expected {expected}, got {got}"


def string_length_cut(name: str, model: str, left: int) -> str:
    """The data end within a string's length."""
    return (
        f"incomplete string length indicator for inference input '{name}' for model '{model}', expecting 4 bytes but "
        f"only {left} bytes available."
    )


def string_cut(name: str, model: str, wanted: int, left: int) -> str:
    """The data end within a string."""
    return (
        f"incomplete string data for inference input '{name}' for model '{model}', expecting string of length {wanted} "
        f"but only {left} bytes available."
    )


def string_count(name: str, model: str, got: int, expected: int) -> str:
    """More or fewer strings than the shape says."""
    return (
        f"unexpected number of string elements {got} for inference input '{name}' for model '{model}', "
        f"expecting {expected}"
    )


def unexpected_output(name: str, model: str, gives: Sequence[str]) -> str:
    """The model has no such output."""
    return f"unexpected inference output '{name}' for model '{model}', which gives {_shown(gives)}"


def output_twice(name: str) -> str:
    """One output, asked for two times."""
    return f"output '{name}' already exists in request"


def load_unknown(model: str) -> str:
    """The store does not name the model."""
    return f"failed to load '{model}', failed to poll from model repository: the store names no such model"


def load_failed(model: str, why: str) -> str:
    """The version that the store names cannot be loaded."""
    return f"failed to load '{model}', {why}"


def load_parameters(model: str) -> str:
    """A configuration or a file came with the request."""
    return f"failed to load '{model}', no parameters are taken: what serves is a file of the store"


def unload(model: str) -> str:
    """There is no unloading in one worker."""
    return f"failed to unload '{model}', the store says what serves: run `hotgate unpublish {model}`"


def no_token() -> str:
    """Nobody may administrate over HTTP."""
    return "explicit model load / unload is not allowed: set [gateway] admin_token, and send it as a bearer token"


def wrong_token() -> str:
    """The caller may not."""
    return "explicit model load / unload is not allowed without `Authorization: Bearer` and the admin_token"


def _dims(shape: Sequence[int]) -> str:
    return f"[{','.join(map(str, shape))}]"


def _shown(names: Sequence[str]) -> str:
    shown = ",".join(repr(name) for name in names[:_SHOWN_NAMES])
    return shown if len(names) <= _SHOWN_NAMES else f"{shown} and {len(names) - _SHOWN_NAMES} more"
