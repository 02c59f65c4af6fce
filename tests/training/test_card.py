from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import matplotlib.image
import msgspec
import numpy as np
import pytest
from mlflow import MlflowClient

from training.card import ModelCard, draw_card, make_card, render_card
from training.data import Dataset
from training.evaluate import measure, measure_one, permutation_importances
from training.slices import measure_slices
from training.split import Split


class Rule:
    """Answers from the first column alone: positive where it is above 0."""

    def predict_proba(self, rows):
        told = np.where(rows[:, 0] > 0, 0.9, 0.1)
        return np.column_stack([1 - told, told])


@pytest.fixture(scope="module")
def columns():
    """Four hundred rows of three columns, and classes that the first one decides."""
    rows = np.random.default_rng(5).normal(size=(400, 3))
    return rows, (rows[:, 0] > 0).astype(np.int64)


@pytest.mark.parametrize("metric", ["roc_auc", "accuracy", "f1", "log_loss"])
def test_what_a_model_never_looks_at_is_worth_nothing(columns, metric):
    """Exactly 0; the one column it looks at comes first, and its values dealt out anew make it guess."""
    rows, codes = columns

    found = permutation_importances(Rule(), rows, codes, ["a", "b", "c"], metric=metric, seed=1)

    assert next(iter(found)) == "a"
    assert (found["b"].drop, found["c"].drop) == (0, 0)
    if metric != "log_loss":
        assert found["a"].drop == pytest.approx(0.5, abs=0.06)
    assert found["a"].drop > 0.4
    assert found["a"].std > 0


def test_equal_seeds_deal_equally(columns):
    """And other seeds do not."""
    rows, codes = columns
    first, again, other = (
        permutation_importances(Rule(), rows, codes, ["a", "b", "c"], metric="roc_auc", seed=seed) for seed in (1, 1, 2)
    )

    assert first == again
    assert first != other


def test_no_metric_of_that_name():
    """The others are named."""
    with pytest.raises(ValueError, match="'auc'; there are accuracy, f1"):
        measure_one("auc", np.array([0, 1]), np.eye(2))


@pytest.fixture(scope="module")
def sliced(columns):
    """The same with a category in the second column, which the model fails where it is 2; the second half held out."""
    rows, codes = columns[0].copy(), columns[1].copy()
    rows[:, 1] = np.arange(400) % 3
    codes[rows[:, 1] == 2] = 1 - codes[rows[:, 1] == 2]
    rows[-1, 1] = 7
    dataset = Dataset(
        source="made up", rows=rows, codes=codes, columns=("a", "kind", "c"), kinds=("float", "category", "float"),
        target="y", classes=(0, 1), labels=("no", "yes"),
    )  # fmt: skip
    return dataset, Split(train=np.arange(200), heldout=np.arange(200, 400), max_psi=0.0, max_ks=0.0)


def test_a_group_that_the_model_fails_is_seen(sliced):
    """The average hides it; each value of a category is a slice, and so is each third of the columns asked for."""
    dataset, split = sliced
    probabilities = Rule().predict_proba(dataset.rows[split.heldout])

    found = {one.name: one for one in measure_slices(dataset, split, probabilities, ["c"])}

    assert found["kind = 0"].metrics.accuracy == 1
    assert found["kind = 2"].metrics.accuracy == 0
    assert found["kind = 7"].metrics is None
    assert found["kind = 7"].rows == 1
    thirds = [one for name, one in found.items() if "c" in name]
    assert len(thirds) == 3
    assert sum(one.rows for one in thirds) == 200
    assert not any("a" in name.split() for name in found)


def test_a_slice_is_judged_by_its_own_rows(sliced):
    """Its metrics are those of the rows it names."""
    dataset, split = sliced
    probabilities = Rule().predict_proba(dataset.rows[split.heldout])
    low = np.quantile(dataset.rows[split.train, 2], 1 / 3)
    mask = dataset.rows[split.heldout, 2] < low

    (first,) = (one for one in measure_slices(dataset, split, probabilities, ["c"]) if one.name.startswith("c <"))

    assert first.rows == mask.sum()
    assert first.metrics == measure(dataset.codes[split.heldout][mask], probabilities[mask])


