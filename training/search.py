"""The search: every candidate cross-validated, each by itself, so that one which fails takes no other with it.

Arrays in, outcomes out: nothing here knows MLflow or writes a model.
"""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec

from training.candidates import Candidate
from training.engine import IN_TURN, Engine
from training.errors import SearchError
from training.evaluate import CrossValidation, cross_validate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from training.building import Basis
    from training.config import SearchConfig

__all__ = ["Memory", "Outcome", "Progress", "demand_one", "errors_of", "rank", "search", "silent", "try_candidate"]

_LONGEST_ERROR = 1000  # characters


class Progress(Protocol):
    """Is told before each step what comes next: `done` of `steps` are behind."""

    def __call__(self, done: int, steps: int, text: str, /) -> None:
        """Show it."""


def silent(_done: int, _steps: int, _text: str) -> None:
    """Tell no one."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one candidate: `cv`, or the `error` that it failed with."""

    candidate: Candidate
    cv: CrossValidation | None = None
    error: str | None = None
    """Type and text."""


class Judged(Protocol):
    """Whatever has a candidate's cross-validation."""

    @property
    def cv(self) -> CrossValidation | None:
        """None: it failed."""


J = TypeVar("J", bound=Judged)


class Memory(Protocol):
    """Keeps outcomes for the next search, should this one be interrupted."""

    def recall(self, candidate: Candidate, /) -> Outcome | None:
        """What was kept of an equal candidate."""

    def keep(self, outcome: Outcome, /) -> None:
        """Keep it, at once."""


def search(
    candidates: Sequence[Candidate],
    basis: Basis,
    progress: Progress = silent,
    *,
    engine: Engine = IN_TURN,
    memory: Memory | None = None,
) -> tuple[Outcome, ...]:
    """Try every candidate on the training rows; the outcomes stand in the candidates' order.

    Equal candidates, rows, folds and seeds give equal outcomes, bit for bit on one machine, whatever the engine, and
    interrupted or not.

    Args:
        candidates: of different names.
        basis: data and split; the held-out rows are not looked at.
        progress: is told which candidate is next, and which one leads.
        engine: tries them.
        memory: candidates that it recalls are not tried again.

    Raises:
        ConfigError: the engine is not installed.
        EngineError: the engine broke down; memory has what was finished.
    """
    recalled = [] if memory is None else [found for one in candidates if (found := memory.recall(one))]
    outcomes = {outcome.candidate.name: outcome for outcome in recalled}
    if outcomes:
        told = f"going on after {len(outcomes)} candidates of an interrupted search"
        progress(len(outcomes), len(candidates), told)
    waiting = [one for one in candidates if one.name not in outcomes]
    with contextlib.closing(engine.results(try_candidate, waiting, basis)) as results:
        while len(outcomes) < len(candidates):
            progress(len(outcomes), len(candidates), _standing(candidates, outcomes, basis.config.search))
            outcome = next(results)
            outcomes[outcome.candidate.name] = outcome
            if memory is not None:
                memory.keep(outcome)
    return tuple(outcomes[candidate.name] for candidate in candidates)


def try_candidate(candidate: Candidate, basis: Basis) -> Outcome:
    """Cross-validate one candidate; whatever goes wrong with it is its outcome."""
    from threadpoolctl import threadpool_limits

    seed, folds = basis.config.seed, basis.config.search.folds
    try:
        # One thread: the order in which several add up would show in the last bits.
        with threadpool_limits(1):
            cv = cross_validate(lambda: candidate.build(seed), basis.dataset, basis.split.train, folds=folds, seed=seed)
    except Exception as error:  # noqa: BLE001 - a third party's estimator may raise anything; it is told and recorded
        return Outcome(candidate=candidate, error=f"{type(error).__name__}: {error}"[:_LONGEST_ERROR])
    return Outcome(candidate=candidate, cv=cv)


def rank(judged: Iterable[J], config: SearchConfig) -> tuple[J, ...]:
    """Those that did not fail, best first, by the mean over the folds; of equals the earlier one.

    The held-out rows have no say, so that they stay an honest judge.
    """
    finished = [one for one in judged if one.cv is not None]
    return tuple(sorted(finished, key=lambda one: -_score(one.cv, config)))


def demand_one(outcomes: Sequence[Outcome]) -> None:
    """Let a search through of which something can be used.

    Raises:
        SearchError: every candidate failed.
    """
    if all(one.cv is None for one in outcomes):
        first = outcomes[0]
        raise SearchError(
            f"all {len(outcomes)} candidates failed; the first, {first.candidate.name}, with {first.error}"
            if len(outcomes) > 1
            else f"the only candidate, {first.candidate.name}, failed with {first.error}"
        )


def errors_of(outcomes: Iterable[Outcome]) -> dict[str, str]:
    """Of those that failed, by name."""
    return {one.candidate.name: one.error for one in outcomes if one.error is not None}


def _score(cv: CrossValidation | None, config: SearchConfig) -> float:
    """What ranks a candidate: the higher, the better."""
    value = math.nan if cv is None else float(getattr(cv.mean, config.metric))
    return -value if config.metric == "log_loss" else value


def _standing(candidates: Sequence[Candidate], outcomes: dict[str, Outcome], config: SearchConfig) -> str:
    """Which candidate is next, where it stands in its family, and which one leads."""
    current = next(one for one in candidates if one.name not in outcomes)
    family = [one for one in candidates if one.family and one.family == current.family]
    text = f"training {current.name}"
    if len(family) > 1:
        text += f" ({family.index(current) + 1} of {len(family)})"
    best = rank((outcomes[one.name] for one in candidates if one.name in outcomes), config)[:1]
    for leader in best:
        text += f"; best so far: {leader.candidate.name}, {config.metric} {abs(_score(leader.cv, config)):.4f}"
    return text
