"""`hotgate gate`."""

from __future__ import annotations

import contextlib
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

import hotgate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from deploy.gating.gate import Gatekeeper

__all__ = ["EXIT_CODES", "gate"]

EXIT_CODES = {"pass": 0, "fail": 1, "inconclusive": 3}


class RegistryFailedError(click.ClickException):
    """The registry could not be read or written."""

    exit_code = 4


@click.command()
@click.argument("name")
@click.argument("version")
@click.option(
    "--junit", "junit_path", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Also write the checks as a JUnit file.",
)  # fmt: skip
@click.option("--quick", is_flag=True, help="Measure p99 in short blocks: within a minute, more often inconclusive.")
@click.option(
    "--skip", type=click.Choice(["p99"]), help="Leave this out, which makes the verdict inconclusive at best.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def gate(*, name: str, version: str, junit_path: Path | None, quick: bool, skip: str | None, as_json: bool) -> None:
    """Judge whether a version may take the champion's place.

    Its file and certificate; its answers beside the champion's to rows that neither was fitted on; its p99 beside the
    champion's, each in a gateway on this machine, which takes some minutes on two cores that should have nothing else
    to do. [gate] in the settings says what is asked for. The verdict is left with the version, for exactly its file.
    Exit code 0: pass. 1: fail. 3: inconclusive, which is no pass. 2: no such version, or an option or setting is wrong.
    4: the registry fails.
    """
    if junit_path is not None and not junit_path.absolute().parent.is_dir():
        raise click.UsageError(f"--junit: there is no folder {junit_path.absolute().parent}")
    from benchmarks.progress import Progress
    from deploy.gating.gate import GateError
    from deploy.gating.report import junit, render

    progress = Progress()
    signal.signal(signal.SIGTERM, progress.leave)
    with _registry():
        keeper = _keeper(progress.say, quick=quick, skip=skip)
        try:
            report = keeper.hold(name, version)
        except GateError as error:
            raise click.UsageError(str(error)) from None
        click.echo(msgspec.json.encode(report) if as_json else render(report))
        if junit_path is not None:
            _write(junit_path, junit(report))
        keeper.record(report)
    sys.exit(EXIT_CODES[report.outcome])


def _keeper(say: Callable[[str], None], *, quick: bool, skip: str | None) -> Gatekeeper:
    from benchmarks.gate_run import FULL, QUICK
    from converters import verify_file
    from deploy.gating.files import MlflowEvidence
    from deploy.gating.gate import Gatekeeper
    from deploy.gating.settings import GateSettings
    from deploy.gating.track import gateways
    from gateway.sync.connect import open_registry
    from gateway.sync.resolve import Selector
    from gateway.sync.settings import SyncSettings
    from training.environment import prepare
    from training.tracking import tracking_uri

    settings, sync = hotgate.load_settings("gate", GateSettings), hotgate.load_settings("sync", SyncSettings)
    home = hotgate.home()
    prepare(home)
    uri = tracking_uri(home)
    return Gatekeeper(
        registry=open_registry(uri, timeout_s=sync.timeout_s),
        evidence=MlflowEvidence(uri),
        verify=verify_file,
        settings=settings,
        champion=Selector.parse(sync.champion),
        scratch=home / "gate",
        limit_bytes=sync.max_model_bytes,
        say=say,
        track=None if skip == "p99" else partial(gateways, say=say),
        profile=QUICK if quick else FULL,
    )


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise click.UsageError(f"--junit: {path} cannot be written: {error.strerror}") from None


@contextlib.contextmanager
def _registry() -> Iterator[None]:
    """The registry's errors become one line and exit code 4."""
    from mlflow.exceptions import MlflowException

    from gateway.sync.base import RegistryError

    try:
        yield
    except RegistryError as error:
        raise RegistryFailedError(str(error)) from None
    except MlflowException as error:
        raise RegistryFailedError(f"the registry fails: {error.message}") from None
    except OSError as error:  # of the artifact store, also over HTTP, or of the disk
        raise RegistryFailedError(f"a version's files could not be brought here: {error}") from None
