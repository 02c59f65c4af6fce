"""What each protocol costs: the same rows of the same model in every form, and a model of mixed columns."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from benchmarks.errors import BenchError
from benchmarks.forms import FORMS, Form, Sent, check_form
from benchmarks.load import LoadPlan, LoadResult, run
from benchmarks.report import table
from benchmarks.rig import SERVE
from benchmarks.scenarios.plan import checked
from benchmarks.servers import ask
from benchmarks.subject import NAME, check_answers, train_subject

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.rig import Rig
    from benchmarks.scenarios.plan import ScenarioPlan
    from benchmarks.subject import Subject

__all__ = ["TITLE", "Asked", "ProtocolFigures", "draw", "measure", "render"]

TITLE = "Protocols and mixed columns"
CONNECTIONS = (1, 32, 256)
MANY_ROWS = 1000
MANY_CONNECTIONS = 4
MIXED = "mixed"
FLOATS = "floats"
CITIES = ("Aarau", "Basel", "Bern", "Genf", "Luzern", "Zürich")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One form under one load: medians over blocks."""

    throughput_per_s: float
    p50_us: float
    p99_us: float


class ProtocolFigures(msgspec.Struct, frozen=True, kw_only=True):
    """By form, and by number of connections."""

    block_s: float
    rounds: int
    requests: int
    one_row: dict[str, list[Asked]]
    """At each of `CONNECTIONS`."""
    many_rows: dict[str, Asked]
    body_bytes: dict[str, int]
    """Of one row."""
    mixed: dict[str, list[Asked]]
    """A row of a model of mixed columns, and one of as many floats."""
    forest_trees: int
    forest_s: dict[str, float]
    """Seconds that a forest takes: to convert, to convert and certify and describe, to verify."""
    forest_bytes: int
    forest_rows: int
    """That its certificate compared."""


def measure(rig: Rig, plan: ScenarioPlan, say: Callable[[str], None]) -> ProtocolFigures:
    """All forms in turn, forwards and backwards, on one server."""
    say("training the models")
    subject = train_subject(rig.folder, "linear")
    kinds = _train_mixed(rig.folder, plan.seed)
    models = [f"{NAME}={subject.file}", *(f"{name}={path}" for name, (path, _) in kinds.items())]
    command = [part for model in models for part in ("--model", model)]
    blocks: dict[tuple[str, int], list[LoadResult]] = {}
    environment = {"HOTGATE_GATEWAY_DEFAULT_MODEL": NAME}
    with rig.server(*SERVE, *command, "--port", log="protocols", environment=environment) as server:
        check_answers(server.port, subject)
        names = _names(server.port)
        one = {form: _checked(found, server.port, subject, names, 1) for form, found in FORMS.items()}
        many = {form: _checked(found, server.port, subject, names, MANY_ROWS) for form, found in FORMS.items()}
        json = (("Content-Type", "application/json"),)
        rows = {name: Sent(f"/predict/{name}", json, body) for name, (_, body) in kinds.items()}
        work = [(form, count, sent) for count in CONNECTIONS for form, sent in {**one, **rows}.items()]
        work += [(form, -MANY_CONNECTIONS, sent) for form, sent in many.items()]
        for number in range(plan.rounds):
            say(f"round {number + 1} of {plan.rounds}: {len(work)} blocks")
            for form, count, sent in work[:: 1 if number % 2 else -1]:
                result = run(rig.generator, _block(rig, plan, server.port, sent, abs(count)))
                blocks.setdefault((form, count), []).append(checked(result, f"{form}, {abs(count)} connections"))
    say(f"converting and certifying a forest of {plan.forest_trees} trees")
    forest_s, forest_bytes, forest_rows = _time_forest(rig.folder, plan.forest_trees)
    return ProtocolFigures(
        forest_trees=plan.forest_trees,
        forest_s=forest_s,
        forest_bytes=forest_bytes,
        forest_rows=forest_rows,
        block_s=plan.block_s / 2,
        rounds=plan.rounds,
        requests=sum(block.requests for found in blocks.values() for block in found),
        one_row={form: [_asked(blocks[form, count]) for count in CONNECTIONS] for form in FORMS},
        many_rows={form: _asked(blocks[form, -MANY_CONNECTIONS]) for form in FORMS},
        body_bytes={form: len(sent.body) for form, sent in one.items()},
        mixed={name: [_asked(blocks[name, count]) for count in CONNECTIONS] for name in kinds},
    )


def _block(rig: Rig, plan: ScenarioPlan, port: int, sent: Sent, connections: int) -> LoadPlan:
    return LoadPlan(
        port=port,
        path=sent.path,
        headers=sent.headers,
        body=sent.body,
        connections=connections,
        seconds=plan.block_s / 2,
        warmup_s=plan.warmup_s,
        core=rig.generator_core,
    )


def _names(port: int) -> list[str]:
    models = msgspec.json.decode(ask(port, "GET", "/health").body)["models"]
    found: list[str] = next(model for model in models if model["name"] == NAME)["loaded"]["features"]
    return found


def _checked(form: Form, port: int, subject: Subject, names: Sequence[str], count: int) -> Sent:
    """The request for so many rows, once it was answered rightly."""
    rows = np.resize(subject.rows, (count, subject.rows.shape[1]))
    expected: Sequence[Any] = np.resize(subject.probabilities, (count, len(subject.labels)))[:, -1].tolist()
    if form.predictions:
        expected = [subject.predictions[place % len(subject.predictions)] for place in range(count)]
    sent = form.make(rows, names, NAME)
    check_form(form, port, sent, expected, subject.tolerance)
    return sent


