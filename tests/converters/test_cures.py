"""Each cure: what skl2onnx makes of the model by itself is wrong or nothing, and with the cure it is certified."""

import numpy as np
import pandas as pd
import pytest
import skl2onnx
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.datasets import make_classification
from sklearn.decomposition import KernelPCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier, VotingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - lets HalvingGridSearchCV be imported
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.model_selection import (
    FixedThresholdClassifier,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier

from converters import ConversionError, ParityError, convert, open_session
from converters.answers import places_of
from converters.conversion import TARGET_OPSET
from converters.session import score

ROWS, LABELS = make_classification(300, 5, n_informative=4, n_redundant=0, random_state=1)
RARE = LABELS * (np.arange(300) % 3 == 0)
NUMBER = ROWS @ np.arange(5.0)


def plain(estimator, inputs, feed, options=None):
    """What skl2onnx alone answers, all outputs; the error that it or onnxruntime raises."""
    model = skl2onnx.convert_sklearn(estimator, initial_types=inputs, target_opset=TARGET_OPSET, options=options)
    return open_session(model.SerializeToString()).run(None, feed)


def plain_numbers(estimator, rows, **options):
    return plain(
        estimator,
        [("X", FloatTensorType([None, rows.shape[1]]))],
        {"X": rows.astype(np.float32)},
        {id(estimator): options} if options else None,
    )


def served(file, rows):
    """Answers to a matrix."""
    signature = file.metadata.signature
    return score(open_session(file.data), signature, rows.astype(signature.dtype))


@pytest.mark.parametrize(
    "make",
    [
        lambda: TunedThresholdClassifierCV(LogisticRegression(), scoring="recall"),
        lambda: FixedThresholdClassifier(LogisticRegression(), threshold=0.2),
        lambda: FixedThresholdClassifier(RandomForestClassifier(5, random_state=0), threshold=0.3, pos_label=0),
    ],
    ids=["tuned", "fixed", "other-class"],
)
def test_threshold_of_its_own_is_kept(make):
    """The class stands in the answer beside the probabilities, and is that of `predict`."""
    estimator = make().fit(ROWS, RARE)
    file = convert(estimator, ROWS[:150], heldout=ROWS[150:])
    target, answers = file.metadata.signature.targets[0], served(file, ROWS)
    predicted = estimator.predict(ROWS)

    assert target.decides == "given"
    assert (places_of(target, answers) == predicted).all()
    assert (answers[:, 1:].argmax(axis=1) != predicted).any()
    if isinstance(estimator, TunedThresholdClassifierCV):
        assert (plain_numbers(estimator, ROWS, zipmap=False)[0] != predicted).any()


def test_threshold_of_named_classes_is_kept():
    """Texts are chosen as numbers are."""
    names = np.array(["no", "yes"])[RARE]
    estimator = FixedThresholdClassifier(LogisticRegression(), threshold=0.2, pos_label="yes").fit(ROWS, names)
    file = convert(estimator, ROWS[:150], heldout=ROWS[150:])
    target = file.metadata.signature.targets[0]

    told = np.array(target.classes)[places_of(target, served(file, ROWS)).astype(int)]
    assert (told == estimator.predict(ROWS)).all()


def test_threshold_over_a_pipeline_is_refused_with_the_way_round():
    """The threshold goes to the classifier, the steps before both."""
    inside = make_pipeline(StandardScaler(), LogisticRegression())
    estimator = FixedThresholdClassifier(inside, threshold=0.2).fit(ROWS, RARE)

    with pytest.raises(ConversionError, match="holds a Pipeline: put its steps in front of the threshold"):
        convert(estimator, ROWS)


def test_discriminant_of_two_classes():
    """By itself off by 0.1 of a probability."""
    estimator = LinearDiscriminantAnalysis().fit(ROWS, LABELS)
    assert np.abs(plain_numbers(estimator, ROWS, zipmap=False)[1] - estimator.predict_proba(ROWS)).max() > 0.1

    assert convert(estimator, ROWS[:150], heldout=ROWS[150:]).metadata.parity.error_max < 1e-6


def test_class_that_no_score_says_is_refused():
    """Three classes of `modified_huber` tie in probabilities where `predict` takes the decision."""
    rows, labels = make_classification(300, 5, n_informative=4, n_redundant=0, n_classes=3, random_state=0)
    estimator = SGDClassifier(loss="modified_huber", random_state=0).fit(rows, labels)

    with pytest.raises(ParityError, match="another class in a margin of inf"):
        convert(estimator, rows)


TEXTS = ["Größe naïve café", "don't O'Neil can't a b", "good Bad fine", "Übung macht den Meister", "été à la mer"] * 30
WORDS = [int("o" in text) for text in TEXTS]


@pytest.mark.parametrize(
    "make",
    [
        TfidfVectorizer,
        CountVectorizer,
        lambda: TfidfVectorizer(ngram_range=(1, 2)),
        lambda: CountVectorizer(token_pattern=r"(?u)\b\w+\b", lowercase=False),
    ],
    ids=["tfidf", "count", "pairs", "short"],
)
def test_words_of_any_language(make):
    """By itself words are cut at accents, and capitals with them stay."""
    estimator = make_pipeline(make(), LogisticRegression()).fit(TEXTS, WORDS)
    texts = np.array(TEXTS, dtype=object)[:, None]
    options = {id(estimator[0]): {"locale": "C"}, id(estimator[1]): {"zipmap": False}}
    if estimator[0].lowercase:  # else the pattern is none that onnxruntime reads
        uncured = plain(estimator, [("T", StringTensorType([None, 1]))], {"T": texts}, options)[1]
        assert np.abs(uncured - estimator.predict_proba(TEXTS)).max() > 1e-3

    file = convert(estimator, TEXTS[:100], heldout=TEXTS[100:])
    signature = file.metadata.signature
    told = score(open_session(file.data), signature, np.full((len(texts), 1), np.nan, dtype=np.float32), texts)
    assert np.abs(told - estimator.predict_proba(TEXTS)).max() < 1e-6
    assert [(column.kind, column.missing) for column in signature.columns] == [("string", False)]


@pytest.mark.parametrize(
    ("encoder", "known"),
    [
        (OneHotEncoder(handle_unknown="ignore"), None),
        (OneHotEncoder(handle_unknown="ignore"), np.nan),
        (OrdinalEncoder(encoded_missing_value=-1), None),
    ],
    ids=["none", "nan", "ordinal"],
)
def test_missing_text_is_a_category(encoder, known):
    """None or NaN that an encoder has learnt is not the text "None" or "nan", which is another category."""
    words = pd.Series(["nan", "None", "x", known] * 50, dtype=object)
    frame = pd.DataFrame({"word": words, "x": np.random.default_rng(0).normal(size=200)})
    labels = words.isna() ^ (frame["x"] > 1)
    chooser = make_column_transformer((encoder, ["word"]), remainder="passthrough")
    estimator = make_pipeline(chooser, LogisticRegression()).fit(frame, labels)

    signature = convert(estimator, frame[:100], heldout=frame[100:]).metadata.signature
    assert signature.columns[0].missing


@pytest.mark.parametrize(
    ("known", "missing"), [(None, None), (None, np.nan), (np.nan, np.nan)], ids=["fills", "leaves", "fills-nan"]
)
def test_imputer_of_texts_fills_what_it_would_fill(known, missing):
    """An imputer of NaN leaves None alone, and the other way round."""
    words = pd.Series(["a", "a", "b", known] * 50, dtype=object)
    frame = pd.DataFrame({"word": words, "x": np.random.default_rng(0).normal(size=200)})
    fill = make_pipeline(
        SimpleImputer(strategy="most_frequent", missing_values=missing), OneHotEncoder(handle_unknown="ignore")
    )
    chooser = make_column_transformer((fill, ["word"]), remainder="passthrough")
    estimator = make_pipeline(chooser, LogisticRegression()).fit(frame, words.isna() ^ (frame["x"] > 1))

    assert convert(estimator, frame[:100], heldout=frame[100:]).metadata.signature.columns[0].missing


def test_trees_behind_a_table_compute_in_double():
    """Imputed and scaled in double, seen by the trees in float32 as their own `predict` sees it."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"a": rng.integers(0, 300, 600) / 100, "b": rng.integers(0, 300, 600) / 100, "w": ["x", "y"] * 300}
    )
    frame.loc[::7, "a"] = np.nan
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    chooser = make_column_transformer((numbers, ["a", "b"]), (OneHotEncoder(), ["w"]))
    estimator = make_pipeline(chooser, RandomForestClassifier(30, random_state=0))
    estimator.fit(frame[:300], frame["a"][:300].fillna(0) + frame["b"][:300] > 3)

    file = convert(estimator, frame[:300], heldout=frame[300:])
    assert file.metadata.parity.error_max < 1e-6
    assert "computes in float64: in float32 it is out of tolerance" in file.notes[-1]
    assert [column.missing for column in file.metadata.signature.columns] == [True, True, False]


def test_histogram_boosting_sees_doubles_where_float32_is_not_enough():
    """Its thresholds are values of the data, which float32 puts on their other side."""
    estimator = HistGradientBoostingRegressor(max_iter=5, random_state=0).fit(ROWS, NUMBER)
    file = convert(estimator, ROWS[:150], heldout=ROWS[150:])

    assert file.metadata.signature.dtype == "float64"
    assert file.metadata.parity.error_max < 1e-6


@pytest.mark.parametrize(
    "make",
    [
        lambda: GaussianProcessRegressor(alpha=1e-2, optimizer=None).fit(ROWS, NUMBER),
        lambda: KernelPCA(2, kernel="rbf").fit(ROWS),
        lambda: KNeighborsClassifier().fit(ROWS, LABELS),
    ],
    ids=["process", "kernel", "neighbours"],
)
def test_distances_need_no_loop(make):
    """By itself a graph with a loop, which is not let in."""
    estimator = make()
    file = convert(estimator, ROWS[:150], heldout=ROWS[150:])

    assert file.metadata.parity.error_max <= file.metadata.parity.tolerance


def test_numbers_are_imputed_in_double():
    """Onnxruntime has no Imputer of doubles."""
    holed = np.where(np.random.default_rng(0).random(ROWS.shape) < 0.1, np.nan, ROWS)
    estimator = make_pipeline(SimpleImputer(), GaussianProcessRegressor(alpha=1e-2, optimizer=None)).fit(holed, NUMBER)
    with pytest.raises(Exception, match="Could not find an implementation for Imputer"):
        plain(estimator, [("X", DoubleTensorType([None, 5]))], {"X": holed})

    file = convert(estimator, holed[:150], heldout=holed[150:])
    assert all(column.missing for column in file.metadata.signature.columns)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (
            lambda: make_pipeline(KBinsDiscretizer(4, quantile_method="averaged_inverted_cdf"), Ridge()),
            RuntimeError,
            "onehot encoding not supported",
        ),
        (
            lambda: VotingClassifier([("a", LogisticRegression()), ("b", RandomForestClassifier(3))], voting="soft"),
            NotImplementedError,
            "flatten_transform==True is not implemented",
        ),
    ],
    ids=["bins", "voting"],
)
def test_flags_that_keep_skl2onnx_from_converting(make, error, words):
    """They say nothing of what is answered."""
    estimator = make().fit(ROWS, LABELS)
    with pytest.raises(error, match=words):
        plain_numbers(estimator, ROWS)

    assert convert(estimator, ROWS[:150], heldout=ROWS[150:]).metadata.parity.error_max < 1e-5


def test_estimator_without_a_converter_is_refused_with_the_nearest_that_has_one():
    """In one line, without skl2onnx's paragraph."""
    with pytest.raises(ConversionError) as refused:
        convert(NearestCentroid().fit(ROWS, LABELS), ROWS)

    assert str(refused.value) == (
        "skl2onnx cannot convert NearestCentroid: nobody has written a converter for NearestCentroid;"
        " KNeighborsClassifier and LogisticRegression have one"
    )


def test_chooser_inside_what_takes_one_table_is_refused_with_the_way_round():
    """The texts go in front."""
    frame = pd.DataFrame({"w": ["x", "y", "y"] * 60, "x": np.random.default_rng(0).normal(size=180)})
    chooser = make_column_transformer((OneHotEncoder(), ["w"]), (StandardScaler(), ["x"]))
    inside = make_pipeline(chooser, LogisticRegression())
    labels = frame["x"] > 0

    with pytest.raises(ConversionError, match="put the ColumnTransformer in front of it, in a pipeline around both"):
        convert(CalibratedClassifierCV(inside, cv=2).fit(frame, labels), frame)
    around = make_pipeline(chooser, CalibratedClassifierCV(LogisticRegression(), cv=2)).fit(frame, labels)
    assert convert(around, frame[:90], heldout=frame[90:]).metadata.parity.passed


@pytest.mark.parametrize(
    "make",
    [
        lambda: FrozenEstimator(LogisticRegression().fit(ROWS, LABELS)),
        lambda: HalvingGridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, random_state=0).fit(ROWS, LABELS),
        lambda: make_pipeline(StandardScaler(), FrozenEstimator(LogisticRegression().fit(ROWS, LABELS))).fit(ROWS),
        lambda: RandomizedSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, n_iter=2, cv=2, random_state=0).fit(
            ROWS, LABELS
        ),
        lambda: SelfTrainingClassifier(LogisticRegression()).fit(ROWS, np.where(np.arange(300) % 3, LABELS, -1)),
    ],
    ids=["frozen", "halving", "inside", "search", "self-training"],
)
def test_wrapper_is_answered_by_what_it_wraps(make):
    """skl2onnx knows none of them; the one inside is converted, and the certificate asks the wrapper."""
    estimator = make()
    with pytest.raises(Exception, match="Unable to find a shape calculator"):
        plain_numbers(estimator, ROWS)
    file = convert(estimator, ROWS[:200], heldout=ROWS[200:])
    answers = score(open_session(file.data), file.metadata.signature, ROWS.astype(np.float32))
    assert np.abs(answers - estimator.predict_proba(ROWS)).max() < 1e-5
