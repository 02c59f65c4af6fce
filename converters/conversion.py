"""A fitted scikit-learn estimator becomes an ONNX graph: two inputs, one answer, cures on the way."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import onnx
import skl2onnx
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from converters.cures import converters_of, options_of, register_booster
from converters.errors import ConversionError
from converters.graph import check_graph, serialize
from converters.rewriting import PICK, Inputs, inner, last_of, rewrite
from converters.session import open_session
from converters.tail import ANSWER, PROBED_ROWS, finish

if TYPE_CHECKING:
    from collections.abc import Sequence

    from converters.modelfile import Column
    from converters.oracle import Oracle
    from converters.rows import Rows

__all__ = ["ANSWER", "INPUT_NAME", "SCORE_OUTPUT", "TARGET_OPSET", "TEXT_INPUT", "Graph", "check_fitted", "graph_of"]

INPUT_NAME = "X"
TEXT_INPUT = "T"
SCORE_OUTPUT = "probabilities"
TARGET_OPSET = {"": 21, "ai.onnx.ml": 3}

Dtype = Literal["float32", "float64"]

_SHOWN = 300
_UNKNOWN = re.compile(r"Unable to find a (?:shape calculator|converter) for type '<class '([\w.]+)'>'")
_ONE_INPUT = "at most 1 input(s) is(are) supported"
_NEAREST = {
    "NearestCentroid": "KNeighborsClassifier and LogisticRegression have one",
    "ClassifierChain": "MultiOutputClassifier has one",
    "RegressorChain": "MultiOutputRegressor has one",
    "TransformedTargetRegressor": "fit on the transformed target, and turn the answers back where they are used",
    "EllipticEnvelope": "IsolationForest and OneClassSVM have one",
    "Birch": "KMeans has one",
    "BisectingKMeans": "KMeans has one",
    "MeanShift": "KMeans has one",
    "AffinityPropagation": "KMeans has one",
    "HashingVectorizer": "CountVectorizer and TfidfVectorizer have one",
}
"""What does nearly the same and converts."""
_DOUBLE = "X_double"


class Graph(NamedTuple):
    """A converted estimator."""

    model: onnx.ModelProto
    output: str
    """Where the answer stands."""


def graph_of(
    oracle: Oracle, columns: Sequence[Column], sample: Rows, *, dtype: Dtype = "float32", computes: Dtype = "float32"
) -> Graph:
    """Convert an estimator to a graph: numbers [rows, columns] and texts [rows, text columns] → answers [rows, width].

    A classifier of numbers whose answer is its probabilities keeps the converter's graph as it is. Equal estimators
    give equal bytes: nothing in the graph is random or dated.

    Args:
        oracle: the estimator, and what the columns of its answer are.
        columns: those of the data.
        sample: a few rows, to see what shapes the converter's outputs have.
        dtype: of the numbers that go in.
        computes: of the numbers inside.

    Raises:
        ConversionError: the estimator has no such form; the text says why.
    """
    name = type(oracle.estimator).__name__
    for each in inner(oracle.estimator):
        register_booster(each)
    texts = [place for place, column in enumerate(columns) if column.kind == "string"]
    kind = FloatTensorType if computes == "float32" else DoubleTensorType
    taken = INPUT_NAME if dtype == computes else _DOUBLE
    inputs = [(taken, kind([None, len(columns)]))] if len(texts) < len(columns) else []
    inputs += [(TEXT_INPUT, StringTensorType([None, len(texts)]))] if texts else []
    offset = len(columns) if inputs[0][0] == taken else 0
    places = {column: offset + place for place, column in enumerate(texts)}
    told = Inputs(
        place=lambda column: places.get(column, column),
        blocks=(range(offset), range(offset, offset + len(texts))),
        gap=oracle.layout.gap,
        double=computes == "float64",
    )
    whole = oracle.estimator
    if told.double and not isinstance(whole, Pipeline):
        whole = Pipeline([("model", whole)])
    estimator = rewrite(whole, told)
    if len(inputs) == 2 and not _chooses_columns(estimator):
        raise ConversionError(
            f"{name} takes numbers and texts together: put a ColumnTransformer in front that sends each to its own"
        )
    model = _converted(estimator, oracle, inputs, name)
    _take_inputs(model, columns, texts, dtype, taken)
    outputs = [output.name for output in model.graph.output]
    plain = computes == "float32" and oracle.method == "predict_proba" and len(oracle.targets) == 1
    if plain and oracle.targets[0].decides == "argmax" and SCORE_OUTPUT in outputs:
        check_graph(model)
        return Graph(model, SCORE_OUTPUT)
    probed = sample[np.arange(PROBED_ROWS) % len(sample)]
    finish(model, oracle, _shapes(model, probed, dtype))
    check_graph(model)
    return Graph(model, ANSWER)


def check_fitted(estimator: Any) -> None:
    """Refuse what is no fitted estimator of scikit-learn's kind.

    Raises:
        ConversionError: says which.
    """
    name = type(estimator).__name__
    if not isinstance(estimator, BaseEstimator) and not hasattr(estimator, "is_fitted"):  # as catboost has it
        raise ConversionError(f"{name} is no scikit-learn estimator")
    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        raise ConversionError(f"{name} is not fitted: call fit first") from error
    except TypeError as error:
        raise ConversionError(f"{name} is no estimator with fit") from error


def _converted(estimator: Any, oracle: Oracle, inputs: list[tuple[str, Any]], name: str) -> onnx.ModelProto:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names and zipmap: what counts is the certificate
            custom = converters_of(inner(estimator)) | PICK
            model: onnx.ModelProto = skl2onnx.convert_sklearn(
                estimator,
                name="hotgate",
                initial_types=inputs,
                options=_options(estimator, oracle),
                target_opset=TARGET_OPSET,
                custom_conversion_functions={kind: convert for kind, (convert, _) in custom.items()},
                custom_shape_calculators={kind: shape for kind, (_, shape) in custom.items()},
            )
    except ConversionError:
        raise
    except Exception as error:  # skl2onnx raises whatever its converters meet, sometimes with whole arrays in the text
        raise ConversionError(f"skl2onnx cannot convert {name}: {_said(error)}") from error
    return model


def _said(error: Exception) -> str:
    """In one short line, and what to do if it is that nobody has written a converter."""
    said = " ".join(str(error).split())
    unknown = _UNKNOWN.search(said)
    if unknown:
        kind = unknown[1].rpartition(".")[2]
        return (
            f"nobody has written a converter for {kind}; {_NEAREST.get(kind, 'register one of yours (`converters=`)')}"
        )
    if _ONE_INPUT in said:
        return "it takes one table of numbers: put the ColumnTransformer in front of it, in a pipeline around both"
    shown = said if len(said) <= _SHOWN else said[:_SHOWN] + " …"
    return shown or type(error).__name__


def _options(estimator: Any, oracle: Oracle) -> dict[Any, Any]:
    """By estimator; decision scores of the one that answers, where they are asked for."""
    last = last_of(estimator)
    raw = oracle.method == "decision_function"
    each_one = [each for each in inner(estimator) if not isinstance(each, Pipeline)]
    told = {id(each): options_of(each, raw_scores=raw and each is last) for each in each_one}
    return {key: options for key, options in told.items() if options}


def _chooses_columns(estimator: Any) -> bool:
    return any(hasattr(each, "transformers_") for each in inner(estimator))


def _take_inputs(model: onnx.ModelProto, columns: Sequence[Column], texts: list[int], dtype: Dtype, taken: str) -> None:
    """Declare both inputs as the gateway feeds them, in one order, and cast in front where the inside is in double."""
    element = onnx.TensorProto.FLOAT if dtype == "float32" else onnx.TensorProto.DOUBLE
    given = [onnx.helper.make_tensor_value_info(INPUT_NAME, element, [None, len(columns)])]
    if texts:
        given.append(onnx.helper.make_tensor_value_info(TEXT_INPUT, onnx.TensorProto.STRING, [None, len(texts)]))
    if [item.name for item in model.graph.input] != [item.name for item in given]:
        del model.graph.input[:]
        model.graph.input.extend(given)
    if taken != INPUT_NAME:
        cast = onnx.helper.make_node("Cast", [INPUT_NAME], [taken], name="to_double", to=onnx.TensorProto.DOUBLE)
        model.graph.node.insert(0, cast)


def _shapes(model: onnx.ModelProto, sample: Rows, dtype: Dtype) -> dict[str, tuple[int, ...]]:
    """The shapes that the outputs really have: what skl2onnx declares is often another."""
    names = [output.name for output in model.graph.output if output.type.HasField("tensor_type")]
    try:
        session = open_session(serialize(model))
        feed = {INPUT_NAME: sample.numbers.astype(dtype), TEXT_INPUT: sample.texts}
        taken = {item.name for item in session.get_inputs()}
        answers = session.run(names, {name: value for name, value in feed.items() if name in taken})
    except Exception as error:  # onnxruntime's own classes are all alike
        raise ConversionError(f"onnxruntime cannot run the converted graph: {_said(error)}") from error
    return {name: np.shape(answer) for name, answer in zip(names, answers, strict=True)}
