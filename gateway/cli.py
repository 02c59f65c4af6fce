"""`hotgate serve`, `sync`, `drift`, `export`, `release`, `silence` and `unpublish`."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import logging
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

import hotgate
from gateway.alerts import KINDS

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

    from gateway.alerts import Kind
    from gateway.settings import LogSettings
    from gateway.started import Started
    from gateway.store import ModelStore

__all__ = ["drift", "export", "release", "serve", "silence", "sync", "unpublish"]


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535), help="Port to listen on.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 256), help="Worker processes.")
@click.option(
    "--model", "files", multiple=True, metavar="NAME=FILE",
    help="Serve this model file; no registry, no sidecar. May be given several times.",
)  # fmt: skip
@click.option("--no-sync", is_flag=True, help="Workers only: somebody else keeps the model store.")
def serve(host: str, port: int, workers: int, files: tuple[str, ...], *, no_sync: bool) -> None:
    """Serve the models of the registry, or model files, over HTTP.

    Stops on SIGTERM or Ctrl-C: /readyz says no at once, requests are taken for [gateway] drain_s more seconds, those in
    flight are answered, and the exit code is 0. A second signal stops at once. Exit code 1: a worker keeps dying; 2: a
    setting or a model file is wrong.
    """
    from gateway.server import ChildProcess, child_command, run_server
    from gateway.settings import GatewaySettings, WorkerConfig
    from gateway.started import Started

    _log_to_stderr()
    settings = hotgate.load_settings("gateway", GatewaySettings)
    log = _log_settings()
    with contextlib.ExitStack() as stack:
        run = stack.enter_context(_run_folder(hotgate.home()))
        started = stack.enter_context(contextlib.closing(Started()))
        until_started = _until_started(started, workers)
        if files:
            store = run / "store"
            names = _store_of_files(store, files)
        else:
            store = hotgate.home() / "store"
            names = _wanted()
            if not no_sync:
                held = until_started if _has_manifest(store) else None
                sidecar = ChildProcess("sidecar", child_command("gateway.sync"), hold_back=held)
                stack.enter_context(sidecar.running())
        observer = ChildProcess("observer", child_command("gateway.observe"), hold_back=until_started)
        stack.enter_context(observer.running())
        config = WorkerConfig(
            settings=settings,
            store=str(store),
            monitor=str(hotgate.home() / "monitor"),
            log=log,
            wanted=names,
            started_fd=started.fd,
        )
        run_server(config, host=host, port=port, workers=workers, metrics_dir=run / "metrics")


@click.command()
@click.argument("name")
@click.option("--version", help="A version that served here; default: the one that began to serve last.")
@click.option("--since", default="1h", show_default=True, help="How far back: 90s, 15m, 6h, 7d; up to 7 days.")
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Also write a report, one file alone.")
def drift(name: str, version: str | None, since: str, *, as_json: bool, html: Path | None) -> None:
    """Show whether a model's data has drifted, how good it is by its labels, its alerts and its versions.

    Reads what the server of this home has left on disk; none needs to run. Exit code 0: no drift. 3: drift. 1: there is
    nothing to show, or the report cannot be written.
    """
    from gateway.counts import EPOCH_S, UnreadableCountsError
    from gateway.errors import BadRequest, GatewayError
    from gateway.observe.history import history_of
    from gateway.observe.report import page
    from gateway.observe.show import seconds_of, show
    from gateway.store import StoreError
    from gateway.verdicts import checked_horizon

    now = time.time() // EPOCH_S * EPOCH_S
    try:
        history = history_of(hotgate.home(), name, version, checked_horizon(seconds_of(since)), now)
        if html is not None:
            html.write_text(page(history), encoding="utf-8")
    except BadRequest:
        raise click.ClickException(f"--since must be 10s to 7d, not {since}") from None
    except (GatewayError, StoreError, UnreadableCountsError, OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    show(history, as_json=as_json)
    sys.exit(3 if history.report.severity != "none" else 0)


@click.command()
@click.argument("name")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="A .parquet or .csv file.")
@click.option("--version", help="Rows of this version only.")
@click.option("--since", help="How far back: 90s, 15m, 6h, 7d; default: all that is kept.")
@click.option("--labelled-only", is_flag=True, help="Only rows of which it is known what came true.")
def export(name: str, out: Path, version: str | None, since: str | None, *, labelled_only: bool) -> None:
    """Write logged rows, and what came true, as training data.

    For `hotgate train --data FILE --target label --set "data.ignore=[request_id, row, time, version]"`. Rows of the
    last seconds may not be in the log yet. Exit code 1: there is nothing to write, or it cannot be written.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise click.ClickException("the prediction log needs pyarrow: pip install 'hotgate[monitor]'")
    from gateway.observe.export import Wanted, WantedError, export
    from gateway.observe.labels import labels_for
    from gateway.observe.segments import DamagedSegmentError
    from gateway.observe.show import seconds_of

    monitor = hotgate.home() / "monitor"
    try:
        begin = time.time() - seconds_of(since) if since else 0.0
        wanted = Wanted(name, version, begin, labelled_only)
        truth = functools.partial(labels_for, monitor / "truth.sqlite")
        found = export(monitor / "predictions", wanted, out, truth)
    except (WantedError, DamagedSegmentError, OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{found.rows} rows, {found.labelled} with a label, in {out}")


@click.command()
def sync() -> None:
    """Keep the model store in step with the registry.

    Runs until SIGTERM or Ctrl-C. Exit code 1: another process writes the store; 2: a setting is wrong.
    """
    from gateway.sync.process import run_sidecar
    from gateway.sync.settings import SyncSettings

    sys.exit(run_sidecar(hotgate.load_settings("sync", SyncSettings), hotgate.home()))


@click.command()
@click.argument("name")
@click.argument("version", type=click.IntRange(1))
def release(name: str, version: int) -> None:
    """Lift the quarantine of a model version.

    The sidecar verifies it again in its next pass, or when it is next started. What [sync] require_gate holds back is
    let through without a gate.
    """
    from gateway.store import ModelStore, Request

    store = ModelStore(hotgate.home() / "store")
    store.ask(Request(action="release", model=name, version=str(version), who=hotgate.user()))
    click.echo(f"asked the sidecar of {store.root} to look at {name} version {version} again")


@click.command()
@click.argument("name", required=False)
@click.option("--kind", type=click.Choice(KINDS), help="Only alerts of this kind; default: all.")
@click.option("--feature", help="Only alerts that rest on these features alone, with * and ?; default: all.")
@click.option("--for", "lasts", default="2h", show_default=True, help="How long: 90s, 15m, 6h, 7d; up to 90 days.")
@click.option("--reason", help="Why; needed.")
@click.option("--list", "as_list", is_flag=True, help="Print the silences that are not over.")
@click.option("--end", "ended", metavar="ID", help="End one.")
@click.option("--json", "as_json", is_flag=True, help="Print silences as JSON.")
def silence(
    name: str | None, kind: Kind | None, feature: str | None, lasts: str, reason: str | None, ended: str | None,
    *, as_list: bool, as_json: bool,
) -> None:  # fmt: skip
    """Have nobody told of alerts of the model NAME for a while.

    NAME may hold * and ?; '*' also means alerts about no model. They are recorded all the same, and what outlasts the
    silence is told then. Exit code 1: there is no such silence, or it cannot be kept; 2: an option is wrong.
    """
    from gateway.observe.show import seconds_of
    from gateway.observe.silences import Silences, show

    if (name is not None) + as_list + (ended is not None) != 1:
        raise click.UsageError("give one of NAME, --list and --end ID")
    silences = Silences(hotgate.home() / "monitor" / "silences.json")
    try:
        if ended is not None:
            if not silences.end(ended):
                raise click.ClickException(f"no silence {ended!r} is active; hotgate silence --list shows them")
            click.echo(f"silence {ended} is over")
        elif name is None:
            show(silences.active(), as_json=as_json)
        elif not reason:
            raise click.UsageError("a silence needs a --reason: it is kept with who asked for it")
        else:
            new = silences.add(
                name, kind=kind, feature=feature, for_s=seconds_of(lasts), who=hotgate.user(), reason=reason
            )
            show([new], as_json=as_json)
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error


@click.command()
@click.argument("name")
def unpublish(name: str) -> None:
    """Take a model out of the store.

    Workers drop it at once. Take it from its stage or alias first: what the registry still names comes back.
    """
    from gateway.store import ModelStore

    store = ModelStore(hotgate.home() / "store")
    if name not in store.read().models:
        raise click.ClickException(f"{store.root} serves no {name!r}; it serves {_names(store)}")
    asked = store.unpublish(name, who=hotgate.user())
    click.echo(f"{name} is out" if asked is None else f"asked the sidecar (process {asked}) to take {name} out")


def _names(store: ModelStore) -> str:
    return ", ".join(sorted(store.read().models)) or "nothing"


def _wanted() -> tuple[str, ...]:
    """The models that the sidecar is told to follow by name."""
    from gateway.sync.settings import SyncSettings

    models = hotgate.load_settings("sync", SyncSettings).models
    return () if isinstance(models, str) else tuple(models)


def _log_settings() -> LogSettings:
    """What workers hand to the prediction log: nothing where it cannot be written."""
    from gateway.observe.settings import MonitorSettings
    from gateway.settings import LogSettings

    settings = hotgate.load_settings("monitor", MonitorSettings)
    sample = settings.log_sample
    if sample and importlib.util.find_spec("pyarrow") is None:
        logging.getLogger("hotgate.serve").warning("no prediction log without pyarrow: pip install 'hotgate[monitor]'")
        sample = 0.0
    return LogSettings(sample=sample, redact=settings.log_redact)


def _has_manifest(store: Path) -> bool:
    """Whether workers have something to serve before the sidecar has looked."""
    from gateway.store import ModelStore

    return ModelStore(store).manifest_path.exists()


def _until_started(started: Started, workers: int) -> Callable[[threading.Event], None]:
    """Importing mlflow takes a core for a second, which the workers, with models in the store, have the better use for.

    A worker that does not come up must not keep the sidecar from bringing it another model.
    """
    return functools.partial(started.wait, workers, longest_s=5.0)


@contextlib.contextmanager
def _run_folder(home: Path) -> Iterator[Path]:
    """A folder for what lives no longer than this server: metrics of its workers, a store made of files."""
    parent = home / "run"
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="serve-", dir=parent))
    (folder / "metrics").mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _store_of_files(root: Path, files: tuple[str, ...]) -> tuple[str, ...]:
    """Verify model files and make a store of them, which workers then read like any other."""
    from converters.verify import verify_file
    from gateway.store import Entry, ModelRoles, ModelStore

    models: dict[str, ModelRoles] = {}
    with ModelStore(root).writer() as writer:
        for text in files:
            name, equals, path = text.partition("=")
            if not equals or not name or "/" in name:
                raise click.UsageError(f"--model takes NAME=FILE, not {text!r}")
            if name in models:
                raise click.UsageError(f"--model names {name!r} twice")
            verdict = verify_file(Path(path))
            if not verdict.ok:
                raise click.UsageError(f"{path} is not served: {verdict.reason}")
            sha256 = writer.put(Path(path).read_bytes())
            if sha256 != verdict.sha256:
                raise click.UsageError(f"{path} changed while it was verified: try again")
            models[name] = ModelRoles(champion=Entry(version="file", sha256=sha256))
        writer.publish(models, {})
    return tuple(models)


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
