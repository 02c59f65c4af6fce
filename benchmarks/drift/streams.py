"""The streams that every detector is given, as files: rows that drift or do not, and where they begin to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from benchmarks.drift.figures import Kind
from benchmarks.drift.shifts import SHIFTS, draw, shifted
from benchmarks.drift.subjects import Block, Subject, bundled, fitted, read_block, train_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

__all__ = ["ANNOTATED_ROWS", "Bank", "DriftPlan", "RiverSpec", "Stream", "build", "river_specs"]

BEFORE_WINDOWS: Final = 4
"""Whole windows before a change; it comes at any row of the next one."""
AFTER_WINDOWS: Final = 7
SLOW: Final = "iris"
"""The source whose streams the slow detectors are given: few columns."""
COST_ROWS: Final = 10_000
COST_FEATURES: Final = 30
ANNOTATED_ROWS: Final = 100
"""Reference and windows of the annotated series, which are short."""


class DriftPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured."""

    seed: int = 42
    window_rows: int = 500
    reference_rows: int = 5000
    sources: tuple[str, ...] = ("iris", "diabetes", "cancer")
    """Bundled sets with controlled changes."""
    models: int = 3
    """Of each source: another reference, another estimator."""
    repeats: int = 2
    """Of each change, for each model."""
    quiet_windows: int = 67
    """Of each model, without drift: three models make 201, of which the second largest value is passed by 1 %."""
    null_rows: tuple[int, ...] = (50, 100, 300, 1000, 10_000, 100_000)
    """Sizes of the windows in the table of false alarms."""
    null_repeats: int = 200
    """Windows of each size and set there."""
    target: float = 0.01

    @property
    def stream_rows(self) -> int:
        """Of one that changes."""
        return (BEFORE_WINDOWS + AFTER_WINDOWS) * self.window_rows


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """One sequence of rows for one model."""

    name: str
    """Of its file."""
    model: str
    source: str
    kind: Kind
    shift: str
    rows: int
    window_rows: int
    change: int | None = None
    """The first row that may be of another kind."""
    slow: bool = False
    """Given to slow detectors too."""


class RiverSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of river's generators."""

    name: str
    """Of the file that takes it."""
    generator: str
    kind: Kind
    model_seed: int
    sample_seed: int
    skip: int
    """Rows that the model's other streams took: for a generator whose one seed makes both the concept and the rows."""
    rows: int
    change: int | None = None


class Bank:
    """Subjects and streams, in a folder; `subjects` and `streams` grow here only."""

    def __init__(self, folder: Path, window_rows: int) -> None:
        self.folder, self.window_rows = folder, window_rows
        self.subjects: dict[str, Subject] = {}
        self.streams: list[Stream] = []
        for part in ("models", "streams"):
            (folder / part).mkdir(parents=True, exist_ok=True)

    def admit(self, subject: Subject) -> Subject:
        """Write a model's reference."""
        self.subjects[subject.name] = subject
        np.savez(self.folder / "models" / subject.name, rows=subject.reference, errors=subject.reference_errors)
        return subject

    def add(self, subject: Subject, block: Block, kind: Kind, shift: str, **options: Any) -> None:
        """Write a stream of whole windows."""
        window = options.pop("window_rows", self.window_rows)
        n = len(block.rows) // window * window
        rows, errors = subject.see(block.take(np.arange(n)))
        name = f"{len(self.streams):04d}"
        np.savez(self.folder / "streams" / name, rows=rows, errors=errors)
        self.streams.append(
            Stream(
                name=name,
                model=subject.name,
                source=subject.source,
                kind=kind,
                shift=shift,
                rows=n,
                window_rows=window,
                **options,
            )
        )

    def write_plan(self) -> Path:
        """Write what the peers' processes read."""
        path = self.folder / "plan.json"
        path.write_bytes(msgspec.json.encode({"streams": self.streams}))
        return path


def build(bank: Bank, plan: DriftPlan, *, river: Callable[[list[RiverSpec]], Path] | None) -> None:
    """Make all streams of a plan; equal plans make equal files.

    Args:
        bank: takes them.
        plan: what and how many.
        river: runs river's generators and returns the folder with what they made; None leaves them out.
    """
    for source in plan.sources:
        for number in range(plan.models):
            _bundled(bank, plan, source, number)
    if river is not None:
        specs = river_specs(plan)
        _generated(bank, specs, river(specs))
    _cost(bank, plan)


def _changes(plan: DriftPlan, rng: np.random.Generator) -> int:
    """A row of the first window after the quiet ones: a change does not wait for a window to begin."""
    return BEFORE_WINDOWS * plan.window_rows + int(rng.integers(plan.window_rows))


