"""The page for the one on call: its commands are run as printed, on a real registry and a real model store."""

from __future__ import annotations

import re
import shlex
import warnings
from pathlib import Path

import pytest
from click.testing import CliRunner
from harness import free_port
from registries import Admin

import hotgate
from gateway.store import Entry, ModelRoles, ModelStore

PAGE = (Path(__file__).parents[2] / "docs" / "roll-back.md").read_text()
NAME = "cancer-classifier"


def lines(heading):
    """The shell lines under a heading, or in a part that begins with such bold words."""
    part = re.split(r"^## |^\*\*", PAGE.split(heading, 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    blocks = re.findall(r"```sh\n(.*?)```", part, re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


@pytest.fixture
def admin(tmp_path, empty_database, monkeypatch):
    """A home as `hotgate` makes one, whose registry is its own; the current directory is where it lies."""
    home = tmp_path / ".hotgate"
    home.mkdir()
    (home / "mlflow.db").write_bytes(empty_database.read_bytes())
    monkeypatch.chdir(tmp_path)
    for key in ("MLFLOW_TRACKING_URI", "HOTGATE_HOME"):
        monkeypatch.delenv(key, raising=False)
    return Admin(f"sqlite:///{home}/mlflow.db", home / "artifacts")


@pytest.fixture
def run(admin):
    """Run a line as it is printed."""

    def call(line, **placeholders):
        for word, value in placeholders.items():
            line = line.replace(word, value)
        program, *arguments = shlex.split(line, comments=True)
        assert program == "hotgate"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # mlflow's, of itself
            return CliRunner().invoke(hotgate.main, arguments, prog_name="hotgate")

    return call


@pytest.fixture
def four(admin, run):
    """Versions 1 to 4, promoted one after the other."""
    for number in "1234":
        admin.register(NAME, {}, tags={"hotgate.parity": "pass", "hotgate.sha256": number * 64})
        assert run(f"hotgate promote {NAME} {number} --force --reason r").exit_code == 0
    return admin


def serving(admin):
    return [
        int(item.version)
        for item in admin.client.search_model_versions(f"name='{NAME}'")
        if item.current_stage == "Production"
    ]


def test_every_command_of_the_page_is_one_that_hotgate_takes():
    """Parsed, not run: no option that does not exist, no argument too many."""
    found = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    commands = [shlex.split(line, comments=True) for line in found if line.startswith("hotgate ")]
    assert {words[1] for words in commands} == {
        "drift",
        "history",
        "promote",
        "register",
        "rollback",
        "serve",
        "verify",
    }
    assert {line.split()[0] for line in found} == {"curl", "hotgate", "tail"}
    for _, name, *arguments in commands:
        words = [word.replace(".hotgate/store/objects/SHA256.onnx", __file__) for word in arguments]
        hotgate.main.get_command(None, name).make_context(name, words)


def test_the_one_command_does_it(four, run):
    """As printed, and what it prints; before and after, the history answers as the page says."""
    (rollback,) = lines("# Roll back at 3 a.m.")
    for line in lines("## Look first"):
        if line.startswith("hotgate history"):
            assert run(line).exit_code == 0
    done = run(rollback)
    assert done.output.startswith("cancer-classifier: stage:Production is version 3 (before: version 4), sha256 ")
    assert serving(four) == [3]
    (_, check) = lines("## See that it worked")
    told = run(check).output.splitlines()[0]
    assert "was version 3, by " in told
    assert told.endswith(": wrong answers since 02:40 (served before)")


def test_again_goes_further_back_and_forth_is_a_promotion(four, run):
    """Too far is mended by the line that the page has for it."""
    (rollback,) = lines("# Roll back at 3 a.m.")
    (forth,) = lines(
        "## It went wrong\n\n**Still bad.** Roll back again: a second rollback goes further back, not forth."
    )
    assert [run(rollback).exit_code, run(rollback).exit_code, serving(four)] == [0, 0, [2]]
    assert (run(forth).exit_code, serving(four)) == (0, [4])


def test_deleted_versions_are_passed_over_until_there_is_none(four, run):
    """It says so; then exit code 1."""
    (rollback,) = lines("# Roll back at 3 a.m.")
    four.client.delete_model_version(NAME, "3")
    assert "deleted meanwhile, so this goes further back: version 3" in run(rollback).stderr
    assert serving(four) == [2]
    four.client.delete_model_version(NAME, "1")
    done = run(rollback)
    assert (done.exit_code, "promote a version instead" in done.stderr, serving(four)) == (1, True, [2])


def test_a_deleted_version_is_made_again_from_the_store(four, run, linear):
    """Its object is a model file; the lines of the page register it as version 5 and promote that."""
    with ModelStore(Path(".hotgate/store").absolute()).writer() as writer:
        sha256 = writer.put(linear.file.data)
        writer.publish({NAME: ModelRoles(champion=Entry(version="3", sha256=sha256))}, {})
    tail, *commands = lines("**The version before was deleted.**")
    assert sha256 in Path(tail.split()[-1]).read_text()
    for line in commands:
        assert run(line, SHA256=sha256).exit_code == 0
    assert serving(four) == [5]


def test_without_a_registry_the_file_is_there_to_be_served(run, linear, monkeypatch):
    """Rollback says that nobody answers; the object passes the gateway's own check, as serving it has tests."""
    with ModelStore(Path(".hotgate/store").absolute()).writer() as writer:
        sha256 = writer.put(linear.file.data)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (rollback,) = lines("# Roll back at 3 a.m.")
    done = run(rollback)
    assert (done.exit_code, len(done.stderr.splitlines())) == (1, 1)
    assert "Connection refused" in done.stderr
    _, verify, serve = lines("**The registry is down.**")
    assert run(verify, SHA256=sha256).exit_code == 0
    assert serve.split()[:2] == ["hotgate", "serve"]
