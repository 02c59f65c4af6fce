"""ONNX equals scikit-learn on seeded rows; the tolerance is 1e-6 of a probability unless a test says otherwise."""

import warnings

import numpy as np
import pytest
import skl2onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import DBSCAN
from sklearn.datasets import load_iris, load_wine, make_classification
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from converters import Column, ConversionError, GoldenMismatch, ParityError, check_golden, open_session
from converters.answers import label_of, score_of
from converters.conversion import SCORE_OUTPUT, TARGET_OPSET, graph_of
from converters.golden import choose_golden
from converters.modelfile import Signature, Target
from converters.numbers import decode_rows, encode_rows
from converters.oracle import oracle_of, settle
from converters.rows import Rows
from converters.session import score
from converters.table import Layout

CANDIDATES = {
    "forest-100x5": lambda: RandomForestClassifier(100, max_depth=5, random_state=0),
    "forest-200x8": lambda: RandomForestClassifier(200, max_depth=8, random_state=0),
    "forest-300": lambda: RandomForestClassifier(300, random_state=0),
    "scaled-logistic": lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
    "scaled-boosting": lambda: make_pipeline(
        StandardScaler(), GradientBoostingClassifier(n_estimators=50, random_state=0)
    ),
}


def smooth(rows=800, seed=0, classes=2):
    """Rows with no two equal values, so that no value lies on a threshold by chance, and their labels."""
    return make_classification(
        rows, 12, n_informative=8, n_redundant=0, n_classes=classes, flip_y=0.1, random_state=seed
    )


def answers(estimator, rows):
    given = Rows(numbers=rows)
    oracle = settle(oracle_of(estimator, Layout(), given), given, given, 1e-5)
    graph = graph_of(oracle, [Column(name=f"c{place}") for place in range(rows.shape[1])], given)
    session = open_session(graph.model.SerializeToString())
    return session.run([SCORE_OUTPUT], {"X": rows.astype(np.float32)})[0]


def distance(estimator, rows):
    return np.abs(answers(estimator, rows) - estimator.predict_proba(rows)).max()


@pytest.mark.parametrize("name", CANDIDATES)
def test_candidate_answers_as_scikit_learn_does(name, cancer, build):
    """Each kind of the search, on the demo's data: a certificate, and unseen rows within 1e-6 (logistic 1e-6 too)."""
    rows, target, names = cancer
    order = np.random.default_rng(0).permutation(len(rows))
    rows, target = rows[order], target[order]
    estimator = CANDIDATES[name]().fit(rows[:284], target[:284])

    file = build(estimator, rows, names=names)

    assert distance(estimator, rows[284:]) < 1e-6
    parity = file.metadata.parity
    assert parity.passed
    assert parity.error_p999 <= parity.error_max < 1e-6
    assert parity.heldout_rows == 285
    assert parity.rows == parity.heldout_rows + parity.adversarial_rows
    assert parity.label_flips == 0


@pytest.mark.parametrize("data", [load_iris, load_wine])
@pytest.mark.parametrize(
    "make",
    [
        lambda: RandomForestClassifier(50, random_state=0),
        lambda: ExtraTreesClassifier(50, random_state=0),
        lambda: GradientBoostingClassifier(n_estimators=20, random_state=0),
        lambda: AdaBoostClassifier(random_state=0),
        lambda: BaggingClassifier(random_state=0),
        lambda: make_pipeline(StandardScaler(), LogisticRegression()),
        lambda: CalibratedClassifierCV(RandomForestClassifier(10, random_state=0)),
    ],
)
def test_three_classes_answer_as_scikit_learn_does(data, make, build):
    """Multiclass models: columns of the answer in the order of `classes_`, within 1e-6."""
    rows, target = data(return_X_y=True)
    order = np.random.default_rng(1).permutation(len(rows))
    rows, target = rows[order], target[order]
    half = len(rows) // 2
    estimator = make().fit(rows[:half], target[:half])

    file = build(estimator, rows)

    assert file.metadata.signature.classes == (0, 1, 2)
    assert distance(estimator, rows[half:]) < 1e-6


