"""One published version of a model, and the slot in which the next one takes its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from gateway.outcomes import outcome_reader
from gateway.reply import JSON_HEADER
from gateway.schemas import LoadedModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.batcher import Batcher
    from gateway.engine import Engine
    from gateway.observer import GenerationObserver

__all__ = ["Generation", "Slot"]


class Generation:
    """A request that is admitted pins the generation it found: its rows, its answer and its stamp are of that one."""

    def __init__(
        self, name: str, version: str, sha256: str, engine: Engine, batcher: Batcher, observer: GenerationObserver
    ) -> None:
        signature = engine.metadata.signature
        self.name = name
        self.version = version
        self.sha256 = sha256
        self.engine = engine
        self.batcher = batcher
        self.observer = observer
        self.feed = observer.feed
        self.classes = signature.classes
        self.labels = signature.labels
        self.by_label = _by_label(signature.labels)
        self.form = signature.form
        self.names = tuple(column.name for column in signature.columns)
        self.outcome = None if signature.one_choice else outcome_reader(signature)
        # Shared by all answers; an answer's own list starts with a copy of it.
        self.stamp = [
            JSON_HEADER,
            ("x-model-name", name),
            ("x-model-version", version),
            ("x-model-sha256", sha256),
        ]

    def __repr__(self) -> str:
        """For operators: which version, and its queue."""
        return f"Generation({self.name!r}, version={self.version!r}, sha256={self.sha256[:12]!r}, {self.batcher!r})"

    def describe(self) -> LoadedModel:
        """What `/health` says of it."""
        signature = self.engine.metadata.signature
        return LoadedModel(
            version=self.version,
            sha256=self.sha256,
            task=signature.task,
            features=[column.name for column in signature.columns],
            labels=list(self.labels),
        )


def _by_label(labels: tuple[str, ...]) -> Callable[..., Any]:
    """A function that makes an answer's object of probabilities; a struct takes a quarter of a dict's time."""
    names = [f"p{index}" for index in range(len(labels))]
    try:
        return msgspec.defstruct(
            "Probabilities",
            [(name, float) for name in names],
            rename=dict(zip(names, labels, strict=True)),
            frozen=True,
            gc=False,
        )
    except ValueError:  # a label that msgspec takes for no field's name: a quote, a backslash, the same one twice
        return lambda *probabilities: dict(zip(labels, probabilities, strict=True))


class Slot:
    """Where a model's champion stands: swapped by one assignment, so no request ever sees half of two.

    The generation that served before is held for `hold_previous_s`: a request that pinned it still drains through its
    own batcher, and going back to the same bytes needs no load.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.current: Generation | None = None
        self.problem: str | None = None
        self._previous: Generation | None = None
        self._previous_until = 0.0

    def __repr__(self) -> str:
        """For operators: what serves, and what is held."""
        return f"Slot({self.name!r}, current={self.current!r}, held={self._previous!r})"

    @property
    def generations(self) -> list[Generation]:
        """Those in memory: what serves, and what is held."""
        return [generation for generation in (self.current, self._previous) if generation is not None]

    def held(self, sha256: str) -> Generation | None:
        """A generation of these bytes that is still in memory."""
        return next((generation for generation in self.generations if generation.sha256 == sha256), None)

    def publish(self, generation: Generation, *, now: float, hold_s: float) -> list[Generation]:
        """Let new requests find `generation`; the one before it is held until `now + hold_s`.

        Returns:
            The generations that are no longer in the slot; requests may still wait in them.
        """
        before = self.generations
        previous, self.current = self.current, generation
        self.problem = None
        if previous is not None and previous.sha256 != generation.sha256:
            self._previous, self._previous_until = previous, now + hold_s
        elif self._previous is not None and self._previous.sha256 == generation.sha256:
            self._previous = None
        return [gone for gone in before if gone not in self.generations]

    def expire(self, now: float) -> Generation | None:
        """Let go of the held generation once its time is over and nothing of it waits; returns it."""
        previous = self._previous
        if previous is None or now < self._previous_until or not previous.batcher.idle:
            return None
        self._previous = None
        return previous
