"""`hotgate watch`: what fires is answered, once, over restarts, and when the brakes let go."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import msgspec
import pytest
from harness import wait_until
from retrain_world import BEGIN, HOUR, Killed, World, alert

from deploy.retraining.follow import firing, follow, look
from gateway.observe.alert_file import AlertFile


@pytest.fixture
def path(tmp_path):
    """Where the observer writes."""
    (tmp_path / "monitor").mkdir()
    return tmp_path / "monitor" / "alerts.jsonl"


@pytest.fixture
def world(tmp_path):
    """In which a version that passes is promoted."""
    return World(tmp_path / "retrain")


def test_what_has_begun_and_not_ended_fires(path, monkeypatch):
    """Over the older file, a line that is half written, and one that rose in severity."""
    assert firing(path) == []
    monkeypatch.setattr("gateway.observe.alert_file.FILE_BYTES", 1)
    log = AlertFile(path)
    log.deliver(alert("b1", severity="warning"))
    assert path.stat().st_size > 1
    log.deliver(alert("b2"))
    monkeypatch.undo()
    log.deliver(alert("b3"))
    log.deliver(alert("b3", state="resolved", ended_at=BEGIN + 1))
    log.deliver(alert("b1"))
    with path.open("ab") as file:
        file.write(b'{"id": "b4", "state"')
    assert path.with_name("alerts.jsonl.1").exists()
    assert [(one.id, one.severity) for one in firing(path)] == [("b1", "critical"), ("b2", "critical")]


def test_what_a_brake_holds_is_answered_when_it_lets_go(path, world):
    """Each decision is told once."""
    log, told, seen = AlertFile(path), [], {}
    log.deliver(alert("b1"))
    world.verdict = "fail"

    def again():
        nonlocal seen
        seen = look(path, world.retrainer, lambda one: told.append((one.breach, one.brake or one.outcome)), seen)

    again()
    log.deliver(alert("b2"))
    again()
    again()
    assert told == [("b1", "no_improvement"), ("b2", "cool_down")]
    world.now += 7 * HOUR
    world.data, world.verdict = "newer", "pass"
    again()
    again()
    assert told[2:] == [("b2", "promoted")]
    assert len(world.promotions) == 1


def test_a_breach_that_ended_while_it_was_held_is_not_answered(path, world):
    """It would be in vain."""
    log = AlertFile(path)
    log.deliver(alert("b1"))
    look(path, world.retrainer, lambda _: None, {})
    log.deliver(alert("b2", model="m"))
    log.deliver(alert("b2", model="m", state="resolved"))
    world.now += 7 * HOUR
    assert set(look(path, world.retrainer, lambda _: None, {})) == {"b1"}
    assert world.did.count("pull") == 1


def test_a_restart_finishes_what_was_broken_off_and_repeats_nothing(path, world):
    """Also when the breach has ended meanwhile."""
    AlertFile(path).deliver(alert("b1"))
    world.kill_at = "judge"
    with pytest.raises(Killed):
        look(path, world.retrainer, lambda _: None, {})
    world.kill_at, told = "", []
    AlertFile(path).deliver(alert("b1", state="resolved"))
    for _ in range(2):
        follow(path, world.retrainer, told.append, pytest.fail, lambda: True)
    assert [(one.breach, one.outcome) for one in told] == [("b1", "promoted")]
    assert world.did == ["pull", "build", "judge", "judge", "promote"]


def test_alerts_that_cannot_be_read_are_told_once_and_waited_for(path, world):
    """A folder stands in their place for a while."""
    path.mkdir()
    told, said, looks = [], [], []

    def wait():
        looks.append(1)
        if len(looks) == 2:
            path.rmdir()
            AlertFile(path).deliver(alert("b1"))
        return len(looks) == 3

    follow(path, world.retrainer, told.append, said.append, wait)
    assert len(said) == 1
    assert "the alerts cannot be read: " in said[0]
    assert [one.outcome for one in told] == ["promoted"]


@pytest.mark.process
def test_sigterm_ends_it_in_the_middle_of_a_step(path, tmp_path):
    """Exit code 0, nothing left running, and the attempt is there to be gone on with."""
    program = tmp_path / "hang"
    program.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
    program.chmod(0o755)
    (tmp_path / "hotgate.toml").write_text(f'[retrain]\npull = ["{program}"]\n')
    AlertFile(path).deliver(alert("b1"))
    environment = {**os.environ, "HOTGATE_HOME": str(tmp_path), "HOTGATE_CONFIG": str(tmp_path / "hotgate.toml")}
    words = [sys.executable, "-m", "hotgate", "watch", "--json"]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE) as process:
        pid = _eventually(lambda: int((tmp_path / "pid").read_text()), process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert process.stdout.read() == b""
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    (attempt,) = json.loads((tmp_path / "retrain" / "state.json").read_bytes())["attempts"]
    assert attempt["outcome"] is None

    (tmp_path / "hotgate.toml").write_text('[retrain]\npull = ["false"]\n')
    done = subprocess.run([*words, "--once"], env=environment, capture_output=True, check=True)
    (line,) = done.stdout.splitlines()
    result = msgspec.json.decode(line)
    assert (result["outcome"], result["breach"]) == ("failed", "b1")


def _eventually(value, process):
    """What it gives once it can, as long as the process lives."""

    def given():
        try:
            return [value()]
        except (OSError, ValueError):
            assert process.poll() is None
            return None

    (found,) = wait_until(given)
    return found
