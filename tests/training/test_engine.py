from __future__ import annotations

import importlib.util
import os
import signal
import sys

import pytest
from harness import free_port

from training.building import prepare_basis
from training.config import load_config
from training.engine import IN_TURN, Engine
from training.errors import ConfigError, EngineError
from training.search import search
from training.space import candidates_of

SETTINGS = (
    "search.candidates=[logistic]",
    "search.folds=2",
    "split.balance_draws=0",
    "search.families.bayes={estimator: GaussianNB, params: {var_smoothing: [1.0e-9, -1]}}",
    "search.families.forest={estimator: RandomForestClassifier, params: {n_estimators: 20}, n_iter: 1}",
    "search.families.boosting={estimator: HistGradientBoostingClassifier, params: {max_iter: [10, 20]}}",
)

no_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")


@pytest.fixture(scope="module")
def basis():
    """Data and split of six candidates, one of which fails."""
    return prepare_basis(load_config(None, SETTINGS))


@pytest.fixture(scope="module")
def outcomes(basis):
    """Of candidates tried in this process, one after the other."""
    return search(candidates_of(basis.config), basis, engine=IN_TURN)


@pytest.mark.process
@pytest.mark.parametrize("backend", ["loky", "dask", pytest.param("ray", marks=no_ray)])
def test_an_engine_has_no_say_in_the_outcomes(basis, outcomes, backend):
    """Bit for bit those of one process, in the candidates' order, the failure among them."""
    told = []

    found = search(
        candidates_of(basis.config), basis, lambda *step: told.append(step), engine=Engine(backend=backend, jobs=2)
    )

    assert found == outcomes
    assert [one.candidate.name for one in found if one.error] == ["bayes-2"]
    assert [done for done, *_ in told] == list(range(6))


@pytest.mark.process
def test_loky_is_other_processes_and_leaves_none():
    """As many as were asked for, gone at the end."""
    ids = set(Engine(backend="loky", jobs=2).results(_process, range(8), None))

    assert ids
    assert os.getpid() not in ids
    for number in ids:
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)


@pytest.mark.process
def test_a_running_dask_cluster_is_used(basis, outcomes, tmp_path):
    """By its address; it is left running. With a single place joblib would rather work here, so it has two."""
    from distributed import Client, LocalCluster

    local = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "local_directory": tmp_path}
    with LocalCluster(n_workers=2, threads_per_worker=1, **local) as cluster:
        engine = Engine(backend="dask", cluster=cluster.scheduler_address)
        found = search(candidates_of(basis.config), basis, engine=engine)
        list(Engine(backend="dask", jobs=2).results(_process, range(2), None))  # a second one finds ports of its own
        with Client(cluster) as client:
            assert set(engine.results(_process, range(8), None)) <= set(client.run(os.getpid).values())

    assert found == outcomes


@pytest.mark.process
def test_a_process_that_dies_is_told_with_the_cure():
    """Killed for its memory, say; what was finished before is kept by the search's memory."""
    with pytest.raises(EngineError, match=r"engine loky broke down: TerminatedWorkerError.*run this again"):
        list(Engine(backend="loky", jobs=2).results(_die, range(2), None))


@pytest.mark.process
def test_a_cluster_that_is_not_there_is_told():
    """Its address stands in the message; exit code 4."""
    address = f"tcp://127.0.0.1:{free_port()}"

    with pytest.raises(EngineError, match=address) as caught:
        list(Engine(backend="dask", cluster=address).results(_process, range(2), None))
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(("backend", "module"), [("dask", "distributed"), ("ray", "ray")])
def test_an_engine_that_is_not_installed_says_how(monkeypatch, backend, module):
    """The extra's name."""
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(ConfigError, match=rf"pip install 'hotgate\[{backend}\]'"):
        list(Engine(backend=backend).results(_process, range(2), None))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"backend": "loky", "jobs": 0}, "at least 1, got 0"),
        ({"backend": "loky", "cluster": "tcp://a:1"}, "'tcp://a:1' needs the engine dask or ray, got loky"),
        ({"cluster": "tcp://a:1"}, "got none"),
        ({"backend": "dask", "cluster": "tcp://a:1", "jobs": 2}, "leave out one"),
    ],
)
def test_impossible_engines_are_named(settings, words):
    """Before any work."""
    with pytest.raises(ConfigError, match=words):
        Engine(**settings)


def _process(_item, _shared):
    return os.getpid()


def _die(_item, _shared):
    os.kill(os.getpid(), signal.SIGKILL)