@pytest.mark.parametrize(
    ("classes", "labels"),
    [
        (np.array(["benign", "malignant"]), ("benign", "malignant")),
        (np.array([False, True]), ("False", "True")),
        (np.array([-1, 7]), ("-1", "7")),
        (np.array([0.0, 1.0]), ("0.0", "1.0")),
        (np.array(["no", "yes"], dtype=object), ("no", "yes")),
    ],
)
def test_classes_keep_their_type(classes, labels, build):
    """The signature's classes are what `predict` returns, type included; labels default to their text."""
    rows, target = smooth(300)
    estimator = RandomForestClassifier(10, random_state=0).fit(rows, classes[target])
    signature = build(estimator, rows).metadata.signature

    assert signature.classes == tuple(classes.tolist())
    assert list(map(type, signature.classes)) == list(map(type, classes.tolist()))
    assert signature.labels == labels
    assert signature.classes[answers(estimator, rows)[0].argmax()] == estimator.predict(rows[:1])[0]


@pytest.mark.parametrize("scaler", [StandardScaler, MinMaxScaler, RobustScaler])
@pytest.mark.parametrize(
    "make", [lambda: RandomForestClassifier(30, random_state=0), lambda: DecisionTreeClassifier(random_state=0)]
)
def test_scaler_before_trees_is_cured(scaler, make, build):
    """Converted as it stands, a value next to a threshold falls on its other side; between two casts it does not."""
    rows, target = smooth()
    estimator = make_pipeline(scaler(), make()).fit(rows[:400] * 1e3 + 1e4, target[:400])
    moved = (rows * 1e3 + 1e4).astype(np.float32).astype(np.float64)
    near = rows_at_thresholds(estimator, moved)

    plain = skl2onnx.convert_sklearn(
        estimator,
        initial_types=[("X", FloatTensorType([None, 12]))],
        options={"zipmap": False},
        target_opset=TARGET_OPSET,
    )
    session = open_session(plain.SerializeToString())
    uncured = np.abs(session.run([SCORE_OUTPUT], {"X": near.astype(np.float32)})[0] - estimator.predict_proba(near))

    assert uncured.max() > 1e-4
    assert distance(estimator, near) < 1e-6
    assert build(estimator, moved).metadata.parity.error_max < 1e-6


def rows_at_thresholds(estimator, rows):
    """Float32 rows, each with one value that the scaler puts next to a threshold; made without our own code."""
    forest = estimator[-1]
    trees = [member.tree_ for member in getattr(forest, "estimators_", [forest])]
    near = []
    for row, tree in zip(np.resize(rows, (2000, rows.shape[1])), trees * 2000, strict=False):
        scaled = estimator[0].transform(row[None])
        path = [node for node in tree.decision_path(scaled.astype(np.float32)).indices if tree.feature[node] >= 0]
        node = path[len(near) % len(path)]
        scaled[0, tree.feature[node]] = tree.threshold[node]
        moved = row.astype(np.float32)
        moved[tree.feature[node]] = estimator[0].inverse_transform(scaled)[0, tree.feature[node]]
        near.append(moved.astype(np.float64))
    return np.array(near)


@pytest.mark.parametrize("classes", [2, 3])
def test_histogram_boosting_is_cured(classes, build):
    """It converts, thresholds rounded down, within 1e-6, and takes missing values where scikit-learn sends them."""
    rows, target = smooth(classes=classes)
    rows[np.random.default_rng(0).random(rows.shape) < 0.05] = np.nan
    estimator = HistGradientBoostingClassifier(max_iter=30, random_state=0).fit(rows[:400], target[:400])

    file = build(estimator, rows)

    assert all(column.missing for column in file.metadata.signature.columns)
    assert file.metadata.parity.error_max < 1e-6
    assert None in {value for row in file.metadata.golden.rows for value in row}


def test_histogram_boosting_takes_integer_columns_and_ties(build):
    """A value right behind a threshold that float32 would round up goes right, as it does in scikit-learn."""
    rng = np.random.default_rng(0)
    rows = (rng.integers(0, 60, (600, 4)) / 64).astype(np.float64) + 2.0**24 / 2**20
    estimator = HistGradientBoostingClassifier(max_iter=20, random_state=0).fit(rows, rows.sum(axis=1) > 65.8)

    assert build(estimator, rows).metadata.parity.error_max < 1e-6


def test_missing_values_are_refused_where_the_graph_disagrees(build):
    """A random forest takes NaN; its graph sends it the other way, so the signature says refused."""
    rows, target = smooth()
    holed = rows.copy()
    holed[np.random.default_rng(0).random(rows.shape) < 0.1] = np.nan
    estimator = RandomForestClassifier(20, random_state=0).fit(holed, target)
    assert np.isfinite(estimator.predict_proba(holed)).all()

    assert not any(column.missing for column in build(estimator, rows).metadata.signature.columns)
    with pytest.raises(ParityError, match="held-out rows"):
        build(estimator, holed)


