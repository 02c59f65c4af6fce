"""The worker's end of the prediction log: off the request path, its rows become frames in the spool.

What is handed over survives the process: SIGKILL takes along what the monitor's thread had not come to, a tenth of a
second of rows, and SIGTERM nothing. Where there is no room rows are dropped and counted; nobody waits.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from gateway.predictions import FrameHead, are_sampled, describe, pack_frame
from gateway.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from converters.modelfile import Signature
    from gateway.rows import Texts
    from gateway.settings import LogSettings
    from gateway.store import Entry
    from gateway.tickets import Origin

__all__ = ["PredictionFeed", "PredictionLog"]

_log = logging.getLogger("hotgate.predictions")

SPOOL_LIMIT_BYTES: Final = 256 * 2**20
"""Most that waits for the observer, of all workers of a home."""
ROTATE_BYTES: Final = 8 * 2**20
ROTATE_S: Final = 5.0


class PredictionLog:
    """All feeds of a worker. Threads may share it, but each feed is used by one at a time.

    Args:
        monitor: folder of what is known of the data.
        settings: what goes to the log.
        clock: wall time.
    """

    def __init__(self, monitor: Path, settings: LogSettings, clock: Callable[[], float] = time.time) -> None:
        self._folder = monitor / "predictions"
        self._settings = settings
        self._clock = clock
        self._describing = threading.Lock()
        self._told = False
        self._spool = Spool(
            monitor / "spool" / "predictions",
            limit_bytes=SPOOL_LIMIT_BYTES,
            rotate_s=ROTATE_S,
            rotate_bytes=ROTATE_BYTES,
            clock=clock,
        )

    def open(self, entry: Entry, model: str, signature: Signature) -> PredictionFeed | None:
        """Begin to log one generation of a model; None if nothing is logged."""
        if not self._settings.sample:
            return None
        names = [column.name for column in signature.columns]
        if unknown := [name for name in self._settings.redact if name not in names]:
            _log.warning("%s version %s has no column %s to redact", model, entry.version, ", ".join(unknown))
        redacted = tuple(index for index, name in enumerate(names) if name in self._settings.redact)
        head = FrameHead(
            sha256=entry.sha256,
            model=model,
            version=entry.version,
            redacted=redacted,
            columns=len(names) - len({*redacted, *signature.texts}),
            width=signature.width,
            dtype=signature.dtype,
        )
        return PredictionFeed(self, head, signature, self._settings.sample)

    def write(
        self,
        head: FrameHead,
        signature: Signature,
        rows: npt.NDArray[np.floating[Any]],
        answers: npt.NDArray[np.float32],
        origins: Sequence[Origin],
        texts: Texts | None,
    ) -> bool:
        """Append a frame; False if it found no room, or if nobody could read it."""
        try:
            with self._describing:
                describe(self._folder, head.sha256, signature)
        except OSError as error:
            if not self._told:
                _log.error("predictions are dropped: %s", error)
            self._told = True
            return False
        self._told = False
        stamped = msgspec.structs.replace(head, time=self._clock())
        return self._spool.append(*pack_frame(stamped, rows, answers, origins, texts))

    def rotate(self) -> None:
        """Let the observer have what is old enough; called now and then."""
        self._spool.rotate()

    def close(self) -> None:
        """Let it have everything."""
        self._spool.close()


class PredictionFeed:
    """One generation's rows on their way to the log."""

    def __init__(self, log: PredictionLog, head: FrameHead, signature: Signature, sample: float) -> None:
        self._log = log
        self._head = head
        self._signature = signature
        self._sample = sample
        self._kept = [
            place for place in range(len(signature.columns)) if place not in {*head.redacted, *signature.texts}
        ]
        self._kept_texts = [at for at, place in enumerate(signature.texts) if place not in head.redacted]
        self._refused = 0
        self._told = 0
        self.overrun = 0
        """Rows that were dropped before they came here; whoever drops them adds them up."""

    @property
    def dropped(self) -> int:
        """Rows that the log should hold and never will."""
        return self.overrun + self._refused

    def append(
        self,
        rows: npt.NDArray[np.floating[Any]],
        answers: npt.NDArray[np.float32],
        origins: Sequence[Origin],
        texts: Texts | None = None,
    ) -> None:
        """Hand over what is sampled, without what is redacted, as one frame.

        Args:
            rows: [n, columns], C order; valid during the call only.
            answers: [n, width], likewise.
            origins: whose rows they are, in their order.
            texts: [n, text columns], of a model that reads text.
        """
        if self._sample < 1.0:
            kept, origins = self._sampled(origins)
            rows, answers, texts = rows[kept], answers[kept], None if texts is None else texts[kept]
        if not origins:
            return
        if len(self._kept) < rows.shape[1]:
            rows = np.take(rows, self._kept, axis=1)
        texts = None if texts is None or not self._kept_texts else texts[:, self._kept_texts]
        dropped = self.dropped
        head = msgspec.structs.replace(self._head, dropped=dropped - self._told)
        if self._log.write(head, self._signature, rows, answers, origins, texts):
            self._told = dropped
        else:
            self._refused += len(rows)

    def _sampled(self, origins: Sequence[Origin]) -> tuple[npt.NDArray[np.bool_], list[Origin]]:
        """Which rows, and whose."""
        ids = [origin if isinstance(origin, str) else origin.request_id for origin in origins]
        kept = are_sampled(ids, self._sample)
        mask = np.repeat(kept, [1 if isinstance(origin, str) else origin.rows for origin in origins])
        return mask, list(itertools.compress(origins, kept))
