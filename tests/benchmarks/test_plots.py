"""Pictures: that they are drawn, of what, and what is said where they cannot be."""

from __future__ import annotations

import re
import sys
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner

from benchmarks import plots
from benchmarks.load import Latency, Slice
from benchmarks.load.cli import load
from benchmarks.plots import PlotError, Point, Timeline, draw_curve, draw_percentiles, draw_timeline

SVG = "{http://www.w3.org/2000/svg}"


def latency(**buckets_us: int) -> Latency:
    counts = {int(name[1:]) * 1000: n for name, n in buckets_us.items()}
    top = max(counts) / 1e3
    return Latency(
        n=sum(counts.values()), mean_us=1, p50_us=1, p90_us=1, p99_us=1, p999_us=1, max_us=top, buckets=counts
    )


def part(p99_us: float | None, **faults: int) -> Slice:
    counts = {
        **dict.fromkeys(("ok", "refused", "other_status", "lost", "reset_reused", "unsent", "answered"), 0),
        **faults,
    }
    return Slice(**counts, p50_us=p99_us and p99_us / 2, p99_us=p99_us, max_us=p99_us)


def words(path) -> str:
    """All text of an SVG: it is drawn as shapes, but each stands in a comment beside them."""
    return " ".join(re.findall(r"<!-- (.*?) -->", path.read_text(encoding="utf-8")))


def test_percentile_axis_gives_each_nine_the_same_width():
    """90 %, 99 % and 99.9 % stand at 1, 2 and 3; the last answer has a place although 100 % has none."""
    nines, values = plots._nines(latency(_100=900, _200=90, _400=9, _800=1))
    assert nines == pytest.approx([0, 1, 2, 3, 3.30103])
    assert values == [0.1, 0.1, 0.2, 0.4, 0.8]


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_percentiles_are_drawn(tmp_path, suffix):
    """The file is a picture of its kind, in a folder that is made for it."""
    path = tmp_path / "new" / f"a{suffix}"
    draw_percentiles({"here": latency(_100=990, _900=10)}, path, title="A title", how="How it was")
    if suffix == ".svg":
        assert ET.parse(path).getroot().tag == f"{SVG}svg"
        assert all(said in words(path) for said in ("A title", "How it was", "here", "99.9 %", "latency, ms"))
        assert "99.99 %" not in words(path)  # a thousand answers say nothing of it
    else:
        assert path.read_bytes().startswith(b"\x89PNG")


def test_curve_names_every_load(tmp_path):
    """Each server has two lines, each load its label."""
    points = [Point(label=f"{n}/s", throughput_per_s=n, p50_us=n, p99_us=3 * n) for n in (100, 1000)]
    draw_curve({"hotgate": points, "fixed": points}, tmp_path / "a.svg", title="T", how="H")
    for said in ("100/s", "1000/s", "hotgate p99", "hotgate p50", "fixed p99", "fixed p50"):
        assert said in words(tmp_path / "a.svg")


def test_timeline_has_a_line_where_something_happened(tmp_path):
    """Warm-up is left out, equal events share a name in the legend, failures are shaded and counted."""
    slices = (part(9e9), part(900), part(1_000), part(None, lost=7), part(1_100))
    timeline = Timeline(
        slice_s=0.1, slices=slices, moments=((0.2, "to b"), (0.3, "to a"), (0.4, "to b")), measured_from_s=0.1
    )
    draw_timeline(timeline, tmp_path / "a.svg", title="T", how="H")
    said = words(tmp_path / "a.svg")
    assert said.count("to b") == said.count("to a") == 1
    assert "slices of 100 ms; dark: 7 failed" in said
    assert "10000" not in said  # the warm-up's latency would stretch the axis


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_equal_figures_are_equal_files(tmp_path, suffix):
    """A page that shows a plot changes only if the figures do; no time of day, no random names."""
    paths = [tmp_path / f"{name}{suffix}" for name in "ab"]
    for path in paths:
        draw_percentiles({"x": latency(_100=10)}, path, title="T", how="H")
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert b"dc:date" not in paths[0].read_bytes()


def test_without_matplotlib_the_install_line_is_given(monkeypatch, tmp_path):
    """Before any load is sent; the command's exit code is 2."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(PlotError, match=r"pip install 'hotgate\[train\]'"):
        draw_percentiles({"x": latency(_100=10)}, tmp_path / "a.png", title="T", how="H")
    done = CliRunner().invoke(load, ["http://127.0.0.1:1/", "--plot", str(tmp_path / "a.png")])
    assert done.exit_code == 2
    assert "pip install 'hotgate[train]'" in done.stderr


def test_load_draws_percentiles_or_a_curve(generator, server, tmp_path):
    """One rate has a distribution, several have a curve."""

    async def script(exchange):
        exchange.answer()

    server.play(script)
    common = [f"http://127.0.0.1:{server.port}/", "--seconds=0.2", "--warmup=0", "--missed-max=1"]
    for rates, title in (("--rate=100", "Latency by percentile"), ("--rates=100,200", "Latency against throughput")):
        done = CliRunner().invoke(load, [*common, rates, f"--plot={tmp_path / 'a.svg'}"], obj=generator.parent)
        assert done.exit_code == 0, done.output
        assert title in words(tmp_path / "a.svg")
