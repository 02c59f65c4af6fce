from __future__ import annotations

import numpy as np
import pytest

from training.candidates import CANDIDATES
from training.config import load_config
from training.errors import ConfigError
from training.space import Family, Range, candidates_of

FOREST = "search.families.forest={estimator: RandomForestClassifier, n_iter: 20, params: {n_estimators: [10, 20], %s}}"


def _candidates(*overrides):
    return candidates_of(load_config(None, overrides))


def test_without_families_the_fixed_candidates_compete():
    """In their order."""
    assert [one.name for one in _candidates()] == list(CANDIDATES)


def test_a_grid_has_every_combination_in_the_order_written():
    """The last parameter changes fastest; one value stands for itself, also if it is null."""
    family = Family(estimator="RandomForestClassifier", params={"max_depth": [2, 4], "criterion": ["gini", "entropy"],
                                                                "max_features": None})  # fmt: skip

    assert family.points("forest", 42) == [
        {"max_depth": depth, "criterion": criterion, "max_features": None}
        for depth in (2, 4)
        for criterion in ("gini", "entropy")
    ]


def test_families_share_one_space(tmp_path):
    """From a file: fixed candidates first, then the families, their candidates numbered so that names sort."""
    path = tmp_path / "params.yaml"
    path.write_text(
        "search:\n"
        "  candidates: [logistic]\n"
        "  families:\n"
        "    tree: {estimator: DecisionTreeClassifier, params: {max_depth: [1, 2, 3]}}\n"
        "    boosting:\n"
        "      estimator: HistGradientBoostingClassifier\n"
        "      params: {learning_rate: {low: 0.01, high: 0.3, log: true}, max_iter: {low: 10, high: 50}}\n"
        "      n_iter: 12\n"
        "    bayes: {estimator: GaussianNB, scaled: true}\n"
    )

    candidates = candidates_of(load_config(path))

    assert [one.name for one in candidates] == [
        "logistic", "tree-1", "tree-2", "tree-3", *(f"boosting-{number:02}" for number in range(1, 13)), "bayes",
    ]  # fmt: skip
    assert candidates[2].parameters == {"max_depth": 2}
    assert candidates[-1].scaled
    assert {one.build(0).__class__.__name__ for one in candidates[1:-1]} == {
        "DecisionTreeClassifier",
        "HistGradientBoostingClassifier",
    }


def test_a_fixed_candidate_can_be_written_as_a_family():
    """The same name, estimator and parameters."""
    for name, candidate in CANDIDATES.items():
        (family,) = _candidates(
            "search.candidates=[]",
            f"search.families.{name}={{estimator: {candidate.estimator}, scaled: {str(candidate.scaled).lower()}}}",
            *(f"search.families.{name}.params.{key}=[{'null' if value is None else value}]"
              for key, value in candidate.parameters.items()),
        )  # fmt: skip
        assert (family.name, family.parameters, family.scaled) == (name, candidate.parameters, candidate.scaled)


def test_equal_seeds_draw_equal_points_and_others_others():
    """And what is drawn for one parameter does not hang on its neighbours, or on other families."""
    text = FOREST % "max_depth: {low: 2, high: 1000}"
    first, again, other = (
        [one.parameters for one in _candidates("search.candidates=[]", text, f"seed={seed}")] for seed in (1, 1, 2)
    )
    more = _candidates(
        FOREST % "max_depth: {low: 2, high: 1000}, min_samples_leaf: [1, 2]",
        "search.families.early={estimator: GaussianNB}",
        "seed=1",
        "search.candidates=[]",
    )

    assert first == again
    assert first != other
    assert [one.parameters["max_depth"] for one in more if one.family == "forest"] == [
        one["max_depth"] for one in first
    ]


def test_parameters_are_drawn_apart_from_each_other():
    """Else a search of two dimensions would look along one line."""
    range_ = {"low": 0.0, "high": 1.0}
    points = Family(estimator="GaussianNB", n_iter=200, params={"a": range_, "b": range_}).points("f", 42)

    assert abs(np.corrcoef([[point["a"], point["b"]] for point in points], rowvar=False)[0, 1]) < 0.2


