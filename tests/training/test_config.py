from __future__ import annotations

import msgspec
import pytest

from training.config import SplitConfig, TrainConfig, load_config
from training.errors import ConfigError


def test_defaults_are_the_demos_model():
    """No file and no override: the built-in data, every candidate."""
    config = load_config()

    assert config == TrainConfig()
    assert config.name == "cancer-classifier"
    assert config.data.source == "breast-cancer"


def test_overrides_lie_over_the_file(tmp_path):
    """A pair wins over the file, the file over the default; neighbours in a table stay."""
    path = tmp_path / "train.yaml"
    path.write_text("name: churn\nseed: 3\nsearch: {folds: 4, metric: f1}\n")

    config = load_config(path, ["search.folds=3", "tolerance=1e-6", "search.candidates=[boosting]", "name=007"])

    assert (config.seed, config.search.folds, config.search.metric) == (3, 3, "f1")
    assert config.tolerance == 1e-6
    assert config.search.candidates == ("boosting",)
    assert config.name == "007"


def test_an_empty_file_holds_the_defaults(tmp_path):
    """YAML reads an empty file as null."""
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing yet\n")

    assert load_config(path) == TrainConfig()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("split.holdout=0.9", ["holdout", "0.05 to 0.5", "0.9"]),
        ("split.holdout=nan", ["holdout", "nan"]),
        ("split.balance_draws=-1", ["balance_draws", "0 to 10000", "got -1"]),
        ("search.folds=1", ["folds", "2 to 20", "got 1"]),
        ("search.metric=auc", ["auc", "$.search.metric"]),
        ("search.candidates=[svm]", ["candidates", "logistic", "'svm'"]),
        ("search.candidates=[]", ["candidates", "none"]),
        ("search.candidates=[logistic, logistic]", ["logistic", "twice"]),
        ("seed=-1", ["seed", "-1"]),
        ("tolerance=0.5", ["tolerance", "0.001", "0.5"]),
        ("name=a/b", ["name", "'a/b'"]),
        ("experiment= ", ["experiment", "empty"]),
        ("split.seed=3", ["seed", "$.split"]),
        ("nonsense", ["key=value", "'nonsense'"]),
        ("search..folds=3", ["key=value"]),
        ("seed.low=3", ["$.seed"]),
        ("search.candidates=[a", ["YAML"]),
    ],
)
def test_an_impossible_value_is_named(override, words):
    """The message holds the key, the bound and the value given."""
    with pytest.raises(ConfigError) as caught:
        load_config(None, [override])

    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "\x00"])
def test_a_file_that_is_no_mapping_is_named(tmp_path, text):
    """The message begins with the file."""
    path = tmp_path / "bad.yaml"
    path.write_text(text)

    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        load_config(path)


def test_a_table_laid_over_a_value_is_refused(tmp_path):
    """A nested key cannot be set inside a number."""
    path = tmp_path / "bad.yaml"
    path.write_text("search: 3\n")

    with pytest.raises(ConfigError, match="search holds 3"):
        load_config(path, ["search.folds=3"])


def test_construction_in_code_is_held_to_the_same_bounds():
    """The checks belong to the type, not to the file."""
    with pytest.raises(ValueError, match="holdout must be"):
        SplitConfig(holdout=0.9)


def test_every_setting_says_what_it_means():
    """A string follows each field that is not a table of its own."""
    import ast
    import inspect

    import training.config

    tree = ast.parse(inspect.getsource(training.config))
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        for field, after in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(field, ast.AnnAssign) and "field" not in ast.dump(field):
                assert isinstance(after, ast.Expr), f"{node.name}.{field.target.id}"
    assert issubclass(TrainConfig, msgspec.Struct)
