"""One contract, held by the registry in a database and by the one behind a real server."""

from __future__ import annotations

import io
import os

import pytest

from converters.modelfile import ARTIFACT_NAME as CONVERTERS_NAME
from gateway.sync.base import (
    ARTIFACT_NAME,
    MissingModelFileError,
    ModelTooLargeError,
    RegisteredModel,
    RegisteredVersion,
    RegistryError,
)
from gateway.sync.connect import open_registry
from gateway.sync.sources import copy_bounded

LIMIT = 1 << 20


def fetch(registry, name, version, tmp_path, limit_bytes=LIMIT):
    target = tmp_path / "fetched"
    registry.download(name, version, target, limit_bytes=limit_bytes)
    return target.read_bytes()


def test_the_files_name_is_the_one_that_conversion_writes():
    """The word is written down twice, once on each side of a wall."""
    assert ARTIFACT_NAME == CONVERTERS_NAME


def test_versions_come_with_stage_aliases_status_and_tags(both, name):
    """Everything that resolving needs, in one answer, ascending."""
    registry, admin = both
    for number in range(11):
        admin.register(name, {}, tags={"hotgate.sha256": f"{number}"})
    admin.stage(name, 2, "Production")
    admin.stage(name, 10, "Staging")
    admin.client.set_registered_model_alias(name, "Champion", "10")
    admin.client.set_registered_model_alias(name, "other", "10")
    admin.client.set_registered_model_tag(name, "hotgate.decision.x", "{}")
    model = registry.model(name)
    assert [item.version for item in model.versions] == list(range(1, 12))
    assert model.versions[1] == RegisteredVersion(version=2, stage="Production", tags={"hotgate.sha256": "1"})
    tenth = model.versions[9]
    assert (tenth.stage, sorted(tenth.aliases), tenth.status) == ("Staging", ["Champion", "other"], "READY")
    assert model.tags == {"hotgate.decision.x": "{}"}


def test_changes_show_at_once(both, name):
    """No answer is remembered: a moved alias, a late tag and a deleted version are seen by the next call."""
    registry, admin = both
    for _ in range(3):
        admin.register(name, {})
    assert registry.model(name).versions[0] == RegisteredVersion(version=1)
    admin.client.set_registered_model_alias(name, "champion", "1")
    admin.client.set_model_version_tag(name, "1", "hotgate.sha256", "abc")
    admin.client.delete_model_version(name, "2")
    first, third = registry.model(name).versions
    assert (first.aliases, first.sha256_tag, third.version) == (("champion",), "abc", 3)


def test_a_model_that_does_not_exist_has_no_versions(both, name):
    """A deleted model is an empty one, not an error."""
    registry, _ = both
    assert registry.model(name) == RegisteredModel(name=name)


@pytest.mark.parametrize("odd", ["two words", "ü%+&?#=é", "it's", 'say "x"', "model.v1_x"])
def test_odd_names_are_escaped(both, name, odd):
    """A name is data, in addresses and in filters."""
    registry, admin = both
    odd = f"{odd} {name}"
    run = admin.client.create_run(admin.experiment)
    admin.client.log_text(run.info.run_id, "bytes", f"a b%20/{ARTIFACT_NAME}")
    admin.client.create_registered_model(odd)
    admin.client.create_model_version(odd, f"{run.info.artifact_uri}/a b%20", run_id=run.info.run_id)
    assert odd in registry.names()
    assert [item.version for item in registry.model(odd).versions] == [1]


def test_download_brings_the_model_file_and_nothing_else(both, name, tmp_path):
    """Whatever lies beside it stays where it is."""
    registry, admin = both
    data = os.urandom(300_000)
    admin.register(name, {ARTIFACT_NAME: data, "model.pkl": b"\x80\x04.", "MLmodel": b"flavors: {}"})
    assert fetch(registry, name, 1, tmp_path) == data


@pytest.mark.parametrize("scheme", ["runs", "extra_files"])
def test_download_follows_the_other_places(both, name, tmp_path, scheme):
    """A source may name a run; `log_model(extra_files=…)` puts the file one folder deeper."""
    registry, admin = both
    admin.register(name, {ARTIFACT_NAME if scheme == "runs" else f"extra_files/{ARTIFACT_NAME}": b"bytes"})
    version = 1
    if scheme == "runs":
        run = admin.client.get_model_version(name, "1").run_id
        version = int(admin.client.create_model_version(name, f"runs:/{run}/artifact", run_id=run).version)
    assert fetch(registry, name, version, tmp_path) == b"bytes"


def test_download_follows_a_logged_model(both, name, tmp_path, monkeypatch):
    """MLflow 3 registers logged models, whose source is `models:/m-…`."""
    registry, admin = both
    # While registering, mlflow looks the logged model up in the process's own tracking address, not in the client's.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", admin.uri)
    model = admin.client.create_logged_model(admin.experiment)
    path = tmp_path / ARTIFACT_NAME
    path.write_bytes(b"logged")
    admin.client.log_model_artifact(model.model_id, str(path))
    admin.client.finalize_logged_model(model.model_id, "READY")
    admin.client.create_registered_model(name)
    admin.client.create_model_version(name, f"models:/{model.model_id}", model_id=model.model_id)
    assert fetch(registry, name, 1, tmp_path) == b"logged"


def test_a_version_without_a_model_file_says_how_to_get_one(both, name, tmp_path):
    """The cure is in the message."""
    registry, admin = both
    admin.register(name, {"model.pkl": b"x"})
    with pytest.raises(MissingModelFileError, match=f"run `hotgate convert models:/{name}/1 --register`"):
        fetch(registry, name, 1, tmp_path)


def test_a_file_above_the_limit_is_refused_and_the_registry_still_answers(both, name, tmp_path):
    """No more than the limit is ever written."""
    registry, admin = both
    admin.register(name, {ARTIFACT_NAME: bytes(5_000_000)})
    with pytest.raises(ModelTooLargeError, match="max_model_bytes = 1000"):
        fetch(registry, name, 1, tmp_path, limit_bytes=1000)
    assert (tmp_path / "fetched").stat().st_size <= 1000
    assert len(fetch(registry, name, 1, tmp_path, limit_bytes=5_000_000)) == 5_000_000


def test_an_endless_body_is_not_read_to_its_end():
    """One chunk past the limit is enough to know."""
    sink = io.BytesIO()
    reads = []
    copied = copy_bounded(lambda size: reads.append(size) or bytes(size), sink, 10)
    assert (copied > 10, len(sink.getvalue()), len(reads)) == (True, 10, 1)


def test_a_version_that_is_gone_is_an_error_that_names_it(both, name, tmp_path):
    """It may be deleted between the poll and the download."""
    registry, admin = both
    admin.register(name, {})
    with pytest.raises(RegistryError, match=rf"version 7 of {name} is gone"):
        fetch(registry, name, 7, tmp_path)


def test_tags_can_be_set_and_closing_twice_is_safe(both, name):
    """A closed registry opens itself again when asked."""
    registry, admin = both
    admin.register(name, {})
    registry.set_version_tag(name, 1, "hotgate.sync", "serving: ü")
    registry.close()
    registry.close()
    assert registry.model(name).versions[0].tags == {"hotgate.sync": "serving: ü"}


@pytest.mark.parametrize("uri", ["ftp://x", "mlruns", "databricks"])
def test_other_addresses_are_refused_with_what_is_wanted(uri):
    """The list of what works is in the message."""
    with pytest.raises(RegistryError, match="wanted http://"):
        open_registry(uri)