def test_the_best_runs_card_is_logged_for_people_and_for_tools(trained):
    """Markdown and JSON, with plots; the JSON reads back to the card."""
    client = MlflowClient(f"sqlite:///{trained.home}/mlflow.db")
    paths = {item.path for folder in ("", "plots") for item in client.list_artifacts(trained.best.run_id, folder)}
    other = {item.path for item in client.list_artifacts(trained.candidates[1].run_id)}

    assert paths >= {
        "model_card.md", "model_card.json", "plots/calibration.png", "plots/permutation_importances.png",
    }  # fmt: skip
    assert "model_card.md" not in other
    folder = Path(client.download_artifacts(trained.best.run_id, ""))
    assert msgspec.json.decode((folder / "model_card.json").read_bytes(), type=ModelCard) == trained.card
    assert (folder / "model_card.md").read_text(encoding="utf-8") == render_card(trained.card)


def test_a_card_says_what_the_model_is_and_was_made_of(trained):
    """Hash, data, split, metrics, how many competed."""
    card, basis = trained.card, trained.basis

    assert card.sha256 == trained.saved.file.sha256
    assert (card.data.digest, card.git_revision) == (basis.dataset.digest, basis.git_revision)
    assert card.data.rows == {"training": len(basis.split.train), "heldout": len(basis.split.heldout)}
    assert card.data.classes == {"malignant": 212, "benign": 357}
    assert (card.heldout, card.search.cv, card.search.tried) == (trained.best.heldout, trained.best.cv, 2)
    assert len(card.importances) == 30
    assert len(card.slices) == 9
    text = render_card(card)
    for word in (card.sha256, card.data.digest, "malignant 212", "held-out rows", f"{card.heldout.roc_auc:.4f}"):
        assert word in text
    assert next(iter(card.importances)) in text


def test_an_equal_model_has_an_equal_card(trained):
    """No time, no machine and no run stands in it."""
    best, card = trained.best, trained.card

    again = make_card(
        trained.basis, best.estimator, best.parameters, sha256=card.sha256, cv=best.cv, heldout=best.heldout,
        failed={}, tried=2,
    )  # fmt: skip

    assert msgspec.json.encode(again) == msgspec.json.encode(card)
    assert best.run_id not in render_card(card)


def test_a_tables_cells_stay_cells(trained):
    """A column may be called anything."""
    one = next(iter(trained.card.importances.values()))
    text = render_card(msgspec.structs.replace(trained.card, importances={"a|b": one}))

    assert "| a\\|b | " in text


def test_a_cards_pictures_can_be_looked_at(trained):
    """Each is a PNG with something on it; the same card gives the same bytes."""
    pictures = draw_card(trained.card)

    for picture in pictures.values():
        pixels = matplotlib.image.imread(io.BytesIO(picture))
        assert min(pixels.shape[:2]) > 250
        assert pixels[..., :3].std() > 0.02
    assert draw_card(trained.card) == pictures


def test_several_classes_have_a_card_too(trained):
    """One class against the rest, and the predicted class's probability."""
    codes = trained.basis.dataset.codes.copy()
    codes[::3] = 2
    dataset = dataclasses.replace(trained.basis.dataset, codes=codes, classes=(0, 1, 2), labels=("a", "b", "c"))
    basis = dataclasses.replace(trained.basis, dataset=dataset)
    rows, y = dataset.rows[basis.split.train], dataset.y[basis.split.train]
    estimator = trained.candidates[1].candidate.build(0).fit(rows, y)
    best = trained.best

    card = make_card(
        basis, estimator, {}, sha256="0" * 64, cv=best.cv, heldout=best.heldout, failed={"x": "no"}, tried=3
    )

    assert sum(card.data.classes.values()) == 569
    assert sum(one.rows for one in card.calibration.bins) == len(basis.split.heldout)
    assert "Best of 3 candidates by roc_auc over the folds; 1 failed." in render_card(card)
