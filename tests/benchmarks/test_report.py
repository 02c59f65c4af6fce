"""The report says what was measured, and keeps what others wrote beside it."""

from __future__ import annotations

import sys

import msgspec
import pytest
from click.testing import CliRunner

import hotgate
from benchmarks.cli import bench
from benchmarks.figures import Figures, Machine, MemoryFigures, ServingFigures, Side, StartupFigures, SwapFigures
from benchmarks.load import Slice
from benchmarks.machine import this_machine, versions
from benchmarks.plots import draw_figures
from benchmarks.report import insert, render, write

MIB = 2**20


def side(throughput: float) -> Side:
    return Side(
        blocks=6, requests=60_000, throughput_per_s=throughput, p50_us=120.4, p99_us=1_530.2, generator_share=0.42
    )


@pytest.fixture
def figures() -> Figures:
    return Figures(
        date="2026-01-02 03:04 UTC",
        command="hotgate bench",
        machine=Machine(cpu="A CPU", cores=2, memory_gib=7.7, kernel="6.1"),
        versions={"python": "3.11.7", "hotgate": "0.1.0"},
        block_s=3.0,
        error_max=1.2e-7,
        serving=(
            ServingFigures(connections=1, hotgate=side(7_000), fixed=side(10_000), ratios=(0.7, 0.71, 0.6, 0.8)),
            ServingFigures(connections=32, hotgate=side(50_000), fixed=side(100_000), ratios=(0.5, 0.5)),
        ),
        startup=StartupFigures(seconds=(1.0, 1.5, 1.1)),
        memory=MemoryFigures(worker=90 * MIB, supervisor=20 * MIB, fixed_worker=24 * MIB),
        swap=SwapFigures(
            poll_interval_s=1,
            rate_per_s=500,
            requests=9_000,
            failed=0,
            missed=2,
            seconds=(0.5, 1.25),
            p50_us=300,
            p99_us=2_000,
            max_us=30_000,
        ),
    )


def test_report_states_how_and_on_what(figures):
    """Date, machine, versions and command come before the figures, and the limits after."""
    text = render(figures)
    for said in (
        "- Date: 2026-01-02 03:04 UTC",
        "- Machine: A CPU, 2 cores, 7.7 GiB, Linux 6.1",
        "- Versions: python 3.11.7, hotgate 0.1.0",
        "- Command: `hotgate bench`",
        "What this does not say:",
    ):
        assert said in text
    assert text.index("Command") < text.index("req/s") < text.index("What this does not say")


def test_report_tabulates_both_sides(figures):
    """Throughput, the ratio by pairs with its range, and latencies, a row for each number of connections."""
    lines = render(figures).splitlines()
    assert "| 1 | 7,000 | 10,000 | 0.70 (0.60 to 0.80) | 120 / 1,530 | 120 / 1,530 |" in lines
    assert "| 32 | 50,000 | 100,000 | 0.50 (0.50 to 0.50) | 120 / 1,530 | 120 / 1,530 |" in lines
    assert any(line.endswith("| 1.10 s | 1.50 s | 3 |") for line in lines)
    assert any(line.endswith("| 0.88 s | 1.25 s | 2 |") for line in lines)


def test_tables_are_square(figures):
    """Each line of a table has as many cells as its head."""
    cells = [line.count("|") for line in render(figures).splitlines() if line.startswith("|")]
    assert cells == [7, 7, 7, 7, 5, 5, 5, 5]


@pytest.mark.parametrize("page", ["", "# Figures\n\nBy hand.\n", "# Figures"])
def test_section_is_replaced_and_nothing_else(page):
    """A page without the section gets it at its end; from then on only what is between the marks changes."""
    once = insert(page, "first")
    by_hand = once + "\nAfter, by hand.\n"
    twice = insert(by_hand, "second")
    assert once.startswith(page.rstrip("\n") or "# Benchmarks")
    assert "first" in once
    assert twice == by_hand.replace("first", "second")


def test_sections_of_several_commands_share_a_page():
    """Each replaces its own, wherever it stands."""
    page = insert(insert("", "mine"), "theirs", "hotgate bench other")
    page = insert(insert(page, "mine again"), "theirs again", "hotgate bench other")
    assert page.count("begin") == 2
    assert page.index("mine again") < page.index("theirs again")
    assert "mine\n" not in page


def test_figures_survive_json(figures):
    """What `--json` prints decodes to the same value."""
    assert msgspec.json.decode(msgspec.json.encode(figures), type=Figures) == figures


def test_machine_is_described():
    """Whatever the machine is, each part has a value, and hotgate's own version is among them."""
    machine = this_machine()
    assert machine.cpu
    assert machine.cores >= 1
    assert machine.memory_gib > 0.1
    assert versions()["hotgate"]


def test_help_and_summary_agree():
    """`hotgate --help` prints the command's own first line."""
    assert bench.help
    assert bench.help.splitlines()[0] == hotgate.SUMMARIES["bench"]
    text = CliRunner().invoke(bench, ["--help"]).output
    assert all(option in text for option in ("--json", "--seconds", "--output", "--plots"))


def test_page_is_written_where_it_was_asked_for(figures, tmp_path):
    """Folders are made; writing again changes nothing."""
    page = tmp_path / "docs" / "benchmarks.md"
    write(render(figures), page)
    once = page.read_text()
    write(render(figures), page)
    assert render(figures) in once
    assert page.read_text() == once


def test_figures_are_drawn(figures, tmp_path):
    """Throughput always, swaps if there is a timeline."""
    draw_figures(figures, tmp_path / "without")
    assert [path.name for path in (tmp_path / "without").iterdir()] == ["throughput.png"]
    counts = dict.fromkeys(("refused", "other_status", "lost", "reset_reused", "unsent", "answered"), 0)
    slices = (Slice(ok=1, **counts, p50_us=1, p99_us=2, max_us=3),) * 9
    swap = msgspec.structs.replace(figures.swap, slice_s=0.1, slices=slices, warmup_s=0.2, asked_s=(0.5,))
    draw_figures(msgspec.structs.replace(figures, swap=swap), tmp_path / "with")
    assert sorted(path.name for path in (tmp_path / "with").iterdir()) == ["swaps.png", "throughput.png"]


def test_plots_without_matplotlib_are_refused_before_measuring(monkeypatch, tmp_path):
    """Exit code 2 and the install line."""
    monkeypatch.setenv("HOTGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = CliRunner().invoke(bench, ["--plots", str(tmp_path)])
    assert done.exit_code == 2
    assert "pip install 'hotgate[train]'" in done.stderr


def test_failed_measurement_is_an_error(monkeypatch, tmp_path):
    """No page, no figures: the reason and exit code 1."""
    monkeypatch.setenv("HOTGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path))
    done = CliRunner().invoke(bench, ["--output", str(tmp_path / "page.md")])
    assert done.exit_code == 1
    assert "gcc is not installed" in done.stderr
    assert not done.stdout
    assert not (tmp_path / "page.md").exists()
