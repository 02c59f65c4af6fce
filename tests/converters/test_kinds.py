"""Every kind of model: the graph's classes and numbers are those of `predict`, `predict_proba`, `decision_function`."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import skl2onnx
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer, make_column_selector, make_column_transformer
from sklearn.datasets import make_classification
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest, RandomForestClassifier, RandomForestRegressor
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier, SGDClassifier
from sklearn.mixture import GaussianMixture
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import SVC, SVR, LinearSVC, OneClassSVM
from sklearn.tree import DecisionTreeClassifier

from converters import ConversionError, check_golden, convert, open_session, read_metadata
from converters.answers import parts_of, places_of, scores_of
from converters.modelfile import MISSING_TEXT
from converters.session import check_session, properties_of, score

ROWS, THREE = make_classification(240, 5, n_informative=4, n_redundant=0, n_classes=3, random_state=0)
TWO = (THREE > 0).astype(int)
NAMED = np.array(["ja", "nein"])[TWO]
MATRIX = np.column_stack([TWO, ROWS[:, 0] > 0, ROWS[:, 1] > 0]).astype(int)
NUMBER = ROWS @ np.arange(5) + THREE
NUMBERS = np.column_stack([NUMBER, 100 * ROWS[:, 0]])


def served(file, numbers, texts=None):
    """What a gateway answers for these rows, after the checks that it makes."""
    session = open_session(file.data)
    metadata = read_metadata(properties_of(session))
    assert metadata == file.metadata
    check_session(session, metadata.signature)
    check_golden(lambda rows, texts: score(session, metadata.signature, rows, texts), metadata)
    answers = score(session, metadata.signature, numbers.astype(metadata.signature.dtype), texts)
    assert answers.shape == (len(numbers), metadata.signature.width)
    return {target.name: (target, answers[:, columns]) for target, columns in parts_of(metadata.signature)}


def classes_in(part):
    """The predicted classes, as `predict` returns them."""
    target, columns = part
    return np.array(target.classes)[places_of(target, columns).astype(int)]


CLASSIFIERS = {
    "linear-svc": (lambda: LinearSVC().fit(ROWS, TWO), "decision", 1, "sign"),
    "linear-svc-of-texts": (lambda: LinearSVC().fit(ROWS, NAMED), "decision", 1, "sign"),
    "linear-svc-of-three": (lambda: LinearSVC().fit(ROWS, THREE), "decision", 3, "argmax"),
    "hinge": (lambda: SGDClassifier(random_state=0).fit(ROWS, THREE), "decision", 3, "argmax"),
    "ridge": (lambda: make_pipeline(StandardScaler(), RidgeClassifier()).fit(ROWS, TWO), "decision", 1, "sign"),
    "svc": (lambda: SVC().fit(ROWS, THREE), "decision", 3, "given"),
    "svc-one-against-one": (lambda: SVC(decision_function_shape="ovo").fit(ROWS, THREE), "decision", 3, "given"),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifier_without_probabilities_answers_its_decision(name):
    """Scores as `decision_function` has them; the class by sign or argmax, or as the graph's own label says."""
    make, kind, width, decides = CLASSIFIERS[name]
    estimator = make()
    file = convert(estimator, ROWS[:120], heldout=ROWS[120:])
    target, part = served(file, ROWS)["label"]

    assert (target.scores, target.width, target.decides) == (kind, width, decides)
    expected = estimator.decision_function(ROWS).reshape(len(ROWS), -1)
    assert np.abs(scores_of(target, part) - expected).max() < 1e-5 * np.abs(expected).max()
    assert (classes_in((target, part)) == estimator.predict(ROWS)).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: MultiOutputClassifier(LogisticRegression()).fit(ROWS, np.column_stack([THREE, TWO])),
        lambda: OneVsRestClassifier(LogisticRegression()).fit(ROWS, MATRIX),
        lambda: MultiOutputClassifier(LogisticRegression()).fit(ROWS, np.column_stack([NAMED, NAMED[::-1]])),
        lambda: RandomForestClassifier(5, random_state=0).fit(ROWS, np.column_stack([THREE, TWO])),
        lambda: DecisionTreeClassifier(max_depth=4, random_state=0).fit(ROWS, np.column_stack([NAMED, NAMED[::-1]])),
    ],
    ids=["outputs", "labels", "texts", "forest", "tree-of-texts"],
)
def test_each_output_of_a_classifier_is_a_target(make):
    """Its probabilities and its class, target by target, whatever form the converter gave them."""
    estimator = make()
    parts = served(convert(estimator, ROWS[:120], heldout=ROWS[120:]), ROWS)
    predicted, told = estimator.predict(ROWS), estimator.predict_proba(ROWS)

    assert list(parts) == [f"label_{place}" for place in range(predicted.shape[1])]
    for place, part in enumerate(parts.values()):
        assert (classes_in(part) == predicted[:, place]).all()
        of_one = told[place] if isinstance(told, list) else np.column_stack([1 - told[:, place], told[:, place]])
        assert np.abs(part[1] - of_one).max() < 1e-6