def test_missing_values_are_accepted_behind_an_imputer(build):
    """An imputer makes any model take them, and the certificate covers rows with holes."""
    rows, target = smooth()
    estimator = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(rows, target)
    file = build(estimator, rows)

    assert all(column.missing for column in file.metadata.signature.columns)
    assert not any(column.missing for column in build(estimator[1:], rows).metadata.signature.columns)


class Constant(ClassifierMixin, BaseEstimator):
    """A classifier that skl2onnx has never heard of."""

    def fit(self, _rows, target):
        """Remember the classes."""
        self.classes_ = np.unique(target)
        return self

    def predict_proba(self, rows):
        """All alike."""
        return np.full((len(rows), len(self.classes_)), 1 / len(self.classes_))

    def predict(self, rows):
        """The first class."""
        return np.repeat(self.classes_[:1], len(rows))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x, _: DBSCAN().fit(x), "DBSCAN has neither predict for new rows nor transform"),
        (lambda *_: LogisticRegression(), "LogisticRegression is not fitted"),
        (lambda x, y: Constant().fit(x, y), "skl2onnx cannot convert Constant: "),
        (lambda x, y: RandomForestClassifier(2).fit(x, y * 0), r"knows only the class \[0\]"),
        (lambda x, y: RandomForestClassifier(2).fit(x[:, 1:], y), "fitted on 11 columns, 12 are named"),
        (lambda *_: object(), "object is no scikit-learn estimator"),
    ],
)
def test_estimator_that_cannot_be_served_is_refused_with_the_reason(make, message, build):
    """A ConversionError of one readable line, before anything is written."""
    rows, target = smooth(100)
    estimator = make(rows, target)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        with pytest.raises(ConversionError, match=message) as refused:
            build(estimator, rows)

    assert len(str(refused.value)) < 500
    assert "\n" not in str(refused.value)


