"""What a model file says of itself: the structs behind the `hotgate.*` metadata of the ONNX file.

Reading needs no onnx: onnxruntime hands the metadata over as a mapping of strings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from converters.errors import MetadataError
from converters.numbers import Number, refuse_non_finite
from monitoring import Reference

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ARTIFACT_NAME",
    "MAX_TOLERANCE",
    "Certificate",
    "Column",
    "Golden",
    "Metadata",
    "Provenance",
    "Signature",
    "read_metadata",
    "write_metadata",
]

ARTIFACT_NAME = "model.hotgate.onnx"
"""The model file's name at the root of a registry version's artifact."""

MAX_TOLERANCE = 1e-3
"""No certificate may allow a probability to be further off than this: it would certify nothing."""

_PREFIX = "hotgate."


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One input column, in the order the graph expects."""

    name: str
    kind: Literal["float", "int", "category"] = "float"
    """A category is sent as a number too, one for each: what they mean is between the client and the model."""


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """What goes in and what comes out."""

    columns: tuple[Column, ...]
    dtype: Literal["float32"] = "float32"
    input_name: str
    """The graph's input: one tensor [rows, columns] of `dtype`."""
    task: Literal["classification"] = "classification"
    classes: tuple[bool | int | float | str, ...]
    """What scikit-learn's `predict` returns, in the order of the probabilities."""
    labels: tuple[str, ...]
    """Display names of the classes."""
    score_output: str
    """The graph's output: probabilities float32 [rows, classes]; the prediction is the class of the largest."""
    missing: Literal["refused", "accepted"] = "refused"
    """Whether a missing value (NaN) may be sent: only if scikit-learn takes one and the graph answers the same."""


class Golden(msgspec.Struct, frozen=True, kw_only=True):
    """A few input rows, as doubles, with the probabilities that scikit-learn gave for them."""

    graph_sha256: str
    rows: tuple[tuple[Number, ...], ...]
    probabilities: tuple[tuple[float, ...], ...]


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """Scikit-learn on the original doubles against onnxruntime on what the gateway would feed it."""

    graph_sha256: str
    passed: bool
    rows: int
    heldout_rows: int
    adversarial_rows: int
    tolerance: float
    """Largest allowed absolute difference of a probability; a flipped label is allowed only in a margin this small."""
    error_max: float
    error_p999: float
    label_flips: int
    flip_margin_max: float
    """Largest distance between the two best classes, in scikit-learn's eyes, among the flipped rows."""
    versions: dict[str, str]


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Where the model came from; nothing here varies between equal runs."""

    git_revision: str | None
    data_digest: str
    data_revision: str | None = None
    parameters: dict[str, Any]
    versions: dict[str, str]
    seed: int


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """All that a model file says of itself."""

    signature: Signature
    reference: Reference
    golden: Golden
    parity: Certificate
    provenance: Provenance


_DECODERS = {field.name: msgspec.json.Decoder(field.type) for field in msgspec.structs.fields(Metadata)}


def write_metadata(metadata: Metadata) -> dict[str, str]:
    """Encode each part as JSON under its `hotgate.*` key; `read_metadata` gives back an equal value.

    Raises:
        MetadataError: a number is NaN or infinite where that has no meaning, or a value has no form in JSON.
    """
    encoded = {}
    for name in _DECODERS:
        try:
            part = msgspec.to_builtins(getattr(metadata, name))
            refuse_non_finite(part, f"$.{name}")
            encoded[_PREFIX + name] = msgspec.json.encode(part, order="sorted").decode()
        except (TypeError, ValueError, OverflowError) as error:
            raise MetadataError(f"{name} cannot be written: {error}") from error
    return encoded


def read_metadata(properties: Mapping[str, str]) -> Metadata:
    """Decode the metadata of a model file, and hold its parts against each other.

    Raises:
        MetadataError: a part is missing, does not decode or was measured on another graph, or the certificate failed.
    """
    parts: dict[str, Any] = {}
    for name, decoder in _DECODERS.items():
        text = properties.get(_PREFIX + name)
        if text is None:
            raise MetadataError(f"no {_PREFIX + name} in the file: it was not made by `hotgate convert` or `train`")
        try:
            parts[name] = decoder.decode(text)
        except (msgspec.DecodeError, ValueError) as error:
            raise MetadataError(f"{_PREFIX + name}: {error}") from error
    metadata = Metadata(**parts)
    _check_consistent(metadata)
    return metadata


def _check_consistent(metadata: Metadata) -> None:
    _check_certificate(metadata.parity)
    graphs = {metadata.golden.graph_sha256, metadata.parity.graph_sha256, metadata.reference.graph_sha256}
    if len(graphs) != 1:
        raise MetadataError("golden rows, certificate and reference were not measured on the same graph")
    signature = metadata.signature
    width, classes = len(signature.columns), len(signature.classes)
    if not width or classes < 2 or len(signature.labels) != classes:
        raise MetadataError(f"signature has {width} columns, {classes} classes and {len(signature.labels)} labels")
    columns = [(column.name, column.kind) for column in signature.columns]
    if len({name for name, _ in columns}) != width:
        raise MetadataError("signature names a column twice")
    if [(feature.name, feature.kind) for feature in metadata.reference.features] != columns:
        raise MetadataError("the reference's features are not the signature's columns")
    golden = metadata.golden
    if not golden.rows or len(golden.rows) != len(golden.probabilities):
        raise MetadataError("golden rows and their answers differ in number")
    if any(len(row) != width for row in golden.rows) or any(len(row) != classes for row in golden.probabilities):
        raise MetadataError("a golden row has another width than the signature")


def _check_certificate(parity: Certificate) -> None:
    """Refuse a failed certificate, and one that says `passed` against its own figures."""
    if not parity.passed:
        raise MetadataError(
            f"the parity certificate says it failed: off by {parity.error_max:.3g}, tolerance {parity.tolerance:.3g}"
        )
    if not 0 < parity.tolerance <= MAX_TOLERANCE:
        raise MetadataError(f"the parity certificate allows {parity.tolerance:g}, at most {MAX_TOLERANCE:g} is allowed")
    figures = (parity.error_max, parity.error_p999, parity.flip_margin_max if parity.label_flips else 0.0)
    worst = max(figures)
    if not 0 <= min(figures) <= worst <= parity.tolerance or parity.heldout_rows < 1:
        raise MetadataError(
            f"the parity certificate says it passed, but was off by {worst:.3g} with tolerance {parity.tolerance:.3g}"
            f" on {parity.heldout_rows} held-out rows"
        )
