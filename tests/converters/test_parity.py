import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    BaggingClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from converters import Column, MetadataError, ParityError, Target, adversarial, open_session, parity, read_metadata
from converters.conversion import SCORE_OUTPUT, graph_of
from converters.graph import serialize
from converters.modelfile import write_metadata
from converters.oracle import Oracle
from converters.rows import Rows
from converters.table import Layout
from converters.trees import at_most, reaching, trees_of

THRESHOLDS = st.floats(-1e30, 1e30)


class Table:
    """Stands for a fitted binary classifier: a row's one value is the probability of its second class."""

    classes_ = np.array(["a", "b"])

    def predict_proba(self, rows):
        """The value itself."""
        return np.column_stack([1 - rows[:, 0], rows[:, 0]])

    def predict(self, rows):
        """The larger one, the first at a tie."""
        return self.classes_[self.predict_proba(rows).argmax(axis=1)]


def answering(values):
    """A graph that answers these probabilities of the second class, whatever it is asked."""
    return lambda _rows: np.column_stack([1 - np.asarray(values), values])


def column(*values):
    return np.array(values, dtype=np.float64)[:, None]


def asking(estimator):
    """A classifier of one target, as a certificate asks it."""
    classes = getattr(estimator, "classes_", Table.classes_)
    target = Target(classes=tuple(classes.tolist()), labels=tuple(map(str, classes)), width=len(classes))
    return Oracle(estimator, Layout(), "classification", "predict_proba", (target,))


def seen(run):
    """A graph of float32 rows, as a certificate runs it."""

    def run_rows(rows):
        with np.errstate(over="ignore"):
            return run(rows.numbers.astype(np.float32))

    return run_rows


def columns(rows):
    return [Column(name=f"c{place}") for place in range(rows.shape[1])]


def compare(estimator, run, rows):
    return parity.compare(asking(estimator), seen(run), Rows(numbers=rows))


def certify(estimator, run, heldout, further, **how):
    return parity.certify(asking(estimator), seen(run), Rows(numbers=heldout), Rows(numbers=further), **how)


def adversarial_rows(estimator, rows, *, missing):
    oracle, given, taken = asking(estimator), Rows(numbers=rows), [missing] * rows.shape[1]
    made = adversarial.adversarial_rows(oracle, given, columns(rows)).numbers
    return np.concatenate([made, adversarial.holed_rows(oracle, given, columns(rows), taken).numbers])


def missing_rows(estimator, rows):
    return adversarial.missing_rows(asking(estimator), Rows(numbers=rows), columns(rows)).numbers


def takes_missing(estimator, run, rows):
    return all(adversarial.takes_missing(asking(estimator), seen(run), Rows(numbers=rows), columns(rows)))


def convert(estimator, width):
    """The graph of a classifier of so many float columns."""
    rows = np.zeros((3, width))
    return graph_of(asking(estimator), columns(rows), Rows(numbers=rows)).model


@pytest.fixture(scope="module")
def iris():
    rows, target = load_iris(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(rows))
    return rows[order], target[order]


def running(model):
    session = open_session(serialize(model))
    return lambda rows: session.run([SCORE_OUTPUT], {"X": rows})[0]


def test_distance_is_the_largest_of_a_row():
    """Row by row, absolute, against scikit-learn on the doubles."""
    both = compare(Table(), answering([0.25, 0.5, 0.75]), column(0.25, 0.375, 1.0))

    assert both.errors.tolist() == [0, 0.125, 0.25]
    assert both.failing(0.2).tolist() == [2]
    assert both.say(2) == "row 2 off by 0.25"


