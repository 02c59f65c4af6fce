"""`make fuzz`: an hour of requests, right and wrong, to gateways of every lane; ends at the first broken rule."""

from __future__ import annotations

import secrets
import tempfile
from pathlib import Path

import click
import msgspec

from benchmarks.errors import BenchError
from benchmarks.fuzz.run import fuzz, gateways


@click.command(help=__doc__)
@click.option("--seconds", type=click.FloatRange(1, 3600), default=3600.0, show_default=True)
@click.option("--seed", type=int, help="The same seed sends the same rounds; without, one is made and told.")
@click.option("--first", type=click.IntRange(0), default=0, show_default=True, help="The round to begin with.")
def main(seconds: float, seed: int | None, first: int) -> None:
    """Exits with 0, or with 1 and what broke a rule, as bytes that do it again."""
    seed = secrets.randbelow(2**32) if seed is None else seed
    with tempfile.TemporaryDirectory(prefix="hotgate-fuzz-") as made:
        folder = Path(made)
        try:
            with gateways(folder) as servers:
                report = fuzz(servers, folder, seed=seed, first=first, seconds=seconds, say=click.echo)
        except BenchError as error:
            raise click.ClickException(str(error)) from error
    click.echo(msgspec.json.format(msgspec.json.encode(report)))


if __name__ == "__main__":
    main()
