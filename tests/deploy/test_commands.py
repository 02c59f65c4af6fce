"""`hotgate promote`, `rollback` and `history` as a user types them, on a real registry."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

import hotgate

GOOD = {"hotgate.parity": "pass", "hotgate.sha256": "a" * 64}
FORCE = ("--force", "--reason")


@pytest.fixture
def call(admin, sqlite_uri, tmp_path, monkeypatch):
    """Run a command on a registry with three good versions of `cancer` and one that was not certified."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_uri)
    monkeypatch.setenv("HOTGATE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for tags in (GOOD, GOOD, GOOD, {}):
        admin.register("cancer", {}, tags=tags)

    def run(*arguments):
        return CliRunner().invoke(hotgate.main, arguments, prog_name="hotgate")

    return run


def test_promotions_and_a_rollback_tell_what_they_did(call):
    """One line each; the history has who, when and why, oldest first."""
    assert (
        "stage:Production is version 1, sha256 aaaaaaaaaaaa"
        in call("promote", "cancer", "1", "--who", "ada", *FORCE, "first").output
    )
    assert "is version 2 (before: version 1)" in call("promote", "cancer", "2", *FORCE, "recall").output
    assert "is version 1 (before: version 2)" in call("rollback", "cancer", "--reason", "worse").output
    decisions = json.loads(call("history", "cancer", "--json").output)
    told = [(one["action"], one["from"], one["to"], one["why"]) for one in decisions]
    assert told == [
        ("promote", None, "1", "first"),
        ("promote", "1", "2", "recall"),
        ("rollback", "2", "1", "worse"),
    ]
    assert decisions[0]["who"] == "ada"
    lines = call("history", "cancer").output.splitlines()
    assert [line.split()[2] for line in lines] == ["promote", "promote", "rollback"]


def test_history_at_a_time_knows_only_what_was_decided_by_then(call):
    """Before the first decision there is none, and that is said."""
    call("promote", "cancer", "1", *FORCE, "first")
    assert json.loads(call("history", "cancer", "--at", "2020-01-01", "--json").output) == []
    assert (
        "no decision on cancer is recorded until 2020-01-01" in call("history", "cancer", "--at", "2020-01-01").output
    )
    assert len(json.loads(call("history", "cancer", "--at", "2999-01-01T00:00:00", "--json").output)) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("promote", "nobody", "1"), "nobody"),
        (("promote", "cancer", "9"), "9"),
        (("promote", "cancer", "4"), "no passing parity certificate"),
        (("promote", "cancer", "1"), "run `hotgate gate cancer 1`, or promote with --force --reason TEXT"),
        (("promote", "cancer", "x"), "a version is a number, not 'x'"),
        (("promote", "cancer", "1", "--to", "Moon"), "Moon"),
        (("promote", "cancer", "1", *FORCE, "r", "--expect-champion", "3"), "is held by no version, not by version 3"),
        (("rollback", "cancer"), "promote a version instead"),
    ],
)
def test_a_refusal_is_one_line_and_exit_code_1(call, arguments, message):
    """What, which value, what to do; no stack trace, and nothing moved."""
    result = call(*arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert json.loads(call("history", "cancer", "--json").output) == []


@pytest.mark.parametrize("reason", [(), ("--reason", " ")])
def test_force_needs_a_reason(call, reason):
    """A wrong use, exit code 2; the challenger needs neither."""
    result = call("promote", "cancer", "1", "--force", *reason)
    assert (result.exit_code, "--force needs --reason TEXT" in result.stderr) == (2, True)
    assert call("promote", "cancer", "1", "--to", "Staging").exit_code == 0
    assert [one["why"] for one in json.loads(call("history", "cancer", "--json").output)] == ["promoted by hand"]


def test_roles_by_alias_are_moved_as_the_sidecar_follows_them(call, admin, monkeypatch):
    """`[sync] champion = "alias:champion"`: Production means that alias."""
    monkeypatch.setenv("HOTGATE_SYNC_CHAMPION", "alias:champion")
    assert "alias:champion is version 2" in call("promote", "cancer", "2", "--to", "Production", *FORCE, "r").output
    assert str(admin.client.get_registered_model("cancer").aliases["champion"]) == "2"