@pytest.mark.parametrize(
    "make",
    [
        lambda y: LinearRegression().fit(ROWS, y),
        lambda y: make_pipeline(StandardScaler(), Ridge()).fit(ROWS, y),
        lambda y: RandomForestRegressor(5, random_state=0).fit(ROWS, y),
        lambda y: MLPRegressor(hidden_layer_sizes=(8,), max_iter=50, random_state=0).fit(ROWS, y),
    ],
    ids=["linear", "ridge", "forest", "perceptron"],
)
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_regressor_answers_its_numbers(make, several):
    """One target a column of `y`, named like it, measured against the spread of its held-out answers."""
    y = pd.DataFrame(NUMBERS, columns=["price", "area"]) if several else NUMBER
    estimator = make(np.asarray(y))
    file = convert(estimator, ROWS[:120], y, heldout=ROWS[120:])
    parts = served(file, ROWS)
    predicted = estimator.predict(ROWS).reshape(len(ROWS), -1)

    assert list(parts) == (["price", "area"] if several else ["value"])
    assert file.metadata.signature.task == "regression"
    for column, (target, part) in zip(predicted.T, parts.values(), strict=True):
        assert target.scale == pytest.approx(column[120:].std())
        assert np.abs(part[:, 0] - column).max() < 1e-5 * target.scale


def test_support_vector_regression_is_certified_in_units_of_its_spread():
    """Errors of a price count against the spread of prices, so that a large number is no large error."""
    estimator = SVR(C=1e3).fit(ROWS, 1e6 * NUMBER)
    parity = convert(estimator, ROWS[:120], heldout=ROWS[120:]).metadata.parity

    assert parity.passed
    assert parity.error_max <= parity.tolerance


@pytest.mark.parametrize("make", [lambda: IsolationForest(n_estimators=10, random_state=0), OneClassSVM])
def test_outlier_detector_says_outlier_or_inlier(make):
    """Class and decision as scikit-learn has them, -1 and 1 with names."""
    estimator = make().fit(ROWS)
    target, part = served(convert(estimator, ROWS[:120], heldout=ROWS[120:]), ROWS)["label"]

    assert (target.classes, target.labels) == ((-1, 1), ("outlier", "inlier"))
    assert (classes_in((target, part)) == estimator.predict(ROWS)).all()
    assert np.abs(scores_of(target, part)[:, 0] - estimator.decision_function(ROWS)).max() < 1e-5 * target.scale


def test_clusterer_gives_its_class_and_the_distances():
    """The nearest centre is not the largest distance, so the class has a column of its own."""
    estimator = make_pipeline(StandardScaler(), KMeans(4, random_state=0)).fit(ROWS)
    file = convert(estimator, ROWS[:120], heldout=ROWS[120:])
    target, part = served(file, ROWS)["label"]

    assert (file.metadata.signature.task, target.decides, target.labels) == ("clusters", "given", tuple("0123"))
    assert (classes_in((target, part)) == estimator.predict(ROWS)).all()
    assert np.abs(scores_of(target, part) - estimator.transform(ROWS)).max() < 1e-5 * target.scale


