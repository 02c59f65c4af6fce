"""Labels on their way in, from the workers' spool, and out, to who exports the prediction log."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from gateway.feedback import decode_frame
from gateway.observe.truth_store import keys_of
from gateway.spool import read_spool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.feedback import Given, Label

__all__ = ["in_groups", "labels_for", "labels_in"]

_log = logging.getLogger("hotgate.truth")

_GROUP_BYTES: Final = 8 * 2**20


def in_groups(paths: list[Path]) -> Iterator[list[Path]]:
    """So many files at a time as memory has room for what is in them, but one at least."""
    group: list[Path] = []
    size = 0
    for path in paths:
        size += path.stat().st_size
        if group and size > _GROUP_BYTES:
            yield group
            group, size = [], path.stat().st_size
        group.append(path)
    if group:
        yield group


def labels_in(path: Path) -> Iterator[tuple[float, Given]]:
    """The labels of a spool file, each with the time at which it came; a frame without any is left out, and told."""
    for frame in read_spool(path):
        try:
            received, given = decode_frame(frame)
        except msgspec.MsgspecError as error:
            _log.error("%s: a frame holds no labels and is left out: %s", path, error)
        else:
            for one in given:
                yield received, one


def labels_for(path: Path, request_ids: list[str], rows: list[int]) -> list[Label | None]:
    """What came true on each row, for export: None where nothing is known, or not for sure.

    Args:
        path: `monitor/truth.sqlite`; nothing is known where there is none.
        request_ids: [n].
        rows: [n], of each row within its request.

    Raises:
        OSError: the file cannot be read.
    """
    if not path.exists() or not request_ids:
        return [None] * len(request_ids)
    keys = keys_of(request_ids, np.asarray(rows, dtype=np.int64)).tolist()
    marks = msgspec.json.encode(keys).decode()
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
            found = db.execute(
                "SELECT key, classes, truth FROM labels JOIN versions ON versions.id = labels.version"
                " WHERE state = 'joined' AND key IN (SELECT value FROM json_each(?))",
                (marks,),
            ).fetchall()
    except sqlite3.Error as error:
        raise OSError(f"{path} cannot be read: {error}") from error
    names = {classes: msgspec.json.decode(classes) for _, classes, _ in found}
    known = {key: names[classes][truth] if names[classes] else truth for key, classes, truth in found}
    return [known.get(key) for key in keys]
