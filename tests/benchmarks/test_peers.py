"""hotgate beside other servers: turns, answers, failures; and one short run of the real thing."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import msgspec
import numpy as np
import pytest
from harness import wait_until

import benchmarks.cli
from benchmarks.affinity import cores
from benchmarks.errors import BenchError
from benchmarks.load import LoadPlan
from benchmarks.peers.cli import peers as command
from benchmarks.peers.contest import ContestPlan, block_seconds, figures_of, rounds_in, turns
from benchmarks.peers.entrant import Entrant
from benchmarks.peers.figures import Load
from benchmarks.peers.peer import PEERS
from benchmarks.peers.wire import HOTGATE, INVOCATIONS, MOSEC, NATIVE, V2, check
from benchmarks.process import descendants
from benchmarks.subject import Subject

needs_two_cores = pytest.mark.skipif(len(cores()) < 2, reason="one core for the servers, one for the generator")

ANSWERS = {
    "hotgate": (HOTGATE, lambda scores: {"probabilities": {"bad": scores[0], "good": scores[1]}}),
    "native": (NATIVE, lambda scores: {"probabilities": scores}),
    "mosec": (MOSEC, lambda scores: {"probabilities": scores}),
    "v2": (V2, lambda scores: {"outputs": [{"name": "predict_proba", "shape": [1, 2], "data": scores}]}),
    "invocations": (INVOCATIONS, lambda scores: {"predictions": [scores]}),
}

SERVER = """
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self, body):
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(b"{}")
    def do_POST(self):
        (value,) = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["features"]
        if value == 3:
            print("no threes", flush=True)
            raise SystemExit
        self.answer(json.dumps({"probabilities": [value, 1 - value]}).encode())
    def log_message(self, *_):
        pass
class Server(http.server.HTTPServer):
    def handle_error(self, *_):
        raise
print("listening", flush=True)
Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def subject(*values: float) -> Subject:
    """A model of one feature, whose probabilities are the feature and the rest."""
    rows = np.array([[value] for value in values])
    return Subject(
        kind="linear",
        estimator=None,
        file=Path(),
        rows=rows,
        predictions=[0] * len(values),
        probabilities=np.hstack([rows, 1 - rows]),
        labels=("bad", "good"),
        tolerance=1e-5,
    )


def entrant(name="one", **options) -> Entrant:
    """A real server of a few lines; a row with a 3 ends it."""
    return Entrant(
        name, "a server", wire=NATIVE, command=lambda port: (sys.executable, "-c", SERVER, str(port)), **options
    )


def test_order_is_reversed_every_other_round():
    """Each server once for each load and round: whoever is first in one round is last in the next."""
    names, loads = [entrant(name) for name in "abc"], [Load(connections=1), Load(connections=2)]
    coming = turns(3, loads, names)
    order = [(turn.round, turn.load.connections, turn.entrant.name) for turn in coming]
    assert "".join(name for *_, name in order) == "abcabc" + "cbacba" + "abcabc"
    assert len(set(order)) == 18


def test_time_is_split_over_what_is_left():
    """A block's share grows when those before it were short, never beyond its bound; warm-up and start are paid for."""
    plan = ContestPlan(block_max_s=5.0, warmup_s=0.5)
    assert block_seconds(180.0, 100, plan) == pytest.approx(1.0)
    assert block_seconds(180.0, 50, plan) == pytest.approx(2.8)
    assert block_seconds(180.0, 2, plan) == 5.0
    assert block_seconds(-1.0, 2, plan) < 0


def test_short_time_means_fewer_rounds():
    """Rather fewer rounds than blocks of nothing, but one there is."""
    plan = ContestPlan(rounds=3, warmup_s=0.5)
    assert [rounds_in(left, 10, plan) for left in (1.0, 20.0, 40.0, 60.0, 600.0)] == [1, 1, 2, 3, 3]


def test_rate_is_a_column_besides():
    """The open loop comes after the closed ones, and its heading says what it is."""
    plan = ContestPlan(connections=(1, 32), rate_per_s=1500.0)
    assert [str(load) for load in plan.loads] == [
        "1 connection",
        "32 connections",
        "1,500 requests a second (open loop, Poisson)",
    ]


@pytest.mark.parametrize("protocol", ANSWERS)
@pytest.mark.parametrize("fault", [None, "value", "status", "shape", "json"])
def test_answers_of_every_protocol_are_held_against_scikit_learn(server, protocol, fault):
    """A wrong probability, an error or another shape is refused, with the row or the answer in the text."""
    wire, answer = ANSWERS[protocol]
    made = subject(0.25, 0.5)
    asked = [wire.body(row) for row in made.rows.tolist()]

    async def script(exchange):
        index = asked.index(exchange.body)
        wrong = fault if index == 1 else None
        scores = made.probabilities[index].tolist()
        value = answer([scores[0] + 2e-5, scores[1]] if wrong == "value" else scores)
        body = b"{" if wrong == "json" else msgspec.json.encode([] if wrong == "shape" else value)
        exchange.answer(500 if wrong == "status" else 200, body=body)

    server.play(script)
    if fault is None:
        assert check(server.port, wire, made) == 0
        assert server.requests[0].startswith(f"POST {wire.path} ".encode())
    else:
        told = {"value": "held-out row 1: answered", "status": f"{wire.path} answered 500"}
        with pytest.raises(BenchError, match=told.get(fault, f"{wire.path} answered 200")):
            check(server.port, wire, made)