def test_mixture_gives_the_probabilities_of_its_components():
    """A clusterer with probabilities is read like a classifier."""
    estimator = GaussianMixture(3, random_state=0).fit(ROWS)
    target, part = served(convert(estimator, ROWS[:120], heldout=ROWS[120:]), ROWS)["label"]

    assert (target.scores, target.decides) == ("probabilities", "argmax")
    assert (classes_in((target, part)) == estimator.predict(ROWS)).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: PCA(2).fit(ROWS),
        lambda: make_pipeline(StandardScaler(), SelectKBest(k=3)).fit(ROWS, TWO),
        lambda: FeatureUnion([("one", PCA(2)), ("two", StandardScaler())]).fit(ROWS),
    ],
    ids=["pca", "select", "union"],
)
def test_transformer_answers_its_columns(make):
    """One target as wide as what comes out."""
    estimator = make()
    file = convert(estimator, ROWS[:120], heldout=ROWS[120:])
    target, part = served(file, ROWS)["value"]

    assert file.metadata.signature.task == "transformation"
    assert np.abs(part - estimator.transform(ROWS)).max() < 1e-5 * target.scale


@pytest.fixture(scope="module")
def people():
    """A table of all kinds of columns, with gaps, and a class that they decide."""
    rng = np.random.default_rng(0)
    count = 400
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, count),
            "income": rng.lognormal(10, 1, count),
            "city": rng.choice(["Bern", "Zürich", "Genève"], count),
            "member": rng.random(count) < 0.4,
            "job": pd.Series(rng.choice(["smith", "cook", None], count), dtype=object),
            "score": np.where(rng.random(count) < 0.1, np.nan, rng.normal(size=count)),
        }
    )
    return frame, ((frame["age"] > 50) ^ (frame["city"] == "Bern")).astype(int).to_numpy()


def mixed(model):
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    return make_pipeline(
        make_column_transformer(
            (numbers, ["age", "income", "score"]),
            (OneHotEncoder(handle_unknown="ignore"), ["job", "city"]),
            ("passthrough", ["member"]),
        ),
        model,
    )


def fed(frame):
    """A frame as the gateway feeds it: NaN where a column is text, and the texts beside."""
    texts = ["city", "job"]
    numbers = frame.assign(**dict.fromkeys(texts, np.nan)).to_numpy(dtype=np.float64)
    return numbers, frame[texts].astype(object).where(frame[texts].notna(), MISSING_TEXT).to_numpy(dtype=object)


def test_table_of_all_kinds_becomes_a_graph_of_numbers_and_texts(people):
    """Kinds are read off the data, a missing value is taken where scikit-learn and the graph agree on it."""
    frame, labels = people
    estimator = mixed(LogisticRegression(max_iter=500)).fit(frame[:200], labels[:200])
    file = convert(estimator, frame[:200], heldout=frame[200:])
    signature = file.metadata.signature

    assert (signature.form, signature.text_input) == ("table", "T")
    assert [(column.name, column.kind) for column in signature.columns] == [
        ("age", "int"), ("income", "float"), ("city", "string"), ("member", "bool"), ("job", "string"),
        ("score", "float"),
    ]  # fmt: skip
    assert {column.name for column in signature.columns if column.missing} == {"age", "income", "city", "job", "score"}
    told = served(file, *fed(frame))["label"][1]
    assert np.abs(told - estimator.predict_proba(frame)).max() < 1e-6
    never = frame[:1].assign(city="never seen", age=None)
    assert np.abs(served(file, *fed(never))["label"][1] - estimator.predict_proba(never)).max() < 1e-6


def test_reference_of_a_text_is_its_words(people):
    """Coded in their order; the effect of a word is that of the text, not of its code."""
    frame, labels = people
    estimator = mixed(LogisticRegression(max_iter=500)).fit(frame[:200], labels[:200])
    reference = convert(estimator, frame[:200], heldout=frame[200:]).metadata.reference
    city = reference.features[2]

    assert sorted(city.categories) == ["Bern", "Genève", "Zürich"]
    assert dict(zip(city.categories, city.codes, strict=True)) == {"Bern": 0, "Genève": 1, "Zürich": 2}
    counts = frame["city"][:200].value_counts()
    assert dict(zip(city.categories, city.counts, strict=False)) == counts.to_dict()
    assert reference.features[4].missing == frame["job"][:200].isna().sum()
    for effect, word in zip(city.effects, city.categories, strict=False):
        everywhere = estimator.predict_proba(frame[200:].assign(city=word))[:, 1].mean()
        assert effect == pytest.approx(everywhere, abs=1e-5)


