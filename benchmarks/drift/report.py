"""The comparison as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.drift import nulls
from benchmarks.drift.detector import HOTGATE
from benchmarks.drift.figures import Recall, Share
from benchmarks.report import setting, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.drift.figures import DetectorFigures, DriftFigures

__all__ = ["OWNER", "render"]

OWNER: Final = "hotgate bench drift"
"""Whose marks stand around the section."""
VISIBLE: Final = ("abrupt", "gradual", "recurring")
"""Kinds of change that a look at the rows can show."""
COST_ROWS: Final = 10_000


def render(figures: DriftFigures, picture: str | None = None) -> str:
    """The section that `hotgate bench drift` owns.

    Args:
        figures: what was measured.
        picture: the path of the plot, as the page names it.
    """
    parts = [
        _setting(figures),
        _equal(figures),
        *([f"![Mean delay over false-alarm rate]({picture})"] if picture else []),
        _better(figures),
        _by_shift(figures),
        _concept(figures),
        _defaults(figures),
        nulls.render(figures.nulls),
        _series(figures),
        _failures(figures),
        _limits(figures),
    ]
    return "\n\n".join(part for part in parts if part)


def _setting(figures: DriftFigures) -> str:
    head = setting(
        "Drift detection",
        date=figures.date,
        machine=figures.machine,
        versions=figures.versions,
        command=figures.command,
    )
    streams = ", ".join(f"{count} {kind}" for kind, count in figures.streams.items())
    peers = {name: number for one in figures.detectors for name, number in one.versions.items()}
    others = ", ".join(f"{name} {number}" for name, number in peers.items())
    return f"""{head}
{f"- Peers, each in an environment of its own: {others}" if others else "- Peers: none"}
- Took {figures.seconds / 60:.1f} minutes; seed {figures.seed}

Streams: {streams}, from {"; ".join(figures.sources)}. A reference of {figures.reference_rows:,} rows, closed windows \
of {figures.window_rows:,} rows, a logistic regression's score as one more column; a change begins at any row of the \
fifth window. Everyone gets the same rows, rounded to float32."""


def _equal(figures: DriftFigures) -> str:
    rows = [
        (
            _name(one),
            *(
                ("error", *["-"] * (4 + len(VISIBLE)))
                if one.failure is not None
                else (
                    f"{one.streams}",
                    _rate(one.false_equal),
                    _found(_together(one.at_equal)),
                    *(_delay(one.at_equal.get(kind)) for kind in VISIBLE),
                    _cost(one),
                    str(len(one.errors)),
                )
            ),
        )
        for one in figures.detectors
    ]
    head = (
        "detector",
        "streams",
        "false alarms, % of windows",
        "changes found",
        *(f"delay, {kind}" for kind in VISIBLE),
        f"CPU s / {COST_ROWS:,} rows",
        "errors",
    )
    common = [(one.name, one.common) for one in figures.detectors if one.common is not None]
    few = ""
    if common:
        cells = [(name, _found(found.found), _delay(found)) for name, found in common]
        what = "\n\nOn the streams that all were given, the slow ones too (iris, abrupt):\n\n"
        few = what + table(("detector", "changes found", "delay"), cells)
    return f"""### At an equal false-alarm rate

Each detector's threshold is set, for each source, so that a window without drift passes it with a probability of \
{figures.target:.0%}; false alarms are then counted on other windows, those before the changes. The delay is the \
median number of rows from the change to the end of the first window (for river's detectors, 50 rows) with an alarm; a \
change that is missed counts as never found.

{table(head, rows)}

\\* needs the truth: it looks at whether predictions were right.

hotgate counts in {figures.parts[0]:.2f} µs a row, and judges in {figures.parts[1]:.1f} ms a window, once.{few}"""


def _better(figures: DriftFigures) -> str:
    """Plainly, where a peer finds more, or the same earlier."""
    ours = next((one for one in figures.detectors if one.name == HOTGATE), None)
    if ours is None or len(figures.detectors) < 3:
        return ""
    found: dict[tuple[str, str, str], list[str]] = {}
    for one in figures.detectors:
        if not one.labels and not one.name.startswith(HOTGATE) and one.failure is None:
            for what, theirs, mine in _ahead(one, ours):
                found.setdefault((what, _pair(theirs), _pair(mine)), []).append(one.name)
    rows = [(what, mine, theirs, ", ".join(names)) for (what, theirs, mine), names in sorted(found.items())]
    said = table(("change", "hotgate", "peer", "which"), rows) if rows else "Nowhere in these figures."
    return f"### Where a peer is better than hotgate\n\nAt an equal false-alarm rate, median delay and found:\n\n{said}"


def _ahead(one: DetectorFigures, ours: DetectorFigures) -> Iterator[tuple[str, Recall, Recall]]:
    """The changes at which one is better than ours, on as many streams."""
    for what, theirs in one.shifts.items():
        mine = ours.shifts.get(what)
        if mine is None or mine.found.of != theirs.found.of or "(concept)" in what:
            continue
        later = (mine.delay_rows or float("inf")) - (theirs.delay_rows or float("inf"))
        if theirs.found.hits > mine.found.hits or (theirs.found.hits == mine.found.hits and later > 0):
            yield what, theirs, mine