def test_peer_with_a_wrong_answer_is_out(tmp_path, gone):
    """It is ended, its failure says what it answered and how its log ends, and nothing is raised."""
    one, made = entrant(), subject(0.25)
    made.probabilities[0, 0] = 0.5
    with ExitStack() as servers:
        one.start(servers, tmp_path, cores()[0], made)
        assert one.server is None
    assert "held-out row 0: answered [0.25, 0.75]" in one.failure
    assert one.failure.endswith("the log ends with:\nlistening")


def test_peer_that_dies_is_an_error_with_its_log(tmp_path, generator, gone):
    """Whoever stops answering under load has no figures: the failure has its exit code and its last words."""
    one, load = entrant(), Load(connections=1)
    with ExitStack() as servers:
        one.start(servers, tmp_path, cores()[0], subject(0.25))
        pid = one.server.pid
        fatal = LoadPlan(
            port=one.server.port, path="/predict", body=NATIVE.body([3.0]), seconds=0.1, warmup_s=0, drain_s=0.1
        )
        one.measure(generator, fatal, load, 0)
    assert "ended with" in one.failure
    assert "no threes" in one.failure
    assert figures_of(one, [one, one], [load]).cells == ()
    assert gone([pid])


def test_peer_that_died_unnoticed_is_an_error_in_the_end(tmp_path, gone):
    """Figures of a server that did not live to the end are not believed."""
    one = entrant()
    with ExitStack() as servers:
        one.start(servers, tmp_path, cores()[0], subject(0.25))
        os.kill(one.server.pid, signal.SIGKILL)
        assert gone([one.server.pid])
        one.stop()
    assert "ended with -9" in one.failure


def test_peer_is_pinned_and_ended(tmp_path, gone):
    """It runs on its core until it is stopped; its own folder is where it runs."""
    one = entrant()
    with ExitStack() as servers:
        one.start(servers, tmp_path, cores()[-1], subject(0.25, 0.5))
        pid = one.server.pid
        assert os.sched_getaffinity(pid) == {cores()[-1]}
        assert Path(f"/proc/{pid}/cwd").resolve() == tmp_path / "one"
        assert one.error_max == 0
        one.stop()
        assert gone([pid])
    assert (one.failure, one.server) == (None, None)


def test_without_hotgate_there_is_no_comparison(tmp_path):
    """What every ratio is taken to must not fail."""
    one = entrant(needed=True)
    with pytest.raises(BenchError, match=r"(?s)one: .*no threes"), ExitStack() as servers:
        one.start(servers, tmp_path, cores()[0], subject(3.0))


def test_peers_programs_know_nothing_of_hotgate():
    """They run in environments that do not have it."""
    root = Path(benchmarks.cli.__file__).parents[1]
    rooms = {path.parent.name for path in root.glob("*/__init__.py")} | {"hotgate"}
    programs = sorted((root / "benchmarks" / "peers" / "programs").glob("*_server.py"))
    assert {path.stem for path in programs} == {peer.program for peer in PEERS.values()}
    for path in programs:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not rooms & {name.partition(".")[0] for name in names}, path.name


def test_help_and_summary_agree():
    """`hotgate bench --help` prints the command's own first line."""
    assert command.help.splitlines()[0] == benchmarks.cli.SUMMARIES["peers"]


def bench(home: Path, *options: str) -> tuple[list[str], dict[str, str]]:
    """The command, and its environment."""
    return [sys.executable, "-m", "hotgate", "bench", "peers", *options], {**os.environ, "HOTGATE_HOME": str(home)}


@pytest.mark.process
@needs_two_cores
@pytest.mark.skipif("HOTGATE_LONG" not in os.environ, reason="many seconds: HOTGATE_LONG=1 make test")
def test_a_peer_that_cannot_be_installed_fails_alone(tmp_path):
    """The two that are needed have figures, the peer its reason, and the exit code is 1."""
    (tmp_path / "bench" / "peers").mkdir(parents=True)
    (tmp_path / "bench" / "peers" / "mosec").write_text("no folder can be made here")
    arguments, environment = bench(tmp_path, "--only", "mosec", "--minutes", "0.15", "--output", str(tmp_path / "page"))
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stderr.endswith("failed: mosec\n")
    for text in (done.stdout, (tmp_path / "page").read_text()):
        assert "mosec has no figures" in text
        assert "| mosec | error | - |" in text
        assert text.count("| fixed | ") == 3
        assert "| hotgate | error" not in text


@pytest.mark.process
@needs_two_cores
def test_interrupted_comparison_leaves_nothing_behind(tmp_path, gone):
    """SIGTERM in the middle of a block: the servers that stood still end as well as the one that was loaded."""
    arguments, environment = bench(tmp_path, "--only", "fixed")
    with subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True) as process:
        next(line for line in process.stderr if "1 connection: fixed" in line)
        below = descendants(process.pid)
        try:
            wait_until(lambda: any(_stopped(pid) for pid in below), what="that hotgate stands still")
            assert not all(_stopped(pid) for pid in below)
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert len(below) >= 4
    assert gone(below)


def _stopped(pid: int) -> bool:
    try:
        return ") T " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
