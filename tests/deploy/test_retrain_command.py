"""`hotgate retrain` as it is typed, its steps as commands: a small program stands for git, DVC and hotgate."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from harness import wait_until
from retrain_world import alert

from deploy.retraining.base import StepError
from deploy.retraining.commands import Commands
from deploy.retraining.retrainer import Retrainer
from deploy.retraining.settings import RetrainSettings
from deploy.retraining.state import Candidate, StateFile
from gateway.sync.decision import Decision
from hotgate import main

CANDIDATE = Candidate(name="m", version="2", sha256="new")

# Writes down what it was called with, and answers as a file beside it says: `{"gate": [exit code, standard output]}`.
STAND_IN = """#!{python} -S
import json, os, signal, sys
words, folder = sys.argv[1:], {folder!r}
with open(folder + "/calls", "a") as file:
    print(json.dumps([words, os.getcwd(), os.environ["HOTGATE_HOME"]]), file=file)
with open(folder + "/answers.json") as file:
    code, text = json.load(file).get(words[0], [0, ""])
print("progress of", words[0], file=sys.stderr, flush=True)
if text == "hang":  # until it is killed, or, forgotten, for a minute
    signal.alarm(60)
    signal.pause()
print("chatter\\n" + text)
sys.exit(code)
"""


def decided(**changes: str) -> str:
    """What `hotgate history --json` prints."""
    given = {
        "who": "x",
        "when": datetime.now(UTC),
        "action": "promote",
        "target": "stage:Production",
        "before": "1",
        "after": "2",
        "verdict": "gate: pass",
        "sha256": "new",
    }
    return msgspec.json.encode([Decision(**{**given, **changes})]).decode()


class Programs:
    """A folder with the stand-in, and what it was told and did."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "stand-in"
        self.path.write_text(STAND_IN.format(python=sys.executable, folder=str(folder)))
        self.path.chmod(0o755)
        self.answers = {
            "pipeline": [0, json.dumps({"name": "m", "version": "2", "sha256": "new", "created": True, "file": "f"})],
            "gate": [0, json.dumps({"outcome": "pass", "champion": "1", "checks": []})],
            "history": [0, "[]"],
        }
        self.answer()

    def answer(self, **answers: list) -> None:
        """Answer otherwise from now on."""
        self.answers.update(answers)
        (self.folder / "answers.json").write_text(json.dumps(self.answers))

    @property
    def calls(self) -> list[list]:
        """Words, folder and home of each."""
        path = self.folder / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def called(self) -> list[str]:
        """The first word of each."""
        return [words[0] for words, _, _ in self.calls]


@pytest.fixture
def programs(tmp_path):
    """In an own folder."""
    (tmp_path / "bin").mkdir()
    return Programs(tmp_path / "bin")


@pytest.fixture
def project(tmp_path):
    """Of the model m."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "params.yaml").write_text("name: m\n")
    return folder


@pytest.fixture
def lock(tmp_path):
    """A descriptor that stands for the lock's."""
    with (tmp_path / "lock").open("w") as file:
        yield file.fileno()


@pytest.fixture
def settings(project, programs):
    """With the stand-in for git and DVC."""
    pull = (f"{programs.path} fetch --all 'two words'", f"{programs.path} dvc-pull")
    return RetrainSettings(project=str(project), pull=pull, promote=True)


@pytest.fixture
def commands(settings, programs, lock, tmp_path):
    """The steps."""
    return Commands(settings, tmp_path / "home", lock, hotgate=[str(programs.path)])


def test_the_steps_are_what_a_person_would_type(commands, programs, project, tmp_path, capfd):
    """Arguments, folders, home; results from the last line, progress passed on."""
    commands.pull()
    assert commands.build("m") == CANDIDATE
    assert commands.judge(CANDIDATE).champion == "1"
    assert not commands.was_promoted(CANDIDATE, "why")
    commands.promote(CANDIDATE, "why")
    here = str(Path.cwd())
    assert [(words, folder) for words, folder, _ in programs.calls] == [
        (["fetch", "--all", "two words"], str(project)),
        (["dvc-pull"], str(project)),
        (["pipeline", "--project", str(project), "--json"], here),
        (["gate", "m", "2", "--json"], here),
        (["history", "m", "--json"], here),
        (["promote", "m", "2", "--who", "hotgate retrain", "--reason", "why", "--json"], here),
    ]
    assert {home for _, _, home in programs.calls} == {str(tmp_path / "home")}
    out, err = capfd.readouterr()
    assert (out, err.splitlines()[:2]) == ("", ["progress of fetch", "progress of dvc-pull"])


def test_what_was_promoted_is_told_by_its_reason(commands, programs):
    """Not by the version alone, and not by a rollback to it."""
    cases = (({}, True), ({"after": "3"}, False), ({"why": "by hand"}, False), ({"action": "rollback"}, False))
    for changes, there in cases:
        programs.answer(history=[0, decided(**{"why": "why", **changes})])
        assert commands.was_promoted(CANDIDATE, "why") is there


