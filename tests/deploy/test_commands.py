"""`hotgate promote`, `rollback` and `history` as a user types them, on a real registry."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest
from click.testing import CliRunner

import hotgate
from gateway.store import Cause, Entry, ModelRoles, ModelStore

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


def at(call, *arguments):
    return json.loads(call("history", "cancer", "--json", "--at", *arguments).output)


def test_history_at_a_time_tells_what_was_there_by_whom_and_why(call):
    """In one line, then the decisions until then; a time without a zone is UTC."""
    for version in ("1", "2"):
        call("promote", "cancer", version, "--who", "ada", *FORCE, f"reason {version}")
    call("promote", "cancer", "3", "--to", "Staging", "--who", "eve")
    first, second, _ = json.loads(call("history", "cancer", "--json").output)
    lines = call("history", "cancer", "--at", first["when"]).output.splitlines()
    assert (len(lines), "stage:Production of cancer was version 1, by ada's promote of " in lines[0]) == (2, True)
    assert [line.rpartition(": ")[2] for line in lines] == ["reason 1 (forced)"] * 2
    assert (at(call, first["when"])["version"], at(call, second["when"])["version"]) == ("1", "2")
    assert at(call, second["when"].replace("Z", ""))["decision"] == second
    east = datetime.fromisoformat(first["when"]).astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert at(call, east.isoformat())["decision"] == first
    assert at(call, "0s")["version"] == "2"
    assert at(call, "0s", "--to", "Staging")["decision"]["who"] == "eve"


def test_history_at_a_time_before_any_decision(call):
    """That there was none is said, not that nothing served."""
    call("promote", "cancer", "1", *FORCE, "first")
    assert call("history", "cancer", "--at", "2h").output.rstrip().endswith(
        "stage:Production of cancer was no version, as far as is known: no decision until then"
    )  # fmt: skip
    answer = at(call, "2020-01-01")
    assert (answer["at"], answer["version"], answer["decisions"]) == ("2020-01-01T00:00:00Z", None, [])


def test_history_at_a_time_tells_of_moves_by_hand(call, admin, tmp_path):
    """The registry keeps no time of them, this machine's store does."""
    call("promote", "cancer", "1", *FORCE, "first")
    admin.stage("cancer", 2, "Production")
    line = call("history", "cancer", "--at", "0s").output.splitlines()[0]
    assert "was version 1, by" in line
    assert "; but somebody put version 2 there by hand, at an unknown time between " in line
    assert line.endswith(" and now")
    with ModelStore(tmp_path / "home" / "store").writer() as writer:
        entry = Entry(version="2", sha256=writer.put(b"two"))
        writer.publish({"cancer": ModelRoles(champion=entry)}, {("cancer", "champion"): Cause(reason="seen")})
    told = call("history", "cancer", "--at", "0s").output.splitlines()[1]
    assert told.startswith("this machine's store served version 2, since ")
    assert told.endswith(" UTC: seen (registry)")
    assert at(call, "0s", "--to", "Staging")["served"] is None
    assert at(call, "1h")["served"] is None


@pytest.mark.parametrize("time", ["yesterday", "2 hours ago", "25:00", "0001-01-01T00:00+05:00", "9999999999d"])
def test_history_at_no_time_is_a_wrong_use(call, time):
    """Exit code 2, with the forms that there are and what was given."""
    result = call("history", "cancer", "--at", time)
    assert result.exit_code == 2
    assert "a time is like 2026-03-01T14:30, in UTC unless" in result.stderr
    assert repr(time) in result.stderr


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
        (("history", "nobody", "--at", "1h"), "nobody"),
        (("history", "cancer", "--at", "2999-01-01"), "2999-01-01 00:00:00 UTC is still to come"),
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
