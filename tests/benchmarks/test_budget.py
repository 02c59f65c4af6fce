"""The budget: what it must say, how it is refused, and how a measurement becomes a limit."""

from __future__ import annotations

import math

import msgspec
import pytest

from benchmarks.budget import BUDGET, BudgetError, Metric, Source, allow, read_budget, render_budget, select

P99 = Metric(figure="p99", connections=32, rate_share=0.5, limit=3.0)
THROUGHPUT = Metric(figure="throughput", connections=1, limit=0.4)


def test_repositorys_budget_holds_throughput_and_p99():
    """Both figures are held, each limit with its source, on the right side of what was measured."""
    budget = read_budget(BUDGET)
    assert {metric.figure for metric in budget.values()} == {"throughput", "p99"}
    assert {metric.connections for metric in budget.values() if metric.figure == "throughput"} == {1, 32}
    for metric in budget.values():
        assert metric.source is not None
        assert metric.stricter(metric.limit, metric.source.median) == metric.source.median


def test_repositorys_budget_is_as_it_would_be_written():
    """Measuring anew changes limits and sources, and nothing else in the file."""
    assert BUDGET.read_text() == render_budget(read_budget(BUDGET))


def test_budget_survives_writing(tmp_path):
    """Names and texts of any kind, goals, and limits without a source."""
    source = Source(median=0.5, spread=1e-5, pairs=24, date="2026-01-02 03:04 UTC", machine='A "CPU" \\ µ')
    budget = {
        "plain": THROUGHPUT,
        'p99 at "half" load': msgspec.structs.replace(P99, goal=1.5),
        "x.y": msgspec.structs.replace(THROUGHPUT, source=source),
    }
    path = tmp_path / "budget.toml"
    path.write_text(render_budget(budget))
    assert read_budget(path) == budget


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read: No such file"),
        ("[x", "not valid TOML"),
        ("", "has no metric"),
        ("x = 1", r"\[x\]: Expected `object`"),
        ('[x]\nfigure = "throughput"\nconnections = 1', r"\[x\]: .*missing required field `limit`"),
        ('[x]\nfigure = "throughput"\nconnections = 1\nlimit = 0.0', r"\[x\]: .*> 0.0.*`\$.limit`"),
        ('[x]\nfigure = "throughput"\nconnections = 0\nlimit = 0.4', r"\[x\]: .*>= 1.*`\$.connections`"),
        ('[x]\nfigure = "p50"\nconnections = 1\nlimit = 0.4', r"\[x\]: Invalid enum value 'p50'"),
        ('[x]\nfigure = "throughput"\nconnections = 1\nlimit = 0.4\nlimits = 2', "unknown field `limits`"),
        ('[x]\nfigure = "p99"\nconnections = 1\nlimit = 2.0', "rate_share belongs to figure p99"),
        ('[x]\nfigure = "p99"\nconnections = 1\nlimit = 2.0\nrate_share = 1.0', r"< 1.0.*`\$.rate_share`"),
        ('[x]\nfigure = "throughput"\nconnections = 1\nlimit = 0.4\nrate_share = 0.5', "rate_share belongs"),
        ('[x]\nfigure = "throughput"\nconnections = 1\nlimit = 0.4\nsource = { median = 1 }', r"`\$.source`"),
    ],
)
def test_wrong_budgets_are_refused(tmp_path, text, said):
    """The message names the file, and the metric, key and bound that it is about."""
    path = tmp_path / "budget.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BudgetError, match=f"(?s){path}.*{said}"):
        read_budget(path)


def test_metrics_are_selected_by_name():
    """None named is all of them; an unknown name shows those that there are."""
    budget = {"one": THROUGHPUT, "two": P99}
    assert select(budget, ()) == budget
    assert select(budget, ("two",)) == {"two": P99}
    with pytest.raises(BudgetError, match="no metric 'three'; it has one, two"):
        select(budget, ("one", "three"))


def test_limit_is_the_median_worse_by_three_spreads():
    """Lower for a throughput, higher for a p99; one block that a neighbour hit moves neither."""
    noise = [-0.02, -0.01, 0.0, 0.01, 5.0]
    spread = 1.4826 * 0.01
    for metric, sign in ((THROUGHPUT, -1), (P99, 1)):
        log_ratios = [math.log(0.5) + sign * value for value in noise]
        given = allow(metric, log_ratios, date="2026-01-02", machine="A CPU")
        assert given.limit == pytest.approx(0.5 * math.exp(3 * sign * spread), abs=5e-4)
        assert given.source == Source(median=0.5, spread=0.0148, pairs=5, date="2026-01-02", machine="A CPU")
        assert msgspec.structs.replace(given, limit=metric.limit, source=None) == metric


@pytest.mark.parametrize(
    ("median", "limit"),
    [(1.0, 1.4), (1.3, 1.5), (1.6, 1.6 * 1.4)],
)
def test_goal_that_is_kept_bounds_the_limit(median, limit):
    """With noise of 40 %: below the goal the limit is never looser than it; a goal that is missed is no limit yet."""
    metric = msgspec.structs.replace(P99, goal=1.5)
    spread = math.log(1.4) / 3 / 1.4826
    given = allow(metric, [math.log(median) + off for off in (-spread, 0, spread)], date="", machine="")
    assert given.limit == pytest.approx(limit, abs=1e-3)
