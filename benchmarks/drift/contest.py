"""The whole comparison: streams, detectors, thresholds, figures."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from benchmarks.affinity import cores
from benchmarks.drift import nulls
from benchmarks.drift.detector import (
    BOTH,
    HOTGATE,
    SHORT,
    SHORTER,
    TWICE,
    Found,
    Hotgate,
    ShortHotgate,
    read_rows,
    survey,
)
from benchmarks.drift.figures import DetectorFigures, DriftFigures, Series, Verdicts
from benchmarks.drift.peers import PEERS, Described, river_streams, run_peers
from benchmarks.drift.score import at_default, calibrated, curve, false_alarms, recall, recalls
from benchmarks.drift.streams import Bank, DriftPlan, RiverSpec, Stream, build
from benchmarks.errors import BenchError
from benchmarks.machine import this_machine, versions
from monitoring.alarm import RAISE_AFTER
from monitoring.verdict import ALPHA, MIN_EFFECT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

__all__ = ["FULL", "QUICK", "annotated_series", "compare", "detector_figures"]

FULL: Final = DriftPlan()
QUICK: Final = DriftPlan(
    sources=("iris",),
    models=3,
    repeats=1,
    quiet_windows=34,
    reference_rows=2000,
    null_rows=(100, 1000, 10_000),
    null_repeats=20,
)
"""`--quick`: 102 windows without drift of each source are just enough for 1 %."""
OURS: Final = (
    Described(
        name=HOTGATE,
        default=f"PSI and KS, significant at {ALPHA:g} (Benjamini-Hochberg) and {MIN_EFFECT:g} above chance, or another"
        " share of missing values; any column",
        knob="level, without the least effect",
    ),
    Described(
        name=TWICE,
        default=f"the same in {RAISE_AFTER} windows in a row, as alarms are raised",
        knob="level, without the least effect",
    ),
    Described(
        name=SHORT,
        default=f"the same in windows of 1/{SHORTER} of the rows",
        knob="level, without the least effect",
    ),
    Described(
        name=BOTH,
        default="the same in windows of either length",
        knob="level of both, without the least effect",
    ),
)


def compare(
    folder: Path, plan: DriftPlan, peers: Sequence[str], *, command: str, say: Callable[[str], None]
) -> DriftFigures:
    """Measure hotgate and some peers on the same streams.

    Args:
        folder: for streams, environments and logs; kept.
        plan: how much.
        peers: keys of `PEERS`; without any, river's streams are left out too.
        command: stands in the report, for whoever measures again.
        say: told what is being done.

    Raises:
        BenchError: river's streams could not be made.
    """
    begin = time.monotonic()
    bank = Bank(folder / "run", plan.window_rows)
    say("making streams")

    def generate(specs: list[RiverSpec]) -> Path:
        return river_streams(specs, folder, bank.folder, say)

    build(bank, plan, river=generate if peers else None)
    say(f"hotgate judges {len(bank.streams)} streams")
    ours = Hotgate()
    found = survey(ours, bank) | survey(ShortHotgate(), bank)
    ran = run_peers(peers, bank.write_plan(), folder, at_once=min(2, len(cores())), say=say)
    detectors = [detector_figures(one, bank.streams, found[one.name], plan.target) for one in OURS]
    for name in peers:
        for one in PEERS[name].detectors:
            judged, failure = ran[name].found.get(one.name), ran[name].failure
            if judged is None:
                figures = DetectorFigures(name=one.name, default=one.default, knob=one.knob, failure=failure)
            else:
                found[one.name] = judged
                figures = detector_figures(one, bank.streams, judged, plan.target)
            detectors.append(msgspec.structs.replace(figures, versions=ran[name].versions))
    return DriftFigures(
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        command=command,
        machine=this_machine(),
        versions=versions(),
        seed=plan.seed,
        window_rows=plan.window_rows,
        reference_rows=plan.reference_rows,
        target=plan.target,
        streams=_kinds(bank.streams),
        sources=tuple(dict.fromkeys(one.source for one in bank.streams if one.source != "cost")),
        parts=ours.cost_of_parts(read_rows(bank, bank.streams[-1]), plan.window_rows),
        nulls=nulls.measure(plan, say),
        detectors=_on_common_streams(detectors, bank.streams, found, plan.target),
        series=annotated_series(bank.streams, found),
        seconds=time.monotonic() - begin,
    )


def detector_figures(one: Described, streams: Sequence[Stream], judged: Found, target: float) -> DetectorFigures:
    """What the verdicts of a detector come to; one without verdicts has failed.

    Raises:
        BenchError: too few windows without drift to bring it to the rate.
    """
    described = DetectorFigures(name=one.name, default=one.default, knob=one.knob, labels=one.labels)
    if not judged.verdicts:
        reasons = "; ".join(sorted(set(judged.failed.values()))) or "no verdicts"
        return msgspec.structs.replace(described, failure=reasons)
    known = {stream.name: stream for stream in streams if stream.kind != "annotated"}
    verdicts = {name: given for name, given in judged.verdicts.items() if name in known}
    default = [at_default(known[name], given) for name, given in verdicts.items()]
    try:
        equal = calibrated(known, verdicts, target)
    except ValueError as error:
        raise BenchError(f"{one.name}: {error}") from error
    return msgspec.structs.replace(
        described,
        streams=len(verdicts),
        errors=tuple(f"{name}: {reason}" for name, reason in judged.failed.items()),
        false_default=false_alarms(default),
        false_equal=false_alarms(equal),
        by_default=recalls([one for one in default if one.stream.change is not None], lambda stream: stream.kind),
        at_equal=recalls(equal, lambda stream: stream.kind),
        shifts=recalls(equal, lambda stream: f"{stream.shift} ({stream.kind})"),
        curve=curve(known, verdicts),
        cost=judged.cost,
    )


def _on_common_streams(
    detectors: Sequence[DetectorFigures], streams: Sequence[Stream], found: Mapping[str, Found], target: float
) -> tuple[DetectorFigures, ...]:
    """Where one was given fewer streams than others, all are compared on those as well."""
    known = {stream.name: stream for stream in streams if stream.kind != "annotated"}
    given = [set(found[one.name].verdicts) for one in detectors if one.failure is None]
    common = set.intersection(*given) & known.keys() if given else set[str]()
    if not any(known[name].change is not None for name in common) or len({*map(len, given)}) == 1:
        return tuple(detectors)
    replaced = []
    for one in detectors:
        if one.failure is None:
            verdicts = {name: said for name, said in found[one.name].verdicts.items() if name in common}
            one = msgspec.structs.replace(one, common=recall(calibrated(known, verdicts, target)))  # noqa: PLW2901
        replaced.append(one)
    return tuple(replaced)


def _kinds(streams: Sequence[Stream]) -> dict[str, int]:
    kinds = [stream.kind for stream in streams if stream.source != "cost"]
    return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}


def annotated_series(streams: Sequence[Stream], found: Mapping[str, Found]) -> tuple[Series, ...]:
    """What each detector says, as it comes, of series whose changes people have marked."""
    return tuple(
        Series(
            name=stream.shift,
            rows=stream.rows,
            change=stream.change or 0,
            verdicts={name: _marks(stream, one.verdicts.get(stream.name)) for name, one in found.items()},
        )
        for stream in streams
        if stream.kind == "annotated"
    )


def _marks(stream: Stream, verdicts: Verdicts | None) -> str:
    """A letter a window: alarm (A), none (-), cannot say (?); empty if there are no verdicts."""
    if verdicts is None:
        return ""
    per_window = len(verdicts.alarm) * stream.window_rows // stream.rows
    marks = []
    for at in range(0, len(verdicts.alarm), per_window):
        silent = all(value is None for value in verdicts.statistic[at : at + per_window])
        marks.append("A" if any(verdicts.alarm[at : at + per_window]) else "?" if silent else "-")
    return "".join(marks)
