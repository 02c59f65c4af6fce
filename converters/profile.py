"""The reference of a model: what its columns, scores and classes looked like, texts included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace

from converters.answers import label_of, score_of
from converters.effects import with_effects
from converters.modelfile import MISSING_TEXT, watched_as
from monitoring import build_reference

if TYPE_CHECKING:
    import numpy.typing as npt

    from converters.modelfile import Signature
    from converters.parity import Run
    from converters.rows import Rows
    from monitoring import Reference

__all__ = ["profile"]

_MAX_CODES = 128
"""A column of more distinct texts is watched by their length."""


def profile(
    signature: Signature, run: Run, train: Rows, heldout: Rows, answers: npt.NDArray[np.float64], graph_sha256: str
) -> Reference:
    """Profile training rows and held-out answers, with each feature's effect on the score.

    Few distinct texts are the categories of their column, coded in their order; of many, the length is watched.

    Args:
        signature: of the model.
        run: its graph.
        train: rows, the features' reference.
        heldout: rows, the score's.
        answers: scikit-learn's to the held-out rows, float64 [m, width].
        graph_sha256: of the graph.
    """
    words = [_words(column) for column in train.texts.T] if train.texts is not None else []
    coded = dict(zip(signature.texts, words, strict=True))
    reference = build_reference(
        _watched(train, coded),
        score_of(signature, answers),
        names=[column.name for column in signature.columns],
        kinds=[
            "int" if place in coded and not coded[place] else watched_as(column)
            for place, column in enumerate(signature.columns)
        ],
        graph_sha256=graph_sha256,
        dtype=signature.dtype,
        labels=label_of(signature, answers),
        classes=signature.labels,
    )
    features = list(reference.features)
    for place, known in coded.items():
        if known:
            codes = features[place].codes
            features[place] = replace(features[place], categories=[known[int(code)] for code in codes])
    reference = replace(reference, features=features)
    return with_effects(
        reference, lambda rows: score_of(signature, run(rows)), train, _watched(train, coded), heldout, signature.texts
    )


def _words(texts: npt.NDArray[Any]) -> list[str]:
    """The distinct texts, in order; none if they are too many to be categories."""
    distinct = sorted({str(text) for text in texts if text != MISSING_TEXT})
    return distinct if len(distinct) <= min(_MAX_CODES, max(2, len(texts) // 2)) else []


def _watched(rows: Rows, coded: dict[int, list[str]]) -> npt.NDArray[np.float64]:
    """What the monitor counts of each column: numbers as they are, texts as the gateway codes them."""
    if rows.texts is None:
        return rows.numbers
    numbers = rows.numbers.copy()
    for column, (place, known) in zip(rows.texts.T, coded.items(), strict=True):
        codes = {word: float(code) for code, word in enumerate(known)}
        numbers[:, place] = [
            np.nan if text == MISSING_TEXT else codes[text] if known else float(len(text)) for text in column
        ]
    return numbers
