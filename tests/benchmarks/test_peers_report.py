"""The comparison's report: every server in every table, failures shown as such, and how it was measured."""

from __future__ import annotations

import msgspec
import pytest

from benchmarks.figures import Machine, Side
from benchmarks.peers.figures import Cell, Load, PeerFigures, PeersFigures
from benchmarks.peers.report import render
from benchmarks.subject import KINDS

LOADS = (Load(connections=1), Load(connections=32))


def cell(load: Load, throughput: float, *, errors: int = 0) -> Cell:
    return Cell(
        load=load,
        side=Side(
            blocks=3,
            requests=6_000,
            throughput_per_s=throughput,
            p50_us=120.4,
            p99_us=1_530.2,
            generator_share=0.42,
        ),
        errors=errors,
        faults=f"{errors} status 503" if errors else "",
        to_fixed=(throughput / 10_000, throughput / 10_000, 7.0),
        to_hotgate=(throughput / 5_000,),
    )


def peer(name: str, throughput: float, *, errors: int = 0, failure: str | None = None) -> PeerFigures:
    return PeerFigures(
        name=name,
        label=f"{name} itself",
        versions={"mosec": "0.9"} if name == "mosec" else {},
        error_max=None if name == "fixed" else 1.2e-7,
        failure=failure,
        cells=() if failure else tuple(cell(load, throughput, errors=errors) for load in LOADS),
    )


@pytest.fixture
def figures() -> PeersFigures:
    return PeersFigures(
        date="2026-01-02 03:04 UTC",
        command="hotgate bench peers",
        machine=Machine(cpu="A CPU", cores=2, memory_gib=7.7, kernel="6.1"),
        versions={"python": "3.11.7", "hotgate": "0.1.0"},
        model="forest",
        server_core=0,
        generator_core=1,
        block_s=(1.04, 5.0),
        peers=(
            peer("hotgate", 5_000),
            peer("fixed", 10_000),
            peer("mosec", 2_500, errors=3),
            peer("mlflow", 0, failure="`mlflow` ended with 1; the log ends with:\nno such model"),
        ),
    )


def test_report_states_how_and_on_what(figures):
    """Date, machine, versions and command come before the figures, and how to read them after."""
    text = render(figures)
    for said in (
        "- Date: 2026-01-02 03:04 UTC",
        "- Command: `hotgate bench peers`",
        "a random forest, 100 trees of depth 5",
        "core 0 with all its processes, the generator on core 1",
        "up to 3 blocks of 1.0 to 5.0 s",
        "| mosec: mosec itself | mosec 0.9 | 1.2e-07 |",
        "| fixed: fixed itself | as above | - |",
    ):
        assert said in text
    assert text.index("Command") < text.index("req/s") < text.index("How to read this:")


def test_report_has_every_server_under_every_load(figures):
    """Throughput, its ratios to the fixed answer and to hotgate, latencies, and errors with what they were."""
    lines = render(figures).splitlines()
    assert lines.count("| mosec | 2,500 | 0.250 | 0.500 | 120 | 1,530 | 6,000 | 3 |") == 2
    assert lines.count("| fixed | 10,000 | 1.000 | 2.000 | 120 | 1,530 | 6,000 | 0 |") == 2
    assert lines.count("- mosec: 3 status 503") == 2
    assert [line for line in lines if line.startswith("###")] == ["### 1 connection", "### 32 connections"]


def test_failure_is_shown_and_never_a_zero(figures):
    """A server without figures is an error in each table; below stands why, with the end of its log."""
    text = render(figures)
    assert text.count("| mlflow | error | - | - | - | - | - | - |") == 2
    assert "mlflow has no figures:\n\n```\n`mlflow` ended with 1; the log ends with:\nno such model\n```" in text
    assert figures.failed == ("mlflow",)


def test_tables_are_square(figures):
    """Each line of a table has as many cells as its head."""
    cells = [line.count("|") for line in render(figures).splitlines() if line.startswith("|")]
    assert cells == [4] * 6 + [9] * 12


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_is_described(figures, kind):
    """Whatever can be measured has its words."""
    assert "One row of 30 floats for each request, " in render(msgspec.structs.replace(figures, model=kind))


def test_figures_survive_json(figures):
    """What `--json` prints decodes to the same value."""
    assert msgspec.json.decode(msgspec.json.encode(figures), type=PeersFigures) == figures
