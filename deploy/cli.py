"""`hotgate promote`, `rollback`, `history` and `demo`."""

from __future__ import annotations

import contextlib
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypedDict

import click
import msgspec

import hotgate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlflow import MlflowClient

    from deploy.promotion import Outcome

__all__ = ["demo", "history", "promote", "rollback"]

_TO = click.option(
    "--to", default="Production", show_default=True,
    help="Production or champion, Staging or challenger: the role, through its setting in [sync].",
)  # fmt: skip
_WHO = click.option("--who", help="Who decides, for the record  [default: the user's name].")
_EXPECT = click.option("--expect-champion", metavar="VERSION", help="Refuse unless this version has the role now.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


@click.command()
@click.argument("name")
@click.argument("version")
@_TO
@click.option("--reason", default="promoted by hand", show_default=True, help="Why, for the record.")
@_WHO
@_EXPECT
@_JSON
def promote(
    *, name: str, version: str, to: str, reason: str, who: str | None, expect_champion: str | None, as_json: bool
) -> None:
    """Move a model version into a stage.

    The version that was there is archived, the decision is recorded with the model, and running gateways swap within
    about a second. Exit code 1: refused, or somebody else was first.
    """
    from deploy.promotion import promote as move

    with _registry() as client:
        outcome = move(client, name, version, **_words(to, reason, who, expect_champion))
    _show(outcome, as_json=as_json)


@click.command()
@click.argument("name")
@_TO
@click.option("--reason", default="rolled back by hand", show_default=True, help="Why, for the record.")
@_WHO
@_EXPECT
@_JSON
def rollback(*, name: str, to: str, reason: str, who: str | None, expect_champion: str | None, as_json: bool) -> None:
    """Put the version back that served before.

    Goes by the recorded decisions; a second rollback goes further back, and a deleted version is passed over. Exit code
    1: there is nothing to go back to, or somebody else was first.
    """
    from deploy.promotion import rollback as move

    with _registry() as client:
        outcome = move(client, name, **_words(to, reason, who, expect_champion))
    _show(outcome, as_json=as_json)


@click.command()
@click.argument("name")
@click.option(
    "--at", type=click.DateTime(["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d"]),
    help="Only decisions made until then (UTC).",
)  # fmt: skip
@_JSON
def history(*, name: str, at: datetime | None, as_json: bool) -> None:
    """Show who put which version where, when and why.

    Oldest first, from the decisions that promote and rollback record with the model.
    """
    from deploy.promotion import history as read

    with _registry() as client:
        decisions = read(client, name, at=at.replace(tzinfo=UTC) if at else None)
    if as_json:
        click.echo(msgspec.json.encode(decisions))
        return
    if not decisions:
        click.echo(f"no decision on {name} is recorded" + (f" until {at:%Y-%m-%d %H:%M:%S} UTC" if at else ""))
    for decision in decisions:
        click.echo(
            f"{decision.when:%Y-%m-%d %H:%M:%S}  {decision.action:8}  {decision.target:17}"
            f"  {decision.before or '-':>4} → {decision.after:4}  {decision.who}: {decision.why}"
        )


@click.group(invoke_without_command=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535), help="Port to listen on.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 256), help="Worker processes.")
@click.option("--once", is_flag=True, help="Run all steps, swap there and back, and stop.")
@click.pass_context
def demo(context: click.Context, *, host: str, port: int, workers: int, once: bool) -> None:
    """Train, register, promote and serve the example model.

    The first start trains; later ones reuse what it made. Serves until Ctrl-C.
    """
    if context.invoked_subcommand is None:
        from deploy.demo import run_demo

        sys.exit(run_demo(hotgate.home(), host=host, port=port, workers=workers, once=once))


@demo.command()
@click.option("--drift", is_flag=True, help="Shift two features by 1.5 standard deviations.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the demo listens.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535), help="And its port.")
@click.option("--rate", default=50.0, show_default=True, type=click.FloatRange(1, 1000), help="Requests a second.")
@click.option("--seconds", default=60.0, show_default=True, type=click.FloatRange(1, 3600), help="How long.")
@click.option("--seed", default=0, show_default=True, help="In which order rows are sent.")
@_JSON
def traffic(*, drift: bool, host: str, port: int, rate: float, seconds: float, seed: int, as_json: bool) -> None:
    """Send held-out rows to the running demo and tell what the drift monitor says.

    Exit code 0: the last verdict is as it should be (with --drift: exactly the shifted features are named); those
    before it are thirty looks at one sample, of which chance may colour one. 1: it is not, or a request failed. 2: the
    demo does not run.
    """
    from deploy.demo import MODEL, heldout_path
    from deploy.traffic import SHIFTED, read_rows, send, shift

    path = heldout_path(hotgate.home())
    if not path.is_file():
        raise click.UsageError(f"{path} is missing: start `hotgate demo` first")
    names, rows = read_rows(path)
    if drift:
        rows = shift(names, rows, SHIFTED, 1.5)
        click.echo(f"shifting {' and '.join(SHIFTED)} by 1.5 standard deviations", err=True)
    try:
        result = send(
            rows, host=host, port=port, model=MODEL, rate=rate, seconds=seconds, seed=seed,
            report=lambda elapsed, verdict: click.echo(_verdict_line(elapsed, verdict), err=True),
        )  # fmt: skip
    except OSError as error:
        raise click.UsageError(
            f"nobody serves {MODEL} on {host}:{port} ({error}): start `hotgate demo` first"
        ) from None
    expected = sorted(SHIFTED) if drift else []
    right = not result.failed and sorted(result.drifted) == expected and (drift or result.severity == "none")
    click.echo(msgspec.json.encode(result) if as_json else _traffic_line(result, expected))
    sys.exit(0 if right else 1)


def _verdict_line(elapsed: float, verdict: dict[str, Any]) -> str:
    drifted = [feature["name"] for feature in verdict["features"] if feature["drift"]]
    largest = max((feature["psi"] or 0.0 for feature in verdict["features"]), default=0.0)
    return (
        f"{elapsed:5.1f} s  rows in the window {verdict['n']:5}  severity {verdict['severity']:8}"
        f"  largest PSI {largest:.3f}  drifted: {', '.join(drifted) or '-'}"
    )


def _traffic_line(result: Any, expected: list[str]) -> str:
    said = ", ".join(result.drifted) or "no feature"
    when = f" after {result.named_after_s:.0f} s" if result.named_after_s is not None else ""
    return (
        f"{result.sent} requests, {result.failed} failed; the verdict names {said}{when}"
        f" (expected: {', '.join(expected) or 'no feature'})"
    )


@contextlib.contextmanager
def _registry() -> Iterator[MlflowClient]:
    """A client of the registry; its errors become one line and exit code 1."""
    from deploy.promotion import PromotionError
    from training.errors import TrainingError
    from training.tracking import connect

    home: Path = hotgate.home()
    try:
        yield connect(home)
    except (PromotionError, TrainingError) as error:
        raise click.ClickException(str(error)) from None


class _Words(TypedDict):
    """What a decision says, besides the version."""

    to: str
    reason: str
    who: str
    expect_champion: str | None
    champion: str
    challenger: str


def _words(to: str, reason: str, who: str | None, expect_champion: str | None) -> _Words:
    """Complete what the user said by who it is, and by what marks champion and challenger for the sidecar."""
    from gateway.sync.settings import SyncSettings

    settings = hotgate.load_settings("sync", SyncSettings)
    return {
        "to": to,
        "reason": reason,
        "who": who or hotgate.user(),
        "expect_champion": expect_champion,
        "champion": settings.champion,
        "challenger": settings.challenger,
    }


def _show(outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(outcome))
        return
    decision = outcome.decision
    if outcome.deleted:
        click.echo(f"deleted meanwhile, so this goes further back: version {', '.join(outcome.deleted)}", err=True)
    before = f" (before: version {decision.before})" if decision.before else ""
    click.echo(f"{outcome.name}: {decision.target} is version {decision.after}{before}, sha256 {decision.sha256[:12]}")
