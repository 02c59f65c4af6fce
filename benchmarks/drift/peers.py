"""The libraries that hotgate is compared with, each in a process with an environment of its own."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import ExitStack
from importlib import resources
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks.drift.detector import Found
from benchmarks.drift.figures import Cost, Verdicts
from benchmarks.errors import BenchError
from benchmarks.peers.environment import find_uv, installed, prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.drift.streams import RiverSpec

__all__ = ["PEERS", "Described", "Peer", "Ran", "environment_of", "lock_of", "program", "river_streams", "run_peers"]

TIMEOUT_S: Final = 1800.0
LAST_WORDS: Final = 2000
VARIABLES: Final = {
    "DO_NOT_TRACK": "1",
    "NML_DISABLE_USAGE_LOGGING": "1",
    "OMP_NUM_THREADS": "1",  # CPU time is compared, and two processes run at once
    "OPENBLAS_NUM_THREADS": "1",
}


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """A detector's words in the report."""

    name: str
    default: str
    knob: str
    labels: bool = False


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """A library as `programs/peer.py` runs it."""

    name: str
    environment: str
    """Its requirements: `requirements/<environment>.txt`."""
    packages: tuple[str, ...]
    """Those of the environment whose versions matter."""
    detectors: tuple[Described, ...]


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a peer."""

    versions: dict[str, str] = {}
    found: dict[str, Found] = {}
    failure: str | None = None


class _Answer(msgspec.Struct, frozen=True):
    """What the program writes."""

    verdicts: dict[str, dict[str, Verdicts]]
    failed: dict[str, str]
    cost: tuple[float, int] | None


# The slowest first: two run at a time.
PEERS: Final = {
    peer.name: peer
    for peer in (
        Peer(
            name="kswin",
            environment="river",
            packages=("river",),
            detectors=(
                Described(name="river KSWIN", default="each column and row, level 0.005, 30 of 100 rows", knob="level"),
            ),
        ),
        Peer(
            name="evidently",
            environment="evidently",
            packages=("evidently",),
            detectors=(
                Described(
                    name="Evidently preset",
                    default="a column by Wasserstein or Jensen-Shannon distance at 0.1 (with a reference of up to 1,000"
                    " rows by a test at 0.05); half of the columns",
                    knob="threshold a column",
                ),
                Described(name="Evidently, any column", default="the same, any column", knob="threshold a column"),
            ),
        ),
        Peer(
            name="nannyml",
            environment="nannyml",
            packages=("nannyml",),
            detectors=(
                Described(
                    name="NannyML JS",
                    default="Jensen-Shannon distance, mean + 3 standard deviations over the reference's chunks; any"
                    " column",
                    knob="multiple of the threshold",
                ),
                Described(
                    name="NannyML KS",
                    default="KS distance, mean + 3 standard deviations over the reference's chunks; any column",
                    knob="multiple of the threshold",
                ),
            ),
        ),
        Peer(
            name="frouros",
            environment="frouros",
            packages=("frouros",),
            detectors=(
                Described(name="frouros KS", default="p < 0.05 (it names no level), any column", knob="level"),
                Described(
                    name="frouros PSI", default="PSI ≥ 0.2 (it names no threshold), any column", knob="threshold"
                ),
            ),
        ),
        Peer(
            name="scipy",
            environment="river",
            packages=("scipy",),
            detectors=(
                Described(name="KS test", default="`ks_2samp`, p < 0.05, any column", knob="level"),
                Described(
                    name="KS test, Bonferroni", default="`ks_2samp`, p < 0.05 / columns, any column", knob="level"
                ),
            ),
        ),
        Peer(
            name="adwin",
            environment="river",
            packages=("river",),
            detectors=(Described(name="river ADWIN", default="each column and row, δ = 0.002", knob="δ, one of ten"),),
        ),
        Peer(
            name="errors",
            environment="river",
            packages=("river",),
            detectors=(
                Described(
                    name="river ADWIN on errors",
                    default="whether each prediction was wrong, δ = 0.002",
                    knob="δ, one of ten",
                    labels=True,
                ),
            ),
        ),
    )
}


def lock_of(environment: str) -> bytes:
    """The locked requirements of an environment."""
    return resources.files("benchmarks.drift").joinpath("requirements", f"{environment}.txt").read_bytes()


def environment_of(folder: Path, name: str, say: Callable[[str], None]) -> Path:
    """The Python of an environment, made if it is not there.

    Raises:
        BenchError: it could not be made.
    """
    return prepare(folder / name, lock_of(name), uv=find_uv(), say=say)


def program(name: str) -> str:
    """The path of a program."""
    return str(resources.files("benchmarks.drift").joinpath("programs", f"{name}.py"))


def river_streams(specs: Sequence[RiverSpec], folder: Path, work: Path, say: Callable[[str], None]) -> Path:
    """Have river's generators make streams; returns where they are.

    Raises:
        BenchError: they could not; the text has the program's last words.
    """
    python, asked, made = environment_of(folder, "river", say), work / "specs.json", work / "river"
    asked.write_bytes(msgspec.json.encode(specs))
    say("making river's streams")
    command = (str(python), "-P", program("river_streams"), str(asked), str(made))
    running = _run_all({"river": command}, work, 1, lambda _: None)["river"]
    if running.code:
        raise BenchError(f"river's streams could not be made:\n{running.last_words()}")
    return made


def run_peers(
    names: Sequence[str], plan: Path, folder: Path, *, at_once: int, say: Callable[[str], None]
) -> dict[str, Ran]:
    """Let each judge all streams, `at_once` of them at a time; what fails has its reason and no verdicts.

    Args:
        names: keys of `PEERS`.
        plan: the file that names the streams.
        folder: of the environments.
        at_once: processes; no more than there are cores, since CPU time is taken.
        say: told what begins and ends.
    """
    ready: dict[str, tuple[str, ...]] = {}
    ran: dict[str, Ran] = {}
    for name in names:
        try:
            python = environment_of(folder, PEERS[name].environment, say)
        except (BenchError, OSError) as error:
            ran[name] = Ran(failure=str(error))
            continue
        ran[name] = Ran(versions=installed(python, PEERS[name].packages))
        ready[name] = (str(python), "-P", program("peer"), name, str(plan), str(plan.with_name(f"{name}.json")))
    for name, running in _run_all(ready, plan.parent, at_once, say).items():
        ran[name] = _outcome(ran[name], running, plan.with_name(f"{name}.json"))
    return ran


class _Process:
    """A program that runs, its output in a file."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._log, self._begin = log, time.monotonic()
        with log.open("wb") as out:
            self._running = subprocess.Popen(
                command, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **VARIABLES}
            )

    @property
    def code(self) -> int | None:
        """Exit code; None while it runs. Ended when its time is up."""
        if self._running.poll() is None and time.monotonic() - self._begin > TIMEOUT_S:
            self.end()
        return self._running.poll()

    def end(self) -> None:
        """Kill it, if it runs."""
        if self._running.poll() is None:
            self._running.kill()
            self._running.wait()

    def last_words(self) -> str:
        """The end of its output."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-LAST_WORDS:].strip()


def _run_all(
    commands: dict[str, tuple[str, ...]], work: Path, at_once: int, say: Callable[[str], None]
) -> dict[str, _Process]:
    waiting, running, done = dict(commands), dict[str, _Process](), dict[str, _Process]()
    with ExitStack() as ends:
        while waiting or running:
            while waiting and len(running) < at_once:
                name = next(iter(waiting))
                say(f"{name} judges the streams")
                running[name] = _Process(waiting.pop(name), work / f"{name}.log")
                ends.callback(running[name].end)
            time.sleep(0.1)  # any of them may end first, and each has a time limit of its own
            for name in [name for name, process in running.items() if process.code is not None]:
                done[name] = running.pop(name)
                say(f"{name} is done")
    return done


def _outcome(ran: Ran, process: _Process, path: Path) -> Ran:
    """Read the answer; none, or one that is no answer, is a failure."""
    if process.code:
        return msgspec.structs.replace(ran, failure=f"ended with {process.code}:\n{process.last_words()}")
    try:
        answer = msgspec.json.decode(path.read_bytes(), type=_Answer)
    except (OSError, msgspec.DecodeError) as error:
        return msgspec.structs.replace(ran, failure=f"no answer: {error}")
    cost = None if answer.cost is None else Cost(cpu_s=answer.cost[0], rows=answer.cost[1])
    return msgspec.structs.replace(
        ran, found={name: Found(verdicts, answer.failed, cost) for name, verdicts in answer.verdicts.items()}
    )
