"""Two cores, the generator, and servers to hold against each other: what every measurement starts from."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from benchmarks.affinity import cores
from benchmarks.errors import BenchError
from benchmarks.fixed import FixedAnswer
from benchmarks.load import LoadPlan, build
from benchmarks.servers import Server, ask, free_port, serving
from benchmarks.subject import NAME, check_answers, row_body, train_subjects

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

__all__ = ["SERVE", "AgainstFixed", "Rig"]

SERVE = (sys.executable, "-P", "-m", "hotgate", "serve", "--host", "127.0.0.1", "--workers", "1")
FIXED = (sys.executable, "-P", "-m", "benchmarks.fixed")


class AgainstFixed(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway beside granian's fixed answer, both running."""

    hotgate: Server
    fixed: Server
    body: bytes
    """A request for one row."""
    error_max: float
    """Largest distance of an answered probability from scikit-learn's, over the held-out rows."""


class Rig:
    """What the measurements of one run share: folder, generator and cores.

    Raises BenchError where this process may use one core only, LoadError where the generator cannot be built.
    """

    def __init__(self, folder: Path) -> None:
        usable = cores()
        if len(usable) < 2:
            raise BenchError("one core for the servers and one for the generator are needed; this process may use one")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.server_core, self.generator_core = usable[:2]
        self.generator = build(folder)

    def block(self, body: bytes, *, connections: int, seconds: float, warmup_s: float) -> LoadPlan:
        """One block of load in a closed loop; who measures puts in the port."""
        return LoadPlan(
            port=0,
            body=body,
            connections=connections,
            seconds=seconds,
            warmup_s=warmup_s,
            core=self.generator_core,
        )

    def server(
        self,
        *command: str,
        log: str,
        home: Path | None = None,
        core: Collection[int] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> AbstractContextManager[Server]:
        """A server on the servers' core, or on those named; its command ends with the port."""
        port = free_port()
        return serving(
            [*command, str(port)],
            port=port,
            core=self.server_core if core is None else core,
            log=self.folder / f"{log}.log",
            home=home or self.folder,
            environment={"HOTGATE_GATEWAY_DRAIN_S": "0", **(environment or {})},  # how it stops is not measured
        )

    @contextmanager
    def against_fixed(self, say: Callable[[str], None]) -> Iterator[AgainstFixed]:
        """Train, serve, hold the answers against scikit-learn's, and serve one of them as the fixed answer.

        Raises:
            BenchError: an answer was wrong, or a server did not start or live.
        """
        say("training the model")
        (subject,) = train_subjects(self.folder, [1.0])
        body = row_body(subject.rows[0])
        say("starting the servers, checking the answers")
        with self.server(*SERVE, "--model", f"{NAME}={subject.file}", "--port", log="hotgate") as hotgate:
            error_max = check_answers(hotgate.port, subject)
            answer = self.folder / "answer.json"
            answer.write_bytes(msgspec.json.encode(FixedAnswer.like(ask(hotgate.port, "POST", "/predict", body))))
            with self.server(*FIXED, str(answer), log="fixed") as fixed:
                yield AgainstFixed(hotgate=hotgate, fixed=fixed, body=body, error_max=error_max)