@pytest.mark.parametrize(
    "chosen",
    [
        make_column_selector(dtype_include=np.number),
        [5, 0, 1],
        [True, True, False, False, False, True],
        slice(0, 2),
    ],
    ids=["selector", "places", "mask", "slice"],
)
@pytest.mark.parametrize("rest", ["drop", StandardScaler()], ids=["drop", "scale"])
def test_columns_are_found_however_they_are_named(chosen, rest, people):
    """By function, place, mask or slice, and what is left over."""
    frame, labels = people
    frame = frame.fillna({"score": 0.0})[["age", "income", "member", "city", "job", "score"]]
    chooser = ColumnTransformer(
        [
            ("numbers", StandardScaler(), chosen),
            ("words", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["city", "job"]),
        ],
        remainder=rest,
    )
    estimator = make_pipeline(chooser, LogisticRegression(max_iter=500)).fit(frame[:200], labels[:200])

    assert convert(estimator, frame[:200], heldout=frame[200:]).metadata.parity.error_max < 1e-5


def test_columns_of_a_matrix_may_be_reordered():
    """All of them, in another order: skl2onnx alone would leave them where they are."""
    chooser = ColumnTransformer([("all", FunctionTransformer(), [4, 3, 2, 1, 0])])
    estimator = make_pipeline(chooser, LogisticRegression()).fit(ROWS, TWO)

    assert convert(estimator, ROWS[:120], heldout=ROWS[120:]).metadata.parity.error_max < 1e-6


def test_columns_come_from_any_frame(people):
    """A polars frame, a mapping of columns and another order of columns give the same file."""
    frame, labels = people
    estimator = mixed(LogisticRegression(max_iter=500)).fit(frame[:200], labels[:200])
    train, heldout = frame[:200], frame[200:]
    first = convert(estimator, train, heldout=heldout).sha256

    assert convert(estimator, pl.from_pandas(train), heldout=pl.from_pandas(heldout)).sha256 == first
    turned = [column.to_dict("list") for column in (train[train.columns[::-1]], heldout)]
    assert convert(estimator, turned[0], heldout=turned[1]).sha256 == first


def test_rows_are_held_out_by_seed_if_none_are_given():
    """A quarter, of every class; the file says so, and another seed takes others."""
    estimator = LogisticRegression().fit(ROWS, THREE)
    file = convert(estimator, ROWS, THREE)

    assert file.metadata.parity.heldout_rows == len(ROWS) // 4
    assert "no held-out rows were given: 60 of 240 rows, by seed 0" in file.notes[0]
    assert convert(estimator, ROWS, THREE, seed=1).sha256 != file.sha256 == convert(estimator, ROWS, THREE).sha256


