"""What is monitored: rows of a known population, and a model that scores them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BUNDLED", "Block", "Subject", "bundled", "fitted", "read_block", "train_model"]

BUNDLED: Final = ("iris", "wine", "cancer", "digits", "diabetes")
"""The sets that come with scikit-learn; iris first, being the smallest."""
TRAINING_SHARE: Final = 1 / 3
"""Of a set, for the model: rows it has seen score otherwise, and that is no drift."""


class Block(NamedTuple):
    """Some rows with their labels."""

    rows: NDArray[np.float64]
    labels: NDArray[np.int64]

    def take(self, which: NDArray[np.intp]) -> Block:
        """Those, in this order."""
        return Block(self.rows[which], self.labels[which])


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """One model in production: its reference, and how its rows become what a monitor sees."""

    name: str
    source: str
    """Its threshold is calibrated with that of the other models of this source."""
    estimator: Any
    columns: tuple[str, ...]
    """Features, and the score last."""
    reference: NDArray[np.float32]
    """[rows, columns]."""
    reference_errors: NDArray[np.int8]

    def see(self, block: Block) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
        """The rows with their score, rounded as the gateway rounds them; and 1 where the prediction is wrong."""
        return _see(self.estimator, block)


def bundled(name: str, seed: int) -> tuple[Any, Block]:
    """A model fitted on a third of a set that comes with scikit-learn, and the other rows: the population."""
    from sklearn import datasets

    load = {"cancer": datasets.load_breast_cancer}.get(name) or getattr(datasets, f"load_{name}")
    rows, target = load(return_X_y=True)
    labels = (target > np.median(target)) if name == "diabetes" else target
    order = np.random.default_rng(seed).permutation(len(rows))
    block = Block(rows.astype(np.float64), labels.astype(np.int64)).take(order)
    cut = round(len(rows) * TRAINING_SHARE)
    return train_model(block.take(np.arange(cut))), block.take(np.arange(cut, len(rows)))


def train_model(block: Block) -> Any:
    """A scaler and a logistic regression; a missing value counts as the mean."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), LogisticRegression(max_iter=2000))
    return model.fit(block.rows, block.labels)


def fitted(name: str, source: str, estimator: Any, reference: Block) -> Subject:
    """The model with its reference."""
    seen, errors = _see(estimator, reference)
    columns = (*(f"f{index}" for index in range(reference.rows.shape[1])), "score")
    return Subject(
        name=name, source=source, estimator=estimator, columns=columns, reference=seen, reference_errors=errors
    )


def read_block(path: Path) -> Block:
    """Rows and labels that another process wrote."""
    with np.load(path) as found:
        return Block(found["rows"].astype(np.float64), found["labels"].astype(np.int64))


def _see(estimator: Any, block: Block) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    probabilities = estimator.predict_proba(block.rows)
    # As the gateway does: of two classes the last one's probability, else the largest.
    score = probabilities[:, 1] if probabilities.shape[1] == 2 else probabilities.max(axis=1)
    wrong = estimator.classes_[probabilities.argmax(axis=1)] != block.labels
    return np.column_stack([block.rows, score]).astype(np.float32), wrong.astype(np.int8)