def test_scikit_learn_is_asked_with_the_doubles():
    """The graph gets the row's float32, so the rounding of the input is part of the distance."""
    both = compare(Table(), lambda rows: answering(rows[:, 0].astype(np.float64))(rows), column(0.1))

    assert both.errors[0] == pytest.approx(float(np.float32(0.1)) - 0.1)
    assert both.errors[0] > 1e-9


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_answer_that_is_no_number_fails(value):
    """However large the tolerance; the certificate still holds finite figures."""
    both = compare(Table(), answering([value]), column(0.25))
    certificate = certify(Table(), answering([0.25, value]), column(0.25), column(0.5), graph_sha256="g", tolerance=0.9)

    assert both.failing(1e9).tolist() == [0]
    assert not certificate.passed
    assert certificate.error_max == certificate.error_p999 == 1.0


def test_exact_tie_may_flip():
    """A label flip in no margin is noise of the last bit, not an error; it is counted."""
    certificate = certify(
        Table(), answering([0.5 + 1e-7, 0.25]), column(0.5), column(0.25), graph_sha256="g", tolerance=1e-5
    )

    assert certificate.passed
    assert (certificate.label_flips, certificate.flip_margin_max) == (1, 0.0)
    assert (certificate.rows, certificate.heldout_rows, certificate.adversarial_rows) == (2, 1, 1)
    assert certificate.error_max == pytest.approx(1e-7)


def test_flip_in_a_wide_margin_fails_however_small_the_error():
    """Equal probabilities and another label: a model whose predict is not the largest probability."""

    class Eager(Table):
        def predict(self, rows):
            return np.where(rows[:, 0] > 0.25, "b", "a")

    certificate = certify(Eager(), answering([0.375]), column(0.375), column(0.5)[:0], graph_sha256="g")

    assert not certificate.passed
    assert (certificate.error_max, certificate.label_flips, certificate.flip_margin_max) == (0.0, 1, 0.25)
    assert compare(Eager(), answering([0.375]), column(0.375)).say(0) == (
        "row 0 off by 0 and another class in a margin of 0.25"
    )


def test_other_number_of_classes_is_an_error_at_once():
    """Shapes are not broadcast."""
    with pytest.raises(ParityError, match=r"answers shape \(1, 3\), scikit-learn \(1, 2\)"):
        compare(Table(), lambda _rows: np.zeros((1, 3)), column(0.5))


def test_out_of_tolerance_names_rows_and_distance(iris, build):
    """The worst held-out rows come first, by number and distance, with the tolerance they missed."""
    rows, target = iris
    estimator = RandomForestClassifier(10, random_state=0).fit(rows, target)

    with pytest.raises(ParityError) as failed:
        build(estimator, rows, tolerance=1e-12)

    text = str(failed.value)
    assert text.startswith("RandomForestClassifier in ONNX is not what scikit-learn is, tolerance 1e-12: ")
    assert "of 75 held-out rows: row " in text
    assert text.count("off by") == 10
    assert "leave it out" not in text


@given(THRESHOLDS)
def test_at_most_is_the_last_value_that_goes_left(threshold):
    """The largest float32 not above the threshold: the next one is above."""
    last = at_most(np.array([threshold]))[0]

    assert float(last) <= threshold < float(np.nextafter(last, np.float32(np.inf)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: RandomForestClassifier(5, random_state=0),
        lambda: GradientBoostingClassifier(n_estimators=5, random_state=0),
        lambda: CalibratedClassifierCV(RandomForestClassifier(3, random_state=0)),
        lambda: VotingClassifier([("f", RandomForestClassifier(2)), ("p", make_pipeline(StandardScaler()))]),
    ],
)
def test_rows_arrive_at_the_split_they_are_made_for(make, iris):
    """For every split of every tree, the nearest row passes that node on its way down."""
    rows, target = iris
    model = make()
    if isinstance(model, VotingClassifier):
        model.estimators_ = [RandomForestClassifier(2, random_state=0).fit(rows, target), make_pipeline("passthrough")]
    else:
        model.fit(rows, target)
    trees = trees_of(model)
    assert trees
    for tree in trees:
        parents = tree.parents()
        for node in tree.splits().tolist():
            row = reaching(tree, node, rows[0].astype(np.float32), parents)
            visited, at = [], 0
            while tree.feature[at] >= 0:
                visited.append(at)
                at = (tree.left if row[tree.feature[at]] <= tree.threshold[at] else tree.right)[at]
            assert node in visited


