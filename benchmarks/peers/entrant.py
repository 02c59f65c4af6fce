"""One server of the comparison, from its start to its end or its failure."""

from __future__ import annotations

from contextlib import ExitStack
from http.client import HTTPException
from typing import TYPE_CHECKING

from benchmarks.errors import BenchError, ServerError
from benchmarks.load import LoadError, run
from benchmarks.peers.wire import check
from benchmarks.servers import Server, free_port, serving, tail

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.load import LoadPlan, LoadResult
    from benchmarks.peers.figures import Load
    from benchmarks.peers.wire import Wire
    from benchmarks.subject import Subject

__all__ = ["Entrant"]

START_S = 120.0
VARIABLES = {
    "HOTGATE_GATEWAY_DRAIN_S": "0",  # how it stops is not measured
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "OMP_NUM_THREADS": "1",  # one core: more threads would only wait for each other
    "OPENBLAS_NUM_THREADS": "1",
}


class Entrant:
    """A server that is started, loaded in turns, and out of the comparison with a reason when it fails.

    `failure`, `server` and `blocks` change here only.
    """

    def __init__(
        self,
        name: str,
        label: str,
        *,
        wire: Wire,
        command: Callable[[int], Sequence[str]],
        computes: bool = True,
        needed: bool = False,
    ) -> None:
        self.name, self.label, self.wire = name, label, wire
        self.versions: dict[str, str] = {}
        self.failure: str | None = None
        self.server: Server | None = None
        self.error_max: float | None = None
        self.blocks: dict[tuple[Load, int], LoadResult] = {}
        """By load and round."""
        self._command, self._computes, self._needed = command, computes, needed
        self._running = ExitStack()
        self._log: Path | None = None

    def start(self, owner: ExitStack, folder: Path, core: int, subject: Subject) -> None:
        """Start the server and hold its answers, if it computes any, against scikit-learn's; `owner` ends it."""
        if self.failure is not None:
            return
        owner.push(self._running)
        home, port, self._log = folder / self.name, free_port(), folder / f"{self.name}.log"
        home.mkdir(parents=True, exist_ok=True)
        running = serving(
            self._command(port),
            port=port,
            log=self._log,
            core=core,
            home=home,
            environment=VARIABLES,
            ready_path=self.wire.ready_path,
            deadline_s=START_S,
        )
        try:
            self.server = self._running.enter_context(running)
            self.error_max = check(port, self.wire, subject) if self._computes else None
        except (BenchError, OSError, HTTPException) as error:
            self.fail(error)

    def measure(self, generator: Path, plan: LoadPlan, load: Load, number: int) -> None:
        """Take one block, the one of this load in this round."""
        try:
            self.blocks[load, number] = run(generator, plan)
        except LoadError as error:
            self.fail(error)

    def stop(self) -> None:
        """End the server; that it had ended before is a failure."""
        try:
            self._running.close()
        except ServerError as error:
            self.fail(error)
        self.server = None

    def fail(self, error: Exception) -> None:
        """Go out of the comparison, with what was wrong and the end of the log.

        Raises:
            BenchError: there is no comparison without this server.
        """
        said = str(error) or type(error).__name__
        if self._log is not None and not isinstance(error, ServerError):
            said += f"; the log ends with:\n{tail(self._log)}"
        try:
            self._running.close()
        except ServerError as death:  # the reason of whatever was noticed first
            said = str(death)
        self.failure, self.server = said, None
        if self._needed:
            raise BenchError(f"{self.name}: {said}") from error
