"""`python -m benchmarks.coverage PAGE` writes the coverage table; exits 1 if a row is WRONG."""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.coverage.page import page
from benchmarks.coverage.row import Row, examine
from benchmarks.coverage.subjects import Subject, subjects

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_LIMIT_S = 30.0


def limited(subject: Subject, limit_s: float = _LIMIT_S) -> Row:
    """Examine in a child process, which is ended at its time limit; a child that dies is a row too."""
    context = multiprocessing.get_context("fork")  # the libraries are loaded once, and no session is made here
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_tell, args=(subject, theirs))
    child.start()
    theirs.close()
    told: dict[str, Any] = {"name": subject.name, "data": subject.data, "group": subject.group}
    try:
        if not ours.poll(limit_s):
            return Row(**told, verdict="refused", reason=f"took longer than {limit_s:g} s")
        found: Row = ours.recv()
    except EOFError:
        return Row(**told, verdict="refused", reason="its process died")
    else:
        return found
    finally:
        child.kill()
        child.join()


def _tell(subject: Subject, pipe: Connection) -> None:
    pipe.send(examine(subject))


def main(target: Path) -> int:
    """Write the table, row by row told on stderr."""
    rows = []
    for subject in subjects():
        rows.append(limited(subject))
        print(subject.name, subject.data, rows[-1].verdict, rows[-1].reason, sep="  ", file=sys.stderr, flush=True)
    target.write_text(page(rows), encoding="utf-8")
    return int(any(row.verdict == "WRONG" for row in rows))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
