"""What a model file says of itself: the structs behind the `hotgate.*` metadata of the ONNX file.

Reading needs no onnx: onnxruntime hands the metadata over as a mapping of strings.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from converters.errors import MetadataError
from converters.numbers import Number, refuse_non_finite
from monitoring import Reference

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ARTIFACT_NAME",
    "MAX_TOLERANCE",
    "MISSING_TEXT",
    "Certificate",
    "Column",
    "Golden",
    "Metadata",
    "Provenance",
    "Signature",
    "Target",
    "read_metadata",
    "watched_as",
    "write_metadata",
]

ARTIFACT_NAME = "model.hotgate.onnx"
"""The model file's name at the root of a registry version's artifact."""

MAX_TOLERANCE = 1e-3
"""No certificate may allow a probability to be further off than this: it would certify nothing."""

_PREFIX = "hotgate."


MISSING_TEXT = "\ufffe"
"""What stands for a missing value among the strings that a graph is given: no character, so nobody's own text."""


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One input column, in the order the graph expects."""

    name: str
    kind: Literal["float", "int", "bool", "category", "string"] = "float"
    """A category is sent as a number too, one for each: what they mean is between the client and the model."""
    missing: bool = False
    """Whether a missing value may be sent: only if scikit-learn takes one and the graph answers the same."""


def watched_as(column: Column) -> Literal["float", "int", "category"]:
    """What the monitor counts of a column; of free text it may be the length instead, an `int`."""
    return "category" if column.kind in {"bool", "string"} else cast("Literal['float', 'int', 'category']", column.kind)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that the model predicts, and how it stands in the columns of an answer."""

    name: str = "label"
    classes: tuple[bool | int | float | str, ...] = ()
    """What scikit-learn's `predict` returns, in the order of the scores; empty: numbers."""
    labels: tuple[str, ...] = ()
    """Display names of the classes."""
    scores: Literal["probabilities", "decision", "value"] = "probabilities"
    width: int
    """Columns of scores, 0 or more."""
    decides: Literal["argmax", "sign", "given"] = "argmax"
    """How the class follows: the largest score; class 1 if the one score is above 0; or a column of its own, before the
    scores, with the place of the class."""
    scale: float = 1.0
    """Of the scores: what a difference is small or large against, above 0. Of probabilities 1."""

    @property
    def columns(self) -> int:
        """How many columns of an answer it takes."""
        return self.width + (self.decides == "given")


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """What goes in and what comes out."""

    columns: tuple[Column, ...]
    form: Literal["matrix", "table"] = "matrix"
    """`matrix`: all columns are numbers of one kind to the model. `table`: each value is held to its column's kind."""
    dtype: Literal["float32", "float64"] = "float32"
    input_name: str
    """The graph's input: one tensor [rows, columns] of `dtype`. Where a column is text, its length or its code stands
    there, for the monitor: the graph reads the text itself."""
    text_input: str = ""
    """The graph's input of strings [rows, text columns], in their order; empty if no column is text."""
    task: Literal["classification", "regression", "outliers", "clusters", "transformation"] = "classification"
    targets: tuple[Target, ...]
    """What stands in the answer's columns, one target behind the other."""
    score_output: str
    """The graph's output: the answer, float32 [rows, width]."""

    @property
    def width(self) -> int:
        """Columns of an answer."""
        return sum(target.columns for target in self.targets)

    @property
    def classes(self) -> tuple[bool | int | float | str, ...]:
        """Those of the first target."""
        return self.targets[0].classes

    @property
    def labels(self) -> tuple[str, ...]:
        """Display names of the first target's classes."""
        return self.targets[0].labels

    @property
    def texts(self) -> tuple[int, ...]:
        """Places of the text columns."""
        return tuple(place for place, column in enumerate(self.columns) if column.kind == "string")

    @property
    def one_choice(self) -> bool:
        """Whether the answer is the probabilities of one target's classes, and the prediction the largest of them."""
        first, *others = self.targets
        return not others and bool(first.classes) and (first.scores, first.decides) == ("probabilities", "argmax")


class Golden(msgspec.Struct, frozen=True, kw_only=True):
    """A few input rows, as doubles and texts, with the answers that scikit-learn gave for them."""

    graph_sha256: str
    rows: tuple[tuple[Number | str, ...], ...]
    answers: tuple[tuple[float, ...], ...]


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
    _check_signature(metadata.signature)
    features = [(feature.name, feature.kind) for feature in metadata.reference.features]
    if len(features) != len(metadata.signature.columns) or not all(
        name == column.name and kind in {watched_as(column), "int" if column.kind == "string" else None}
        for (name, kind), column in zip(features, metadata.signature.columns, strict=True)
    ):
        raise MetadataError("the reference's features are not the signature's columns")
    if metadata.reference.dtype != metadata.signature.dtype:
        raise MetadataError("the reference's dtype is not the signature's")
    golden, width = metadata.golden, len(metadata.signature.columns)
    if not golden.rows or len(golden.rows) != len(golden.answers):
        raise MetadataError("golden rows and their answers differ in number")
    if any(len(row) != width for row in golden.rows) or any(
        len(row) != metadata.signature.width for row in golden.answers
    ):
        raise MetadataError("a golden row has another width than the signature")


def _check_signature(signature: Signature) -> None:
    names = {column.name for column in signature.columns}
    if not names:
        raise MetadataError("signature has 0 columns")
    if len(names) != len(signature.columns):
        raise MetadataError("signature names a column twice")
    if bool(signature.texts) != bool(signature.text_input) or (signature.texts and signature.form != "table"):
        raise MetadataError("signature has text columns without an input for them, or the other way round")
    if not signature.targets:
        raise MetadataError("signature has no target")
    for target in signature.targets:
        classes, width = len(target.classes), target.width
        wants = {
            "argmax": classes >= 2 and width == classes,
            "sign": classes == 2 and width == 1,
            "given": classes >= 1,
        }
        fits = wants[target.decides] if classes else target.decides == "argmax" and width >= 1
        if not fits or len(target.labels) != classes or not 0 < target.scale < math.inf or width < 0:
            raise MetadataError(
                f"target {target.name!r} has {classes} classes, {len(target.labels)} labels, {width} scores,"
                f" and decides by {target.decides}"
            )


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
