"""`hotgate demo`: the whole loop on one machine, from data to a served model and a second version to promote."""

from __future__ import annotations

import http.client
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MODEL", "DemoState", "prepare", "read_state", "run_demo"]

MODEL = "cancer-classifier"
START_S = 60.0


class DemoState(msgspec.Struct, frozen=True, kw_only=True):
    """What the first start made, so that the next one need not."""

    champion: str
    """The version in Production when the demo was made."""
    other: str
    """The second version."""
    row: list[float]
    """One held-out row."""


def _folder(home: Path) -> Path:
    return home / "demo"


def heldout_path(home: Path) -> Path:
    """The held-out rows that the traffic is drawn from, as CSV with the label last."""
    return _folder(home) / "heldout.csv"


def read_state(home: Path) -> DemoState | None:
    """What an earlier start has made, if it finished."""
    try:
        return msgspec.json.decode((_folder(home) / "demo.json").read_bytes(), type=DemoState)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def prepare(home: Path, progress: Callable[[int, int, str], None]) -> DemoState:
    """Train all candidates, register the two best and promote the best; the state file is written last.

    Training a second time gives the same files, which are the same versions, so an interrupted start is made good.
    """
    from deploy.promotion import promote
    from training.config import TrainConfig
    from training.tracking import connect
    from training.train import train

    result = train(TrainConfig(), home, progress)
    champion = result.register(result.best, result.saved).version
    other = result.register(result.candidates[1]).version
    client = connect(home)
    if client.get_model_version(MODEL, champion).current_stage != "Production":
        promote(client, MODEL, champion, who="hotgate demo", reason="the best candidate of the demo", forced=True)
    result.write_heldout_csv(heldout_path(home))
    split = result.basis.split
    state = DemoState(champion=champion, other=other, row=result.basis.dataset.rows[split.heldout[0]].tolist())
    temporary = _folder(home) / "demo.json.tmp"
    temporary.write_bytes(msgspec.json.encode(state))
    temporary.replace(_folder(home) / "demo.json")
    return state


def run_demo(home: Path, *, host: str, port: int, workers: int, once: bool) -> int:
    """Prepare if need be, serve, tell what to try; returns the server's exit code.

    With `once`, predict, promote the other version, see it answer, roll back, and stop.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop as on Ctrl-C: the server is ours to end
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell has told background jobs to ignore it
    state = read_state(home)
    if state is None:
        # Training is a process of its own: the server's workers are forked from small ones.
        made = subprocess.run([sys.executable, "-P", "-m", "deploy.demo_prepare"], check=False)
        state = read_state(home)
        if made.returncode or state is None:
            return made.returncode or 1
    else:
        click.echo(f"reusing the versions in {home}")
    command = [sys.executable, "-P", "-m", "hotgate", "serve", "--host", host, "--port", str(port)]
    log = home / "log" / "serve.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        server = subprocess.Popen(
            [*command, "--workers", str(workers)], stderr=output, stdout=output, start_new_session=True
        )
    try:
        _wait_ready(server, host, port, log)
        click.echo(_guide(state, host, port, log))
        if once:
            _once(state, host, port)
        else:
            server.wait()
            raise click.ClickException(f"the server ended with code {server.returncode}; see {log}")
    except KeyboardInterrupt:
        click.echo("stopping")
    finally:
        code = _stop(server)
    return code


def _wait_ready(server: subprocess.Popen[bytes], host: str, port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise click.ClickException(f"the server ended with code {server.returncode}:\n{_tail(log)}")
        try:
            if ask(host, port, "GET", "/readyz")[0] == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)  # polling a process that says nothing by itself
    raise click.ClickException(f"not ready after {START_S:.0f} s:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])


def ask(host: str, port: int, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """One request on a connection of its own: status and decoded JSON."""
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        payload = None if body is None else json.dumps(body)
        connection.request(method, path, payload, {"Content-Type": "application/json"} if payload else {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    finally:
        connection.close()


def _guide(state: DemoState, host: str, port: int, log: Path) -> str:
    address = f"http://{host}:{port}"
    row = json.dumps({"features": [float(f"{value:.5g}") for value in state.row]})
    hotgate = _hotgate()
    return f"""
{MODEL} serves version {state.champion} on {address} (log: {log})

one prediction:
  curl -s {address}/predict -H 'Content-Type: application/json' -d '{row}'

the page:    {address}/
the routes:  {address}/schema (OpenAPI)   {address}/health   {address}/metrics   {address}/monitor/drift
the guide:   README.md and docs/

swap to the other version without losing a request; watch "version" in the prediction's answer change
(--force, as it has not passed `hotgate gate`, and is the second best):
  {hotgate} promote {MODEL} {state.other} --to Production --force --reason "trying the demo"
and back:
  {hotgate} rollback {MODEL}

one minute of held-out rows, over which the drift verdict stays "none":
  {hotgate} demo traffic --port {port}
one minute with two features shifted by 1.5 standard deviations, which the verdict then names:
  {hotgate} demo traffic --drift --port {port}

say what came true of a prediction, by the request_id of its answer; from 30 on, the page tells how good they were:
  curl -s {address}/feedback -H 'Content-Type: application/json' -d '{{"request_id": "REQUEST_ID", "label": "benign"}}'

Ctrl-C stops the server.
"""


def _hotgate() -> str:
    """How the user of this shell starts hotgate: by name if that finds this one, else by its path."""
    beside = Path(sys.executable).parent / "hotgate"
    found = shutil.which("hotgate")
    if found and Path(found).resolve() == beside.resolve():
        return "hotgate"
    return os.path.relpath(beside)


def _once(state: DemoState, host: str, port: int) -> None:
    """The same steps that the guide names, each seen to work."""
    _predict_until(state, host, port, state.champion)
    why = ["--reason", "hotgate demo --once"]
    for arguments, version in (
        (["promote", MODEL, state.other, "--to", "Production", "--force", *why], state.other),
        (["rollback", MODEL, *why], state.champion),
    ):
        click.echo(f"$ hotgate {shlex.join(arguments)}")
        subprocess.run([sys.executable, "-P", "-m", "hotgate", *arguments], check=True)
        _predict_until(state, host, port, version)


def _predict_until(state: DemoState, host: str, port: int, version: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        status, answer = ask(host, port, "POST", "/predict", {"features": state.row})
        if status != 200:
            raise click.ClickException(f"/predict answers {status}: {answer}")
        if answer["version"] == version:
            click.echo(f"version {version} answers: {answer['label']}, {answer['probabilities']}")
            return
        time.sleep(0.05)  # polling until the stage change has come through
    raise click.ClickException(f"version {version} did not answer within 30 s; version {answer['version']} does")


def _stop(server: subprocess.Popen[bytes]) -> int:
    """End the server by its process id; it drains first, a second Ctrl-C ends the wait for that."""
    if server.poll() is None:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(30)
        except KeyboardInterrupt:
            server.send_signal(signal.SIGTERM)
            server.wait(30)
    return server.returncode
