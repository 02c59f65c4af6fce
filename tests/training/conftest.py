"""Trainings made once: in a SQLite registry under a home of their own, and against a real `mlflow server`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from training.config import load_config
from training.train import train

HERE = Path(__file__).parent

SMALL = ("search.candidates=[logistic, forest-50x4]", "search.folds=2", "split.balance_draws=100")
"""Settings that train in about a second."""


MLFLOW_WARNS = (
    # its tables use an option that a newer SQLAlchemy deprecates
    "ignore:The ``noload`` loader strategy is deprecated",
    # its own functions are hinted with Any, found while it is imported
    "ignore:.*Any type hint is inferred as AnyType:UserWarning",
)
"""About itself, when it is imported or first used: whichever test comes first would fail."""


def pytest_collection_modifyitems(items):
    """Let MLflow's remarks about itself pass in this folder."""
    for item in items:
        if item.path.parent == HERE:
            for line in MLFLOW_WARNS:
                item.add_marker(pytest.mark.filterwarnings(line))


@pytest.fixture(scope="session", autouse=True)
def environment():
    """No registry of the developer's own; what `prepare` sets is taken back at the end."""
    before = dict(os.environ)
    for key in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        os.environ.pop(key, None)
    yield
    for key in set(os.environ) - set(before):
        del os.environ[key]
    os.environ.update(before)


@pytest.fixture(scope="session")
def small():
    """A configuration that trains in about a second."""
    return load_config(None, SMALL)


@pytest.fixture(scope="session")
def trained(small, tmp_path_factory, empty_database):
    """A training in a SQLite registry; tests read it."""
    return train(small, _home(tmp_path_factory.mktemp("trained"), empty_database))


@pytest.fixture
def home(tmp_path, empty_database):
    """A home with an empty registry."""
    return _home(tmp_path, empty_database)


def _home(folder, database):
    (folder / "home").mkdir()
    shutil.copy(database, folder / "home")
    return folder / "home"


@pytest.fixture(scope="session")
def trained_remotely(small, mlflow_server, tmp_path_factory):
    """The same training, logged to the server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
        return train(small, tmp_path_factory.mktemp("remote") / "home")
