"""`hotgate retrain` and `watch`."""

from __future__ import annotations

import signal
import sys
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

import hotgate

if TYPE_CHECKING:
    from types import FrameType

    from deploy.retraining.retrainer import Result, Retrainer
    from deploy.retraining.settings import RetrainSettings
    from gateway.alerts import Alert

__all__ = ["EXIT_CODES", "retrain", "watch"]

EXIT_CODES = {"promoted": 0, "passed": 0, "failed": 1, "no_improvement": 3, "inconclusive": 3, "braked": 5}

_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)


class StateFailedError(click.ClickException):
    """What was tried before cannot be read or kept."""

    exit_code = 4


class HeldError(click.ClickException):
    """Another process is retraining."""

    exit_code = 5


@click.command()
@click.option("--alert", "alert_file", type=_FILE, metavar="FILE|-", help="An alert's JSON, as webhooks send it.")
@click.option(
    "--from-github", "event_file", type=_FILE, metavar="FILE|-",
    help="A repository_dispatch event whose client_payload.alert is the alert.",
)  # fmt: skip
@click.option(
    "--release", "released", metavar="BREACH", help="Let a breach be tried again, and its file be judged again."
)
@click.option("--reason", help="Why it is released, for the record.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def retrain(
    *, alert_file: Path | None, event_file: Path | None, released: str | None, reason: str | None, as_json: bool
) -> None:
    """Answer an alert with a better version, if there is one.

    Pulls the data, runs the pipeline, holds the version against the gate, promotes it if [retrain] allows. A breach is
    answered once, a model at most every [retrain] cool_down_s, all models [retrain] daily_max times a day, one at a
    time. What a killed process left is finished first. Every attempt has a report under retrain/reports/.

    Exit code 0: a version passed the gate, and is promoted if [retrain] promote is on; or the breach is released. 1: a
    step failed, or no such breach was tried. 2: that is no alert, or an option or setting is wrong. 3: no improvement,
    or the gate cannot tell. 4: what was tried before cannot be read or kept. 5: a brake held; nothing was done.
    """
    if sum(given is not None for given in (alert_file, event_file, released)) != 1:
        raise click.UsageError("give one of --alert FILE, --from-github FILE and --release BREACH")
    from deploy.retraining.state import BusyError, StateError

    retrainer = _retrainer(_settings())
    signal.signal(signal.SIGTERM, _leave)
    try:
        if released is not None:
            _release(retrainer, released, reason)
            return
        result = retrainer.handle(_alert(alert_file, event_file))
    except StateError as error:
        raise StateFailedError(str(error)) from None
    except BusyError as error:
        raise HeldError(str(error)) from None
    click.echo(msgspec.json.encode(result) if as_json else _words(result))
    sys.exit(EXIT_CODES[result.outcome])


@click.command()
@click.option("--once", is_flag=True, help="Look once and end, as a timer would have it.")
@click.option("--json", "as_json", is_flag=True, help="Print each decision as a line of JSON.")
def watch(*, once: bool, as_json: bool) -> None:
    """Follow the gateway's alerts, and answer each as retrain does.

    Reads monitor/alerts.jsonl in the home, every [retrain] poll_s. What a brake holds is answered once the brake lets
    go, if it still fires then. Nothing is answered twice over a restart, and what was broken off is finished first.

    Ends on SIGTERM or Ctrl-C, with exit code 0; a step that runs is told to end, and is done again at the next start.
    2: a setting is wrong. 4: what was tried before cannot be read or kept.
    """
    from deploy.retraining.follow import follow
    from deploy.retraining.state import StateError

    settings = _settings()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    never = threading.Event()
    try:
        follow(
            hotgate.home() / "monitor" / "alerts.jsonl",
            _retrainer(settings),
            tell=lambda result: click.echo(msgspec.json.encode(result) if as_json else _words(result)),
            complain=lambda text: click.echo(text, err=True),
            wait=lambda: once or never.wait(settings.poll_s),
        )
    except StateError as error:
        raise StateFailedError(str(error)) from None


def _settings() -> RetrainSettings:
    from deploy.retraining.settings import RetrainSettings

    settings = hotgate.load_settings("retrain", RetrainSettings)
    if not Path(settings.project).is_dir():
        raise hotgate.SettingsError(f"[retrain] project must be a folder, not {settings.project!r}")
    return settings


def _retrainer(settings: RetrainSettings) -> Retrainer:
    from deploy.retraining.commands import Commands
    from deploy.retraining.retrainer import Retrainer

    home = hotgate.home()
    steps = partial(Commands, settings, home)
    return Retrainer(home / "retrain", steps, settings, say=lambda text: click.echo(text, err=True))


def _alert(alert_file: Path | None, event_file: Path | None) -> Alert:
    from deploy.retraining.alert import AlertError, alert_of, alert_of_github

    path = alert_file or event_file or Path("-")
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        return alert_of(data) if alert_file else alert_of_github(data)
    except AlertError as error:
        raise click.UsageError(f"{path}: {error}") from None
    except OSError as error:
        raise click.UsageError(f"{path} cannot be read: {error.strerror}") from None


def _release(retrainer: Retrainer, breach: str, reason: str | None) -> None:
    if not (reason or "").strip():
        raise click.UsageError("--release needs --reason TEXT, for the record")
    if not retrainer.release(breach, f"{hotgate.user()}: {reason}"):
        raise click.ClickException(f"no attempt at a breach {breach!r} is known")
    click.echo(f"{breach} may be tried again, and its file judged again")


def _words(result: Result) -> str:
    said = f"braked by {result.brake}" if result.brake else result.outcome.replace("_", " ")
    made = f" with version {result.version}" if result.version else ""
    report = f"\n{result.report}" if result.report else ""
    return f"{result.model or result.breach}: {said}{made}: {result.why}{report}"


def _leave(number: int, _frame: FrameType | None) -> None:
    """An attempt that is broken off so is gone on with by the next process."""
    sys.exit(128 + number)
