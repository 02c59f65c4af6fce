"""`make coverage-table`: tries every estimator, writes docs/coverage.md; exit code 1 if one would be served wrong."""

from __future__ import annotations

import multiprocessing
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.coverage.subjects import names
from benchmarks.coverage.trial import Row, try_estimator
from benchmarks.report import table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection

__all__ = ["render", "tried"]

_HEAD = """# What of scikit-learn can be served

Written by `make coverage-table`; no row is left out. Every estimator of `sklearn.utils.all_estimators()`, and of the
boosters that are installed, as scikit-learn's own common tests construct it, is fitted, converted by
`converters.convert`, verified, and held against scikit-learn on 200 rows that neither its certificate nor its golden
rows have seen.

- *certified*: skl2onnx's graph passed as it is.
- *cured*: hotgate did something for it, which stands beside it.
- *refused*: it is not served, and why.
- *not finished*: a minute was not enough to convert and judge it.
- *nothing to serve*: it does not answer rows."""

LIMIT_S = 60.0
PAGE = Path("docs/coverage.md")
_GROUPS = ("Classifiers", "Regressors", "Outlier detectors", "Clusterers", "Transformers", "Other")


def tried(name: str) -> list[Row]:
    """The rows of one estimator, tried in a process that may hang or die."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_tell, args=(there, name))
    process.start()
    there.close()
    try:
        found: list[Row] = here.recv() if here.poll(LIMIT_S) else _dead(name, f"took more than {LIMIT_S:g} s")
    except EOFError:
        found = _dead(name, "ended its process")
    process.kill()
    process.join()
    return found


def _tell(there: Connection, name: str) -> None:
    there.send(try_estimator(name))


def _dead(name: str, said: str) -> list[Row]:
    return [Row(name=name, task="", group="Other", verdict="not finished", said=said)]


def render(rows: Sequence[Row], versions: dict[str, str]) -> str:
    """The page."""
    counts = Counter(row.verdict for row in rows)
    told = ", ".join(
        f"{counts[kind]} {kind}" for kind in ("certified", "cured", "refused", "not finished", "nothing to serve")
    )
    made = ", ".join(f"{name} {version}" for name, version in versions.items())
    parts = [_HEAD, f"{told}; {len({row.name for row in rows})} estimators, with {made}."]
    for group in _GROUPS:
        found = [row for row in rows if row.group == group]
        if found:
            cells = [(row.name, row.task, row.verdict, _error(row), row.said.replace("|", "\\|")) for row in found]
            parts += [f"## {group}", table(("estimator", "task", "", "largest error", "how, or why not"), cells)]
    return "\n\n".join(parts) + "\n"


def _error(row: Row) -> str:
    return "" if row.error is None else f"{row.error:.0e}"


def main() -> int:
    """Try all, say so on stderr, write the page."""
    import onnxruntime  # noqa: F401 - so that no child imports anything
    import sklearn.utils._test_common.instance_generator  # noqa: F401

    from converters import convert, verify_file  # noqa: F401
    from converters.parity import versions

    rows: list[Row] = []
    every = names()
    for number, name in enumerate(every, 1):
        rows += tried(name)
        sys.stderr.write(f"\r{number} of {len(every)}: {name:<40}")
    sys.stderr.write("\n")
    PAGE.write_text(render(rows, versions()), encoding="utf-8")
    wrong: list[Any] = [row for row in rows if row.verdict == "WRONG"]
    for row in wrong:
        sys.stderr.write(f"{row.name} {row.task} would be served wrong: {row.said}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