def test_row_that_arrives_already_is_not_moved(iris):
    """The way to the root asks nothing of a row."""
    rows, target = iris
    tree = trees_of(RandomForestClassifier(1, random_state=0).fit(rows, target))[0]

    assert reaching(tree, 0, rows[0].astype(np.float32), tree.parents()).tolist() == rows[0].astype("f").tolist()


@pytest.mark.parametrize("scaler", [None, StandardScaler])
@pytest.mark.parametrize("kind", [RandomForestClassifier, GradientBoostingClassifier, HistGradientBoostingClassifier])
def test_adversarial_rows_lie_on_both_sides_of_every_threshold(scaler, kind, iris):
    """Two neighbouring rows for a split end in different leaves of its tree, both having passed it."""
    rows, target = iris
    size = {"n_estimators": 4} if kind is not HistGradientBoostingClassifier else {"max_iter": 4}
    model = kind(**size, max_depth=3, random_state=0)
    estimator = make_pipeline(scaler(), model) if scaler else model
    estimator.fit(rows, target)
    made = adversarial_rows(estimator, rows, missing=False)
    made = made[(made.astype(np.float32) == made).all(axis=1)]
    seen = (estimator[0].transform(made) if scaler else made).astype(np.float32)

    for tree in trees_of(model):
        for node in tree.splits():
            passing = [row for row in seen if _passes(tree, node, row)]
            values = np.array(passing)[:, tree.feature[node]]
            last = float(at_most(tree.threshold[[node]])[0])
            step = 4 * abs(np.spacing(np.float32(max(abs(values).max(), 1.0))))
            assert ((values <= last) & (values >= last - step)).any()
            assert ((values > last) & (values <= last + step)).any()


def _passes(tree, node, row):
    at = 0
    while at != node and tree.feature[at] >= 0:
        at = (tree.left if row[tree.feature[at]] <= tree.threshold[at] else tree.right)[at]
    return at == node


def test_adversarial_rows_hold_doubles_that_float32_does_not(iris):
    """Some rows change when they are rounded, some lie far outside the data, none is missing unless asked."""
    rows, target = iris
    estimator = LogisticRegression(max_iter=500).fit(rows, target)
    made = adversarial_rows(estimator, rows, missing=False)

    assert (made.astype(np.float32) != made).any(axis=1).sum() > 200
    assert np.abs(made).max() > 100 * np.abs(rows).max()
    assert np.isfinite(made).all()
    assert np.isnan(adversarial_rows(estimator, rows, missing=True)).any()
    assert np.array_equal(made, adversarial_rows(estimator, rows, missing=False))


def test_adversarial_rows_stay_within_float32():
    """Data near the largest float32 makes no infinity, which scikit-learn would refuse."""
    rows = np.array([[3e38, -3e38], [1e38, 0.0]] * 10)
    made = adversarial_rows(Table(), rows, missing=False)

    assert np.isfinite(made.astype(np.float32)).all()


def test_missing_rows_have_each_column_missing_alone_and_some_together(iris):
    """At least eight rows a column, few held-out rows or not."""
    rows, target = iris
    holes = np.isnan(missing_rows(RandomForestClassifier(3).fit(rows, target), rows[:2]))

    assert all((holes[:, i] & (holes.sum(axis=1) == 1)).sum() >= 8 for i in range(4))
    assert (holes.sum(axis=1) > 1).any()