@pytest.mark.parametrize(("code", "outcome"), [(0, "pass"), (1, "fail"), (3, "inconclusive")])
def test_the_gates_exit_code_and_report_must_agree(commands, programs, code, outcome):
    """A traceback ends with 1 too, and is no verdict."""
    programs.answer(gate=[code, json.dumps({"outcome": outcome, "when": "now"})])
    assert commands.judge(CANDIDATE).outcome == outcome
    programs.answer(gate=[code, json.dumps({"outcome": "pass" if code else "fail"})])
    with pytest.raises(StepError, match=f"but its exit code {code} is {outcome}"):
        commands.judge(CANDIDATE)
    programs.answer(gate=[code, "Traceback"])
    with pytest.raises(StepError, match=r"hotgate gate printed no result .*: b'Traceback'"):
        commands.judge(CANDIDATE)


def test_a_failed_command_is_told_with_what_it_said(commands, programs):
    """Its words, its exit code, its last lines."""
    programs.answer(**{"dvc-pull": [7, ""]})
    with pytest.raises(StepError, match=r"dvc-pull` ended with exit code 7: progress of dvc-pull$"):
        commands.pull()
    programs.answer(gate=[4, ""])
    with pytest.raises(StepError, match=r"^`hotgate gate m 2 --json` ended with exit code 4: progress of gate$"):
        commands.judge(CANDIDATE)


def test_a_command_that_is_not_there_is_named(settings, lock, tmp_path):
    """With the system's word."""
    commands = Commands(msgspec.structs.replace(settings, pull=("no-such-program x",)), tmp_path, lock)
    with pytest.raises(StepError, match=r"`no-such-program x` cannot be started: .*No such file"):
        commands.pull()


def test_a_command_that_hangs_is_stopped(settings, programs, lock, tmp_path):
    """After step_timeout_s."""
    programs.answer(gate=[0, "hang"])
    quick = msgspec.structs.replace(settings, step_timeout_s=1)
    commands = Commands(quick, tmp_path, lock, hotgate=[str(programs.path)])
    with pytest.raises(StepError, match="`hotgate gate m 2 --json` was stopped after 1 s"):
        commands.judge(CANDIDATE)


def test_a_project_of_another_model_is_not_built(commands, programs, project):
    """Nor one whose parameters cannot be read."""
    with pytest.raises(StepError, match=r"makes m, not other: set \[retrain\] models to m"):
        commands.build("other")
    (project / "params.yaml").write_text("nme: m\n")
    with pytest.raises(StepError, match=r"params\.yaml: .*did you mean 'name'"):
        commands.build("m")
    (project / "params.yaml").unlink()
    with pytest.raises(StepError, match=r"params\.yaml"):
        commands.build("m")
    assert programs.calls == []


CHILD = """
import sys
from functools import partial
from pathlib import Path
import msgspec
from deploy.retraining.alert import alert_of
from deploy.retraining.commands import Commands
from deploy.retraining.retrainer import Retrainer
from deploy.retraining.settings import RetrainSettings
folder, settings, program = Path(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=RetrainSettings), sys.argv[3]
steps = partial(Commands, settings, folder, hotgate=[program])
Retrainer(folder / "retrain", steps, settings).handle(alert_of(sys.stdin.buffer.read()))
"""