def _train_mixed(folder: Path, seed: int) -> dict[str, tuple[Path, bytes]]:
    """A pipeline over 8 numbers, 2 texts and 2 booleans, one over 12 numbers; of each a request for one row."""
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    from converters import convert

    rng = np.random.default_rng(seed)
    count = 2000
    numbers = pd.DataFrame(rng.normal(size=(count, 12)).round(3), columns=[f"n{place}" for place in range(12)])
    mixed = numbers.iloc[:, :8].assign(
        home=rng.choice(CITIES, count),
        work=rng.choice(CITIES, count),
        old=rng.random(count) < 0.5,
        new=rng.random(count) < 0.2,
    )
    label = (numbers["n0"] + (mixed["home"] == "Bern") + rng.normal(size=count) > 0.3).astype(int)
    scaled = (StandardScaler(), [f"n{place}" for place in range(8)])
    encoded = (OneHotEncoder(handle_unknown="ignore"), ["home", "work"])
    transformer = make_column_transformer(scaled, encoded, remainder="passthrough")
    made = {}
    for name, frame, first in ((FLOATS, numbers, StandardScaler()), (MIXED, mixed, transformer)):
        estimator = make_pipeline(first, LogisticRegression(max_iter=500)).fit(frame[: count // 2], label[: count // 2])
        file = convert(estimator, frame[: count // 2], heldout=frame[count // 2 :])
        path = folder / f"{name}.onnx"
        path.write_bytes(file.data)
        made[name] = path, msgspec.json.encode({"features": frame.iloc[:1].to_dict("split")["data"][0]})
    return made


def _time_forest(folder: Path, trees: int) -> tuple[dict[str, float], int, int]:
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import RandomForestClassifier

    from converters import Column, convert, verify_file
    from converters.conversion import graph_of
    from converters.oracle import oracle_of
    from converters.rows import Rows
    from converters.table import Layout

    data = load_breast_cancer()
    forest = RandomForestClassifier(trees, random_state=0).fit(data.data[::2], data.target[::2])
    held = Rows(numbers=data.data[1::2])
    columns = [Column(name=f"c{place}") for place in range(held.numbers.shape[1])]
    begun = time.monotonic()
    graph_of(oracle_of(forest, Layout(), held[:2]), columns, held)
    converted = time.monotonic()
    file = convert(forest, data.data[::2], heldout=data.data[1::2])
    whole = time.monotonic()
    path = folder / "timed.onnx"
    path.write_bytes(file.data)
    written = time.monotonic()
    verdict = verify_file(path)
    if not verdict.ok:
        raise BenchError(f"the forest is refused: {verdict.reason}")
    seconds = {"convert": converted - begun, "whole": whole - converted, "verify": time.monotonic() - written}
    return seconds, len(file.data), file.metadata.parity.rows


def _asked(blocks: list[LoadResult]) -> Asked:
    return Asked(
        throughput_per_s=median(block.throughput_per_s for block in blocks),
        p50_us=median(block.latency.p50_us for block in blocks),
        p99_us=median(block.latency.p99_us for block in blocks),
    )


def render(figures: ProtocolFigures) -> str:
    """One row a form; of 1,000 rows what is scored in a second."""
    head = (
        "one row as",
        "bytes",
        *(f"req/s, p99 µs at {count}" for count in CONNECTIONS),
        f"rows/s, bodies of {MANY_ROWS:,}",
    )
    rows = [
        (
            form,
            f"{figures.body_bytes[form]:,}",
            *(_cell(asked) for asked in found),
            f"{MANY_ROWS * figures.many_rows[form].throughput_per_s:,.0f}",
        )
        for form, found in figures.one_row.items()
    ]
    kinds = [(name, *(_cell(asked) for asked in found)) for name, found in figures.mixed.items()]
    ratios = [
        f"{mixed.throughput_per_s / floats.throughput_per_s:.2f}"
        for mixed, floats in zip(figures.mixed[MIXED], figures.mixed[FLOATS], strict=True)
    ]
    return f"""Closed loop, one worker on one core, the same linear model of 30 floats in every form; all answers \
were held to scikit-learn's before.

{table(head, rows)}

A pipeline over 8 numbers, 2 texts (one-hot) and 2 booleans beside one over 12 numbers, a JSON list of one row:

{table(("columns", *(f"req/s, p99 µs at {count}" for count in CONNECTIONS)), kinds)}

Mixed columns answer {", ".join(ratios)} of the requests that floats answer. Medians of {figures.rounds} blocks of \
{figures.block_s:g} s, all forms in turn, forwards and backwards; {figures.requests:,} requests, 0 failed. Bodies of \
{MANY_ROWS:,} rows over {MANY_CONNECTIONS} connections.

A forest of {figures.forest_trees} trees ({figures.forest_bytes / 2**20:.1f} MiB): {figures.forest_s["convert"]:.1f} \
s to convert; {figures.forest_s["whole"]:.1f} s to convert, certify on {figures.forest_rows:,} rows and describe; \
{figures.forest_s["verify"]:.1f} s to verify."""


def _cell(asked: Asked) -> str:
    return f"{asked.throughput_per_s:,.0f}, {asked.p99_us:,.0f}"


def draw(figures: ProtocolFigures, folder: Path) -> None:
    """A table says it."""