def test_scaled_value_on_a_threshold_is_refused_with_the_cure(build):
    """Decimal data puts doubles on thresholds, where scikit-learn decides by digits that float32 does not hold."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 300, (600, 3)) / 100
    estimator = make_pipeline(StandardScaler(), RandomForestClassifier(50, random_state=0))
    estimator.fit(rows[:300:2], rows[:300:2].sum(axis=1) > 4.5)

    with pytest.raises(ParityError, match=r"held-out rows: row .* leave it out"):
        build(estimator, rows)
    plain = RandomForestClassifier(50, random_state=0).fit(rows[:300:2], rows[:300:2].sum(axis=1) > 4.5)
    assert build(plain, rows).metadata.parity.error_max < 1e-6


def test_estimator_fitted_on_a_frame_is_judged_without_a_warning(build):
    """Column names are the signature's business; scikit-learn's warning about a bare matrix stays inside."""
    pandas = pytest.importorskip("pandas")
    rows, target = smooth(300)
    frame = pandas.DataFrame(rows, columns=[f"c{i}" for i in range(12)])
    estimator = make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=0)).fit(frame, target)

    assert build(estimator, rows).metadata.parity.passed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": ["a"] * 12}, "two columns are named 'a'"),
        ({"names": ["a", "b"]}, r"training rows have shape \(150, 12\), expected \[1 or more, 2 columns\]"),
        ({"labels": ["only one"]}, "1 labels for 2 classes"),
        ({"tolerance": 0.1}, r"tolerance must be above 0 and at most 0\.001, not 0\.1"),
        ({"tolerance": float("nan")}, "tolerance must be above 0"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message, build):
    """Named before a long conversion starts."""
    rows, target = smooth(300)
    estimator = LogisticRegression().fit(rows, target)

    with pytest.raises(ConversionError, match=message):
        build(estimator, rows, **arguments)


def test_no_held_out_row_is_refused(build):
    """A certificate over nothing certifies nothing."""
    rows, target = smooth(300)
    estimator = LogisticRegression().fit(rows, target)

    with pytest.raises(ConversionError, match=r"training rows have shape \(0, 12\)"):
        build(estimator, rows[:0])


def test_golden_rows_are_held_out_rows_over_the_whole_range_of_scores(forest, cancer):
    """Lowest and highest score among them, answers as scikit-learn gave them on the doubles."""
    golden = forest.file.metadata.golden
    rows = decode_rows(golden.rows)
    expected = forest.estimator.predict_proba(rows)

    assert np.array_equal(np.array(golden.answers), expected)
    assert {tuple(row) for row in rows} <= {tuple(row) for row in cancer[0]}
    assert np.all(np.diff(expected[:, 1]) >= 0)
    assert expected[0, 1] < 0.01
    assert expected[-1, 1] > 0.99


def test_few_held_out_rows_make_few_golden_rows():
    """Each row once, however few there are."""
    rows = np.arange(6.0).reshape(3, 2)
    golden = choose_golden(encode_rows(rows), choice(2), np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]]), "g")

    assert golden.rows == ((0.0, 1.0), (4.0, 5.0), (2.0, 3.0))


def test_golden_rows_are_scored_together_and_alone(forest):
    """A session that is right in a block and wrong for one row, or the other way round, is found."""
    session = open_session(forest.file.data)
    metadata = forest.file.metadata
    seen = []

    def run(rows, _):
        seen.append(len(rows))
        return score(session, metadata.signature, rows)

    assert check_golden(run, metadata) <= metadata.parity.tolerance
    assert sorted(set(seen)) == [1, 16]
    for wrong in (1, 16):
        with pytest.raises(GoldenMismatch, match=r"golden row 0 is off by 0\.1, tolerance 1e-05 \(\d+ of 16 rows\)"):
            check_golden(
                lambda rows, _, wrong=wrong: score(session, metadata.signature, rows) + 0.1 * (len(rows) == wrong),
                metadata,
            )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_golden_answer_that_is_no_number_is_a_mismatch(forest, value):
    """NaN compares as within no tolerance."""
    with pytest.raises(GoldenMismatch, match="golden row 0 is off by"):
        check_golden(lambda rows, _: np.full((len(rows), 2), value, dtype=np.float32), forest.file.metadata)


def test_golden_answers_of_another_shape_are_a_mismatch(forest):
    """Three columns for two classes is named, not broadcast."""
    with pytest.raises(GoldenMismatch, match=r"shape \(16, 3\), expected \(16, 2\)"):
        check_golden(lambda rows, _: np.zeros((len(rows), 3), dtype=np.float32), forest.file.metadata)


def choice(classes):
    target = Target(classes=tuple(range(classes)), labels=tuple("abc"[:classes]), width=classes)
    return Signature(columns=(), input_name="X", targets=(target,), score_output="p")


def test_watched_score_is_the_last_class_of_two_and_the_largest_of_more():
    """One number a row, float64."""
    two = score_of(choice(2), np.float32([[0.25, 0.75]]))
    three = score_of(choice(3), np.float32([[0.25, 0.5, 0.25]]))

    assert (two.tolist(), three.tolist(), two.dtype) == ([0.75], [0.5], np.float64)


def test_watched_label_is_the_class_of_the_largest_probability():
    """As its place; the first one of equals, and none where there is no answer."""
    two = label_of(choice(2), np.float32([[0.25, 0.75], [0.5, 0.5], [0.75, 0.25], [np.nan, np.nan]]))
    three = label_of(choice(3), np.float32([[0.25, 0.5, 0.25], [0.4, 0.4, 0.2], [0.2, 0.2, 0.6], [0.5, np.nan, 0.5]]))

    assert two.tolist() == pytest.approx([1, 0, 0, np.nan], nan_ok=True)
    assert three.tolist() == pytest.approx([1, 0, 2, np.nan], nan_ok=True)


def test_a_category_is_profiled_by_its_codes_and_the_label_by_its_classes(build):
    """Of the training rows the one, of the held-out rows the other; names of classes are their display names."""
    rows, _ = smooth(300)
    rows[:, 0] = np.arange(300) % 3
    target = rows[:, 1] > 0.5
    estimator = LogisticRegression().fit(rows, target)
    metadata = build(estimator, rows, kind="category", labels=["no", "yes"]).metadata
    label, column = metadata.reference.label, metadata.reference.features[0]

    assert (column.kind, column.categories, column.counts) == ("category", ["0", "1", "2"], [50, 50, 50, 0])
    predicted = np.bincount(estimator.predict(rows[150:]), minlength=2)
    assert dict(zip(label.categories, label.counts, strict=False)) == {"no": predicted[0], "yes": predicted[1]}