def test_whole_numbers_that_float32_cannot_hold_are_taken_as_doubles():
    """Account numbers above 2^24 that differ by one stay apart."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"account": 2**30 + rng.integers(0, 40, 400), "x": rng.normal(size=400)})
    estimator = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, frame["account"] % 2**30 > 20)
    file = convert(estimator, frame[:200], heldout=frame[200:])

    assert file.notes == ("takes float64: column 'account' holds whole numbers that float32 does not",)
    assert file.metadata.signature.dtype == file.metadata.reference.dtype == "float64"
    told = served(file, frame.to_numpy(dtype=np.float64))["label"][1]
    assert np.abs(told - estimator.predict_proba(frame)).max() < 1e-6


def test_dates_are_numbers_since_1970():
    """Microseconds of `datetime64[us]`, as the model itself sees them."""
    days = pd.date_range("2020-01-01", periods=300, freq="D", unit="us")
    frame = pd.DataFrame({"day": days, "x": np.random.default_rng(0).normal(size=300)})
    chooser = make_column_transformer((StandardScaler(), ["day"]), remainder="passthrough")
    estimator = make_pipeline(chooser, Ridge()).fit(frame, np.arange(300.0))
    file = convert(estimator, frame[:150], heldout=frame[150:])

    assert [column.kind for column in file.metadata.signature.columns] == ["int", "float"]
    micros = frame.assign(day=days.asi8).to_numpy(dtype=np.float64)
    assert served(file, micros)["value"][1][:, 0] == pytest.approx(estimator.predict(frame), abs=1e-2)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"a": [1.0, 2.0], "b": [[1], [2]]}, r"column 'b' holds list \[1\]"),
        ({"a": [1.0, 2.0], "b": ["x", 3]}, "column 'b' holds int 3: a column is numbers"),
        ({"z": [1.0, 2.0]}, "the data has no column 'a', which the estimator was fitted on"),
        ([["x", 1.0]], "rows are no matrix of numbers"),
        (np.zeros((4, 2, 2)), r"rows have shape \(4, 2, 2\)"),
    ],
)
def test_data_that_is_no_table_is_refused(data, message):
    """The column and the value are named."""
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": [0.0, 1.0, 0.0, 1.0]})
    estimator = LinearRegression().fit(frame, [1.0, 2.0, 3.0, 4.0])

    with pytest.raises(ConversionError, match=message):
        convert(estimator, data)


def test_function_in_the_pipeline_is_refused_with_what_to_do():
    """No graph calls Python."""
    estimator = make_pipeline(FunctionTransformer(np.log1p), Ridge()).fit(np.abs(ROWS), NUMBER)

    with pytest.raises(ConversionError, match=r"FunctionTransformer calls 'log1p'.*calculate before the model"):
        convert(estimator, np.abs(ROWS))


def test_numbers_and_texts_without_a_chooser_are_refused():
    """An encoder over everything would have to take two tensors as one."""
    frame = pd.DataFrame({"word": ["a", "b"] * 20, "x": [0.0, 1.0, 1.0, 0.0] * 10})
    estimator = make_pipeline(OneHotEncoder(handle_unknown="ignore"), RandomForestClassifier(3))
    estimator.fit(frame, frame["x"])

    with pytest.raises(ConversionError, match="put a ColumnTransformer in front"):
        convert(estimator, frame)


class Square(TransformerMixin, BaseEstimator):
    """A transformer that skl2onnx has never heard of."""

    def fit(self, rows, _labels=None):
        """Remember the width."""
        self.n_features_in_ = rows.shape[1]
        return self

    def transform(self, rows):
        """Each value times itself."""
        return np.asarray(rows) ** 2


def register_square():
    """As the documentation shows it."""

    def shape(operator):
        operator.outputs[0].type = type(operator.inputs[0].type)(operator.inputs[0].type.shape)

    def convert_square(scope, operator, container):
        given, out = operator.inputs[0].full_name, operator.outputs[0].full_name
        container.add_node("Mul", [given, given], out, name=scope.get_unique_operator_name("Mul"))

    skl2onnx.update_registered_converter(Square, "TestSquare", shape, convert_square)


def test_converter_of_ones_own_is_registered_by_name():
    """Without it the transformer is refused; with it the certificate judges it like any other."""
    estimator = make_pipeline(Square(), Ridge()).fit(ROWS, NUMBER)
    with pytest.raises(ConversionError, match=r"nobody has written a converter for Square; register one of yours"):
        convert(estimator, ROWS)

    file = convert(estimator, ROWS[:120], heldout=ROWS[120:], converters=[f"{__name__}:register_square"])
    assert served(file, ROWS)["value"][1][:, 0] == pytest.approx(estimator.predict(ROWS), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("name", ["no.such.module:register", f"{__name__}:no_such", f"{__name__}"])
def test_converter_that_is_not_there_is_named(name):
    """With the form that it has to have."""
    with pytest.raises(ConversionError, match=r"cannot be registered .* has to be `package.module:function`"):
        convert(Ridge().fit(ROWS, NUMBER), ROWS, converters=[name])