def test_missing_values_are_taken_only_if_both_sides_agree(iris):
    """An estimator that raises, or answers otherwise, says no."""
    rows, _ = iris
    half = rows / 10

    class Takes(Table):
        def predict_proba(self, rows):
            return super().predict_proba(np.nan_to_num(rows, nan=0.5))

    def graph(value):
        return lambda rows: Table().predict_proba(np.nan_to_num(rows.astype(np.float64), nan=value))

    class Refuses(Table):
        def predict_proba(self, rows):
            if np.isnan(rows).any():
                raise ValueError("Input X contains NaN")
            return super().predict_proba(rows)

    assert takes_missing(Takes(), graph(0.5), half)
    assert not takes_missing(Takes(), graph(0.25), half)
    assert not takes_missing(Refuses(), graph(0.5), half)


@pytest.mark.parametrize(
    "make",
    [
        lambda: RandomForestClassifier(20, random_state=0),
        lambda: GradientBoostingClassifier(n_estimators=20, random_state=0),
        lambda: HistGradientBoostingClassifier(max_iter=20, random_state=0),
        lambda: BaggingClassifier(n_estimators=5, random_state=0),
        lambda: make_pipeline(StandardScaler(), RandomForestClassifier(20, random_state=0)),
    ],
)
@pytest.mark.parametrize("by", [1e-3, -1e-3, 1e-6])
def test_moved_thresholds_fail_the_certificate(make, by, iris):
    """Held-out rows may all agree by luck; the rows at the splits do not, however little a threshold moves."""
    rows, target = iris
    estimator = make().fit(rows, target)
    rows = rows.astype(np.float32).astype(np.float64)
    model = convert(estimator, 4)
    adversarial = adversarial_rows(estimator, rows, missing=False)[:2000]
    on_grid = adversarial[(adversarial.astype(np.float32) == adversarial).all(axis=1)]
    assert certify(estimator, running(model), rows, on_grid, graph_sha256="g").passed

    trees = next(node for node in model.graph.node if node.op_type == "TreeEnsembleClassifier")
    values = next(attribute for attribute in trees.attribute if attribute.name == "nodes_values")
    moved = [value * (1 + by) + by for value in values.floats]
    values.floats[:] = moved

    assert not certify(estimator, running(model), rows, on_grid, graph_sha256="g").passed


def test_one_moved_threshold_of_a_forest_fails_the_certificate(iris):
    """A single split among hundreds, moved by one float32 step."""
    rows, target = iris
    estimator = RandomForestClassifier(20, random_state=0).fit(rows, target)
    model = convert(estimator, 4)
    made = adversarial_rows(estimator, rows, missing=False)
    values = next(a for a in model.graph.node[-1].attribute if a.name == "nodes_values")
    modes = next(a for a in model.graph.node[-1].attribute if a.name == "nodes_modes")
    inner = [index for index, mode in enumerate(modes.strings) if mode != b"LEAF"]
    assert len(inner) > 100
    found = 0
    for index in inner[::25]:
        kept = values.floats[index]
        values.floats[index] = float(np.nextafter(np.float32(kept), np.float32(np.inf)))
        found += not certify(estimator, running(model), rows, made, graph_sha256="g").passed
        values.floats[index] = kept
    # A split whose two leaves vote alike changes no answer.
    assert found >= 0.8 * len(inner[::25])


def test_certificate_that_passes_can_be_read_back_and_a_failed_one_cannot(linear):
    """A file is never read as good on a failed certificate, whoever wrote it."""
    metadata = linear.file.metadata
    assert read_metadata(write_metadata(metadata)).parity.passed
    failed = replace(metadata, parity=replace(metadata.parity, passed=False))

    with pytest.raises(MetadataError, match="certificate says it failed"):
        read_metadata(write_metadata(failed))


def test_certificate_names_the_versions_that_agree(linear):
    """Those of numpy, onnx, onnxruntime, scikit-learn and skl2onnx, all of this environment."""
    from importlib.metadata import version

    versions = linear.file.metadata.parity.versions
    assert sorted(versions) == ["numpy", "onnx", "onnxruntime", "scikit-learn", "skl2onnx"]
    assert all(version(name) == stated for name, stated in versions.items())