def test_a_point_that_is_drawn_twice_is_tried_once():
    """Six combinations, twenty draws."""
    points = [one.parameters for one in _candidates("search.candidates=[]", FOREST % "max_depth: {low: 2, high: 4}")]

    assert len(points) <= 6
    assert len({tuple(one.items()) for one in points}) == len(points)


@pytest.mark.parametrize(
    ("ends", "whole"), [((1, 7), True), ((1.0, 4), False), ((0.001, 1000.0), False), ((1, 1000), True)]
)
@pytest.mark.parametrize("log", [False, True])
def test_a_range_is_drawn_evenly_between_its_ends(ends, whole, log):
    """Whole numbers include both ends; with log each order of magnitude has the same share."""
    low, high = ends
    drawn = Range(low=low, high=high, log=log).draw(20_000, np.random.default_rng(0))

    assert all(isinstance(value, int if whole else float) for value in drawn)
    assert low <= min(drawn)
    assert max(drawn) <= high
    if whole and high < 10:
        assert set(drawn) == set(range(low, high + 1))
    place = np.log if log else float
    start, end = place(low), place(high + whole)
    third = low + (high - low) // 3 if whole else low + (high - low) / 3
    assert np.mean(np.array(drawn) < third) == pytest.approx((place(third) - start) / (end - start), abs=0.02)


@pytest.mark.parametrize(
    ("families", "words"),
    [
        ("{f: {estimator: RandomForrestClassifier}}", ["families.f", "did you mean 'RandomForestClassifier'"]),
        ("{f: {estimator: LinearRegression}}", ["'LinearRegression' is no classifier"]),
        ("{f: {estimator: os}}", ["'os' is no classifier"]),
        ("{f: {estimator: GaussianNB, params: {var_smothing: 1}}}", ["'var_smothing'", "did you mean 'var_smoothing'"]),
        ("{f: {estimator: GaussianNB, params: {zzz: 1}}}", ["'zzz'", "it may be priors"]),
        ("{f: {estimator: RandomForestClassifier, params: {n_jobs: 2}}}", ["n_jobs cannot be set", "--engine"]),
        ("{f: {estimator: RandomForestClassifier, params: {random_state: 2}}}", ["random_state", "seed"]),
        ("{f: {estimator: GaussianNB, params: {var_smoothing: []}}}", ["var_smoothing", "[]"]),
        ("{f: {estimator: GaussianNB, params: {var_smoothing: {low: 0, high: 1}}}}", ["var_smoothing", "n_iter"]),
        ("{f: {estimator: GaussianNB, n_iter: 2, params: {var_smoothing: {low: 2, high: 1}}}}", ["2 and 1"]),
        ("{f: {estimator: GaussianNB, n_iter: 2, params: {var_smoothing: {low: 0, high: 1, log: true}}}}", ["above 0"]),
        ("{f: {estimator: GaussianNB, n_iter: 2, params: {var_smoothing: {low: 0, hihg: 1}}}}", ["hihg"]),
        ("{f: {estimator: GaussianNB, n_iter: 0}}", ["n_iter", "1 to 10000", "got 0"]),
        ("{f: {estimator: GaussianNB, n_itre: 3}}", ["n_itre", "did you mean 'n_iter'"]),
        ("{a/b: {estimator: GaussianNB}}", ["'a/b'"]),
        ("{logistic: {estimator: GaussianNB}}", ["'logistic'", "rename"]),
        (f"{{f: {{estimator: GaussianNB, params: {{var_smoothing: {list(range(10_001))}}}}}}}", ["10001", "n_iter"]),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_named(families, words):
    """Before any data is read: the family, the key, the value and the cure."""
    with pytest.raises(ConfigError) as caught:
        _candidates(f"search.families={families}")

    assert all(word in str(caught.value) for word in words), str(caught.value)