def _bundled(bank: Bank, plan: DriftPlan, source: str, number: int) -> None:
    rng = np.random.default_rng([plan.seed, number, *source.encode()])
    estimator, population = bundled(source, plan.seed + number)
    reference = draw(rng, population, plan.reference_rows)
    subject = bank.admit(fitted(f"{source}-{number}", source, estimator, reference))
    slow = source == SLOW
    quiet = draw(rng, population, plan.quiet_windows * plan.window_rows)
    bank.add(subject, quiet, "quiet", "", slow=slow)
    for repeat in range(plan.repeats):
        for shift in SHIFTS:
            change = _changes(plan, rng)
            block = shifted(rng, population, shift, change=change, n=plan.stream_rows)
            chosen = slow and repeat == 0 and shift.kind == "abrupt"
            bank.add(subject, block, shift.kind, shift.name, change=change, slow=chosen)


GENERATORS: Final[dict[str, tuple[Kind, ...]]] = {
    "RandomRBF, other centroids": ("abrupt", "gradual", "recurring"),
    "RandomRBF, moving centroids": ("gradual",),
    "LED, features swapped": ("abrupt", "gradual"),
    "SEA, other function": ("concept",),
    "Agrawal, other function": ("concept",),
    "Hyperplane, other plane": ("concept",),
}


def river_specs(plan: DriftPlan) -> list[RiverSpec]:
    """The generators' streams: for each source and model some rows to learn from, a reference, quiet ones, changes."""
    specs = []
    for index, (generator, kinds) in enumerate(GENERATORS.items()):
        for number in range(plan.models):
            rng = np.random.default_rng([plan.seed, index, number])
            wanted: list[tuple[str, Kind, int, int | None]] = [
                ("train", "quiet", 1000, None),
                ("reference", "quiet", plan.reference_rows, None),
                ("quiet", "quiet", plan.quiet_windows * plan.window_rows, None),
            ]
            wanted += [
                (f"{kind}-{repeat}", kind, plan.stream_rows, _changes(plan, rng))
                for repeat in range(plan.repeats)
                for kind in kinds
            ]
            specs += [
                RiverSpec(
                    name=f"{index}-{number}-{name}",
                    generator=generator,
                    kind=kind,
                    model_seed=plan.seed + 100 * number,
                    sample_seed=plan.seed + 100 * number + at,
                    skip=sum(before for _, _, before, _ in wanted[:at]),
                    rows=rows,
                    change=change,
                )
                for at, (name, kind, rows, change) in enumerate(wanted)
            ]
    return specs


def _generated(bank: Bank, specs: Iterable[RiverSpec], made: Path) -> None:
    """Streams of river's generators and, from the same folder, its annotated series."""
    for model, group in _by_model(specs):
        train, reference, *streams = [(spec, read_block(made / f"{spec.name}.npz")) for spec in group]
        source = train[0].generator
        subject = bank.admit(fitted(f"river-{model}", source, train_model(train[1]), reference[1]))
        for spec, block in streams:
            bank.add(subject, block, spec.kind, source if spec.change else "", change=spec.change)
    for path in sorted(made.glob("annotated-*.npz")):
        name, change = path.stem.removeprefix("annotated-").rsplit("-", 1)
        block = read_block(path)
        first, rest = np.arange(ANNOTATED_ROWS), np.arange(ANNOTATED_ROWS, len(block.rows))
        # No model: what stands for its score is the first column once more.
        subject = bank.admit(_unscored(f"annotated-{name}", name, block.take(first)))
        bank.add(
            subject,
            block.take(rest),
            "annotated",
            name,
            change=int(change) - ANNOTATED_ROWS,
            window_rows=ANNOTATED_ROWS,
        )


class _FirstColumn:
    """Scores a row by its first column, and is never wrong."""

    classes_ = np.zeros(1, dtype=np.int64)

    def predict_proba(self, rows: Any) -> Any:
        """[n, 1]."""
        return rows[:, :1]


def _unscored(name: str, source: str, reference: Block) -> Subject:
    return fitted(name, source, _FirstColumn(), reference)


def _by_model(specs: Iterable[RiverSpec]) -> Iterator[tuple[str, list[RiverSpec]]]:
    groups: dict[str, list[RiverSpec]] = {}
    for spec in specs:
        groups.setdefault("-".join(spec.name.split("-")[:2]), []).append(spec)
    yield from groups.items()


def _cost(bank: Bank, plan: DriftPlan) -> None:
    """The rows on which CPU time is taken: 30 correlated features, no drift. Their name is that of their model."""
    rng = np.random.default_rng([plan.seed, COST_FEATURES])

    def block(n: int) -> Block:
        rows = rng.normal(size=(n, COST_FEATURES)) + rng.normal(size=(n, 1))
        return Block(rows, (rows.sum(axis=1) > 0).astype(np.int64))

    subject = bank.admit(fitted("cost", "cost", train_model(block(1000)), block(plan.reference_rows)))
    bank.add(subject, block(COST_ROWS), "quiet", "cost")
