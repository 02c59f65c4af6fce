"""`hotgate verify`."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

__all__ = ["verify"]


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON.")
def verify(file: Path, *, as_json: bool) -> None:
    """Check a model file as the gateway would.

    Exit code 0: it may be served. 1: it may not. 4: it could not be judged (no memory, no time).
    """
    from converters.verify import verify_file

    verdict = verify_file(file)
    if as_json:
        click.echo(msgspec.json.encode(verdict))
    elif verdict.ok:
        click.echo(f"ok  {verdict.sha256}  golden rows within {verdict.error_max:.3g}")
    else:
        click.echo(f"refused  {file}: {verdict.reason}", err=True)
    raise SystemExit(0 if verdict.ok else 1 if verdict.deterministic else 4)