def _by_shift(figures: DriftFigures) -> str:
    most = max((one.streams for one in figures.detectors), default=0)
    shown = [one for one in figures.detectors if one.failure is None and one.streams == most and not one.labels]
    changes = [what for what in (shown[0].shifts if shown else {}) if "(concept)" not in what]
    rows = [(what, *(_pair(one.shifts[what]) if what in one.shifts else "-" for one in shown)) for what in changes]
    words = "Median delay in rows, and how many of how many were found where it was not all."
    return f"### By what changes\n\n{words}\n\n{table(('change', *(one.name for one in shown)), rows)}"


def _concept(figures: DriftFigures) -> str:
    rows = [
        (_name(one), _found(one.at_equal["concept"].found), _delay(one.at_equal["concept"]))
        for one in figures.detectors
        if "concept" in one.at_equal
    ]
    if not rows:
        return ""
    return f"""### What no look at the rows can show

River's SEA, Agrawal and Hyperplane change what the label of a row is and leave the rows as they were. What is found \
here without the truth is chance: several windows, each with its {figures.target:.0%}. Only detectors that are told \
whether predictions were right can see it (`POST /feedback`).

{table(("detector", "changes found", "delay"), rows)}"""


def _defaults(figures: DriftFigures) -> str:
    rows = [
        (
            _name(one),
            one.default,
            one.knob,
            *(
                ("error", *["-"] * 2)
                if one.failure is not None
                else (
                    _rate(one.false_default),
                    _found(_together(one.by_default)),
                    " / ".join(_delay(one.by_default.get(kind)) for kind in VISIBLE),
                )
            ),
        )
        for one in figures.detectors
    ]
    head = (
        "detector",
        "settings",
        "what is turned for an equal rate",
        "false alarms, % of windows",
        "found",
        f"delay, {' / '.join(VISIBLE)}",
    )
    return f"### As they come\n\n{table(head, rows)}"


def _series(figures: DriftFigures) -> str:
    if not figures.series:
        return ""
    parts, told = [], {one.name for one in figures.detectors if one.labels}
    for one in figures.series:
        rows = [(name, f"`{marks}`") for name, marks in one.verdicts.items() if marks and name not in told]
        head = ("detector", f"{one.name}, windows of 100 rows, marked change at row {one.change}")
        parts.append(table(head, rows))
    return (
        "### Annotated series\n\nFrom river (Alan Turing Institute), at default settings, the first 100 rows as the"
        " reference; A alarm, - none, ? cannot say. The series trend: windows before the marked change differ from"
        " the reference too, so a comparison with a reference says little about them. Apple, Bitcoin and Brent are left"
        " out because their files have other rows than the annotations, RunLog and UKCoal because they change more"
        " often than once a window.\n\n" + "\n\n".join(parts)
    )


def _failures(figures: DriftFigures) -> str:
    failed = [f"{one.name} has no figures:\n\n```\n{one.failure}\n```" for one in figures.detectors if one.failure]
    errors = [f"- {one.name}, stream {text}" for one in figures.detectors for text in one.errors]
    return "\n\n".join([*failed, *(["Errors:\n\n" + "\n".join(errors)] if errors else [])])


def _limits(figures: DriftFigures) -> str:
    return f"""### How to read this

- Intervals are Wilson's, at 95 %; windows of one model share its reference, so they are a little wider in truth.
- A rate of {figures.target:.0%} a window finds some changes by chance: about one in fifteen over the seven windows \
after one.
- A threshold for each source is what a careful operator would set with much quiet data; as they come, nobody has.
- The peers' tests leave missing values out, so that kind of change is beyond them; Evidently and NannyML have other \
checks for it, which are not compared here.
- hotgate's default asks that a shift be large: on small ones it is later than its own test, on purpose.
- CPU time is that of one thread, after imports, 30 features and a score; Evidently's is the preset's, which also \
draws; those of one library are timed together; hotgate's is counting and judging.
- Changes are made, most of them: real drift comes in more columns, and slower."""


def _name(one: DetectorFigures) -> str:
    return f"{one.name} \\*" if one.labels else one.name


def _together(by_kind: dict[str, Recall]) -> Share:
    total = Share(hits=0, of=0)
    for kind in VISIBLE:
        total += by_kind[kind].found if kind in by_kind else Share(hits=0, of=0)
    return total


def _rate(share: Share | None) -> str:
    return "-" if share is None else share.percent


def _found(share: Share) -> str:
    return f"{share.hits} of {share.of}"


def _delay(found: Recall | None) -> str:
    if found is None or not found.found.of:
        return "-"
    return "never" if found.delay_rows is None else f"{found.delay_rows:,.0f}"


def _pair(found: Recall) -> str:
    missed = "" if found.found.hits == found.found.of else f" ({found.found.hits} of {found.found.of})"
    return _delay(found) + missed


def _cost(one: DetectorFigures) -> str:
    return "-" if one.cost is None else f"{one.cost.us_per_row * COST_ROWS / 1e6:.3g}"
