"""Which version has a role, and which settings are possible."""

from __future__ import annotations

import re

import pytest

import hotgate
from gateway.store import Entry
from gateway.sync.base import RegisteredVersion
from gateway.sync.decision import decision_key, matching, read_decisions
from gateway.sync.resolve import Resolution, Selector, resolve
from gateway.sync.settings import SyncSettings, tracking_uri

SERVED = Entry(version="1", sha256="0" * 64)


def versions(*stages, aliases=()):
    return [
        RegisteredVersion(version=number, stage=stage, aliases=tuple(a for a, n in aliases if n == number))
        for number, stage in enumerate(stages, 1)
    ]


@pytest.mark.parametrize(
    ("found", "role", "previous", "wanted"),
    [
        (versions("Production", "None"), "stage:Production", None, (1, (), False)),
        (versions("Production", "Staging"), "stage:staging", None, (2, (), False)),
        (versions(*["Production"] * 11), "stage:Production", SERVED, (11, tuple(range(1, 11)), False)),
        (versions("Archived"), "stage:Production", SERVED, (None, (), True)),
        (versions("Archived"), "stage:Production", None, (None, (), False)),
        ([], "stage:Production", SERVED, (None, (), True)),
        (versions("Production", "None", aliases=[("blue", 2)]), "alias:blue", None, (2, (), False)),
        (versions("Production", "None", aliases=[("Blue", 2)]), "alias:blue", SERVED, (None, (), True)),
    ],
)
def test_resolution(found, role, previous, wanted):
    """The highest number of the stage, the alias exactly, or an orphan if one was served."""
    got: Resolution = resolve(found, Selector.parse(role), previous)
    assert (got.version and got.version.version, got.others, got.orphaned) == wanted


@pytest.mark.parametrize("text", ["Production", "stage:Archived", "stage:", "alias:", "stage:None", ""])
def test_a_role_that_nothing_can_have_is_refused(text):
    """The message tells the three forms."""
    with pytest.raises(ValueError, match=rf"must be stage:Production, stage:Staging or alias:NAME, not '{text}'"):
        Selector.parse(text)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("poll_interval_s", 0.01, "poll_interval_s must be 0.05 to 3600, not 0.01"),
        ("jitter", 2.0, "jitter must be 0 to 1, not 2"),
        ("hold_objects_s", -1.0, "hold_objects_s must be 0 to inf, not -1"),
        ("history_keep", 0, "history_keep must be 1 to 10000, not 0"),
        ("tag_wait_s", float("nan"), "tag_wait_s must be 0 to 86400, not nan"),
        ("max_model_bytes", 0, "max_model_bytes must be 1 to 1099511627776, not 0"),
        ("champion", "Production", "champion must be stage:Production"),
        ("challenger", "stage:Production", "challenger must differ from champion, not 'stage:Production'"),
        ("models", [], 'models must be "*" or a list of names, not []'),
    ],
)
def test_an_impossible_setting_names_key_bound_and_value(key, value, message):
    """A typo ends the start, not the night."""
    with pytest.raises(ValueError, match=re.escape(message)):
        SyncSettings(**{key: value})


def test_settings_come_from_the_environment(tmp_path, monkeypatch):
    """As for every section."""
    monkeypatch.chdir(tmp_path)
    environ = {
        "HOTGATE_SYNC_MODELS": '["a", "b"]',
        "HOTGATE_SYNC_CHAMPION": "alias:live",
        "HOTGATE_SYNC_CHALLENGER": "",
    }
    settings = hotgate.load_settings("sync", SyncSettings, environ)
    assert (settings.models, settings.champion, settings.challenger) == (["a", "b"], "alias:live", "")
    assert hotgate.load_settings("sync", SyncSettings, {"HOTGATE_SYNC_MODELS": "*"}).models == "*"
    with pytest.raises(hotgate.SettingsError, match="poll_interval_s must be"):
        hotgate.load_settings("sync", SyncSettings, {"HOTGATE_SYNC_POLL_INTERVAL_S": "0"})


def test_where_the_registry_is(tmp_path):
    """The setting, else MLflow's own variable, else the home's file."""
    environ = {"MLFLOW_TRACKING_URI": "http://env"}
    assert tracking_uri(SyncSettings(tracking_uri="http://set"), tmp_path, environ) == "http://set"
    assert tracking_uri(SyncSettings(), tmp_path, environ) == "http://env"
    assert tracking_uri(SyncSettings(), tmp_path, {}) == f"sqlite:///{tmp_path}/mlflow.db"


def test_decision_keys_of_one_moment_differ_and_others_tags_are_left_out():
    """What somebody wrote by hand under the prefix is nobody's decision."""
    from datetime import UTC, datetime

    now = datetime(2027, 1, 1, tzinfo=UTC)
    assert len({decision_key(now) for _ in range(50)}) == 50
    assert read_decisions({"hotgate.decision.x": "{}", "hotgate.decision.y": "no", "other": "1"}) == []
    assert matching({}, "stage:Production", "1") is None