@pytest.mark.process
@pytest.mark.parametrize("step", ["gate", "promote"])
def test_after_kill_9_its_step_holds_the_lock_and_the_next_run_goes_on(programs, settings, tmp_path, step):
    """Nothing runs twice at once, and what the step that outlived it did is not done again."""
    programs.answer(**{step: [0, "hang"]})
    arguments = [sys.executable, "-c", CHILD, str(tmp_path), msgspec.json.encode(settings).decode(), str(programs.path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE) as child:
        child.stdin.write(msgspec.json.encode(alert()))
        child.stdin.close()
        _until(lambda: step in programs.called, child)
        child.kill()
    steps = partial(Commands, settings, tmp_path, hotgate=[str(programs.path)])
    retrainer = Retrainer(tmp_path / "retrain", steps, settings)
    held = retrainer.handle(alert())
    assert (held.brake, str(child.pid) in held.why) == ("busy", True)
    (left,) = _running(str(programs.folder))
    os.kill(left, signal.SIGKILL)
    _until(lambda: not _running(str(programs.folder)))

    (attempt,) = StateFile(tmp_path / "retrain" / "state.json").read().attempts
    assert attempt.outcome is None
    if step == "promote":  # it came through before it died
        reason = programs.calls[-1][0][programs.calls[-1][0].index("--reason") + 1]
        programs.answer(history=[0, decided(why=reason)])
    programs.answer(**{step: [0, json.dumps({"outcome": "pass"})]})
    before = len(programs.called)
    assert retrainer.handle(alert()).outcome == "promoted"
    assert programs.called[before:] == (["gate", "history", "promote"] if step == "gate" else ["history"])


def _running(word: str) -> list[int]:
    """Processes in whose command line a word stands, but for this one."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes()
        except OSError:
            continue
        if word.encode() in text:
            found.append(int(path.parent.name))
    return found


def _until(there, child=None) -> None:
    """Wait for it, as long as the child lives."""

    def looked():
        found = there()
        assert found or child is None or child.poll() is None
        return found

    wait_until(looked)


@pytest.fixture
def typed(tmp_path, project, monkeypatch):
    """Types `hotgate retrain` with settings and a home of its own; no command is in `pull`."""
    monkeypatch.setenv("HOTGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOTGATE_CONFIG", str(tmp_path / "hotgate.toml"))
    (tmp_path / "hotgate.toml").write_text(f'[retrain]\nproject = "{project}"\npull = ["false"]\nmodels = ["m"]\n')
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def run(*words: str, given: bytes = b""):
        return CliRunner().invoke(main, ["retrain", *words], input=io.BytesIO(given))

    return run


def test_the_command_says_what_it_decided_and_why(typed, tmp_path):
    """A failed step is exit code 1 and a report; the same breach again is 5; released it is tried again."""
    first = typed("--alert", "-", "--json", given=msgspec.json.encode(alert()))
    result = json.loads(first.stdout)
    assert first.exit_code == 1
    assert (result["outcome"], result["why"]) == ("failed", "`false` ended with exit code 1: it said nothing")
    assert Path(result["report"]).parent == tmp_path / "home" / "retrain" / "reports"

    (tmp_path / "alert.json").write_bytes(msgspec.json.encode(alert()))
    second = typed("--alert", str(tmp_path / "alert.json"))
    assert second.exit_code == 5
    assert second.stdout.startswith("m: braked by breach: it was tried at ")

    assert typed("--release", "b1").exit_code == 2
    assert typed("--release", "nothing", "--reason", "mended").exit_code == 1
    assert typed("--release", "b1", "--reason", "mended").stdout == "b1 may be tried again, and its file judged again\n"
    third = typed("--alert", str(tmp_path / "alert.json"))
    assert (third.exit_code, third.stdout.startswith("m: braked by cool_down: ")) == (5, True)


def test_a_damaged_state_is_exit_code_4(typed, tmp_path):
    """Named, with the cure."""
    folder = tmp_path / "home" / "retrain"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text("{")
    result = typed("--alert", "-", given=msgspec.json.encode(alert()))
    assert result.exit_code == 4
    assert "is damaged" in result.stderr
    assert "move it away" in result.stderr


def test_a_github_event_carries_the_alert(typed):
    """Nested, as GitHub takes at most ten keys in a payload."""
    event = {"action": "hotgate-alert", "client_payload": {"alert": msgspec.to_builtins(alert(model="other"))}}
    result = typed("--from-github", "-", "--json", given=json.dumps(event).encode())
    assert (result.exit_code, json.loads(result.stdout)["brake"]) == (5, "model")


@pytest.mark.parametrize(
    ("option", "given", "said"),
    [
        ("--alert", b"", "-: that is no alert: Input data was truncated"),
        ("--alert", b"[]", "Expected `object`, got `array`"),
        ("--alert", b'{"id": "b1"}', "Object missing required field `state`"),
        ("--alert", msgspec.json.encode(alert("../x")), "letters, digits, '.', '_' and '-', not '../x'"),
        ("--alert", msgspec.json.encode(alert(severity="bad")), "severity is warning or critical, not 'bad'"),
        ("--alert", b'{"id": "\xff"}', "that is no alert: "),
        ("--from-github", msgspec.json.encode(alert()), "Object missing required field `client_payload`"),
        ("--from-github", b'{"client_payload": {"alert": {}}}', "at `$.client_payload.alert`"),
    ],
)
def test_what_is_no_alert_is_exit_code_2(typed, tmp_path, option, given, said):
    """What is wrong, and where; nothing is kept."""
    result = typed(option, "-", given=given)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not (tmp_path / "home").exists()


def test_wrong_use_is_exit_code_2(typed, tmp_path):
    """No source, two sources, no such project."""
    assert "give one of" in typed().stderr
    assert typed("--alert", "-", "--release", "b1").exit_code == 2
    (tmp_path / "hotgate.toml").write_text('[retrain]\nproject = "nowhere"\n')
    result = typed("--alert", "-", given=msgspec.json.encode(alert()))
    assert (result.exit_code, "project must be a folder, not 'nowhere'" in result.stderr) == (2, True)
