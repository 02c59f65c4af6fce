"""Rows of several kinds: each value held to its column's kind, and texts that stay with the rows they came in."""

from __future__ import annotations

import asyncio
import math
import random
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import Remembering

from converters.modelfile import MISSING_TEXT, Column, Signature, Target
from gateway.batcher import Batcher
from gateway.blocks import empty_rows
from gateway.engine import CostModel
from gateway.errors import BadRequest, Unanswerable
from gateway.rows import RowPacker, TablePacker, packer_of
from gateway.settings import GatewaySettings
from gateway.tickets import Ticket
from gateway.turns import LoopTurns
from monitoring import FeatureReference

KINDS = {"age": "float", "city": "string", "visits": "int", "member": "bool", "note": "string"}


def feature(name, kind, categories=()):
    codes = [float(code) for code in range(len(categories))]
    counts = [0] * (len(categories) + 1)
    edges = {} if kind == "category" else {"edges": []}
    return FeatureReference(
        **{"name": name, "kind": kind, "edges": [], "counts": counts, "missing": 0, **edges},
        categories=list(categories),
        codes=codes,
    )


def metadata(missing=("age", "city"), dtype="float32"):
    columns = tuple(Column(name=name, kind=kind, missing=name in missing) for name, kind in KINDS.items())
    signature = Signature(
        columns=columns,
        form="table",
        dtype=dtype,
        input_name="X",
        text_input="S",
        targets=(Target(classes=(0, 1), labels=("no", "yes"), width=2),),
        score_output="p",
    )
    watched = [
        feature("age", "float"),
        feature("city", "category", ["Bern", "Basel"]),
        feature("visits", "int"),
        feature("member", "category", ["0", "1"]),
        feature("note", "int"),
    ]
    return SimpleNamespace(signature=signature, reference=SimpleNamespace(features=watched))


def packed(row, **more):
    about = metadata(**more)
    rows, texts = empty_rows(about.signature, 2)
    TablePacker(about, 40).pack(
        SimpleNamespace(bytes=rows.reshape(-1).data.cast("B"), texts=texts), 1, row, "$.features"
    )
    assert not rows[0].any()
    assert texts[0].tolist() == ["", ""]
    return rows[1].tolist(), texts[1].tolist()


def test_numbers_go_into_the_matrix_and_texts_beside_it():
    """Where a text is, the monitor finds its code or its length; by name, in any order, as by place."""
    row = [30.5, "Basel", 3.0, True, "prefers mail"]
    named = dict(zip(KINDS, row, strict=True))
    shuffled = {name: named[name] for name in sorted(named)}

    assert packed(row) == ([30.5, 1.0, 3.0, 1.0, 12.0], ["Basel", "prefers mail"])
    assert packed(shuffled) == packed(row)


def test_a_text_that_the_training_data_did_not_have_has_a_code_of_its_own():
    """Which is no code of the reference: it is counted as another category."""
    assert packed([1.0, "Genf", 0.0, False, ""]) == ([1.0, -1.0, 0.0, 0.0, 0.0], ["Genf", ""])


def test_missing_values_are_nan_and_a_text_that_nobody_sends():
    """In the columns that take them."""
    numbers, texts = packed([None, None, 1.0, False, "x"])
    assert np.isnan(numbers).tolist() == [True, True, False, False, False]
    assert texts == [MISSING_TEXT, "x"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"age": "old"}, "Expected `float | null`, got `str` - at `$.features.age`"),
        ({"city": 3.0}, "Expected `str | null`, got 3.0 - at `$.features.city`"),
        ({"city": True}, "Expected `str | null`, got True - at `$.features.city`"),
        ({"visits": 2.5}, "2.5 is no int - at `$.features.visits`"),
        ({"visits": 2.0**60}, "1.152921504606847e+18 is no int"),
        ({"visits": 1e300}, "1e+300 does not fit float32"),
        ({"visits": None}, "the model takes no missing value (null) - at `$.features.visits`"),
        ({"member": 2.0}, "2.0 is no bool - at `$.features.member`"),
        ({"note": None}, "the model takes no missing value (null) - at `$.features.note`"),
        (
            {"note": "x" * 41},
            "a text of 41 characters, at most 40 are taken ([gateway] max_text_chars) - at `$.features.note`",
        ),
        ({"age": 1e39}, "1e+39 does not fit float32"),
        ({"size": 1.0}, "unknown feature 'size'"),
    ],
)
def test_a_value_of_another_kind_is_refused_by_its_name(change, message):
    """Each value is held to its column."""
    row = {"age": 1.0, "city": "Bern", "visits": 1.0, "member": False, "note": "", **change}
    with pytest.raises(BadRequest) as caught:
        packed(row)
    assert message in str(caught.value)


def test_a_double_matrix_holds_doubles():
    """An identifier above 2^24 stays itself, and 1e300 fits."""
    numbers, _ = packed([1e300, "Bern", 16_777_217.0, True, ""], dtype="float64")
    assert numbers[0] == 1e300
    assert numbers[2] == 16_777_217.0


def test_texts_of_a_matrix_are_coded_into_it():
    """As those of a row are."""
    rows, texts = (
        np.zeros((3, 5), dtype=np.float32),
        np.array([["Basel", "a"], ["Genf", "bc"], [MISSING_TEXT, ""]], dtype=object),
    )
    TablePacker(metadata(), 40).check(rows, texts)
    assert rows[:, 1].tolist()[:2] == [1.0, -1.0]
    assert math.isnan(rows[2, 1])
    assert rows[:, 4].tolist() == [1.0, 2.0, 0.0]


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, np.inf, "inf is no number to score - in row 1, column 'age'"),
        (2, 0.5, "0.5 is no int - in row 1, column 'visits'"),
        (2, np.nan, "takes no missing value (NaN) - in row 1, column 'visits'"),
        (3, 7.0, "7.0 is no bool - in row 1, column 'member'"),
        (
            4,
            "x" * 41,
            "a text of 41 characters, at most 40 are taken ([gateway] max_text_chars) - in row 1, column 'note'",
        ),
        (4, MISSING_TEXT, "takes no missing value - in row 1, column 'note'"),
    ],
)
def test_a_matrix_is_held_to_its_columns(place, value, message):
    """Row and column are named."""
    rows, texts = np.zeros((2, 5), dtype=np.float32), np.full((2, 2), "Bern", dtype=object)
    if isinstance(value, str):
        texts[1, 1] = value
    else:
        rows[1, place] = value
    with pytest.raises(BadRequest) as caught:
        TablePacker(metadata(), 40).check(rows, texts)
    assert message in str(caught.value)


def test_a_matrix_for_a_model_of_numbers_is_held_to_them():
    """NaN only where a column takes it, infinity nowhere; and text columns need text."""
    about = metadata()
    numbers = SimpleNamespace(
        signature=Signature(
            columns=(Column(name="a", missing=True), Column(name="b")),
            input_name="X",
            targets=about.signature.targets,
            score_output="p",
        )
    )
    packer = packer_of(numbers, 40)
    assert type(packer) is RowPacker
    packer.check(np.array([[np.nan, 1.0]], dtype=np.float32), None)
    with pytest.raises(BadRequest, match=r"no missing value \(NaN\) - in row 0, column 'b'"):
        packer.check(np.array([[1.0, np.nan]], dtype=np.float32), None)
    with pytest.raises(BadRequest, match="'city' is text, and there is none"):
        TablePacker(about, 40).check(np.zeros((1, 5), dtype=np.float32), None)


class TextEngine:
    """Answers [age, len(note)], taken from the matrix and from the texts; fails with the text "bad" among them."""

    def __init__(self):
        self.metadata = metadata(missing=tuple(KINDS))
        self.cost = CostModel(8)
        self.cost.observe = lambda *_: None

    def run(self, rows, texts=None):
        """Score."""
        if "bad" in texts[:, 1].tolist():
            raise RuntimeError("bad")
        return np.column_stack([rows[:, 0], [float(text) for text in texts[:, 1]]]).astype(np.float32)

    def bind(self, rows, texts=None):
        """The same on buffers."""
        return lambda count: self.run(rows[:count], texts[:count])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("inline_limit_us", [0.0, 1e9], ids=["thread", "inline"])
def test_a_text_stays_with_its_row(seed, inline_limit_us):
    """Through batches, splits, callers who leave, and batches that fail for one of them."""
    rng = random.Random(seed)
    limits = GatewaySettings(
        max_batch_rows=8, queue_limit_rows=512, queue_limit_ms=1e9, inline_limit_us=inline_limit_us
    )

    async def ask(under_test, number):
        ticket = Ticket(0.0)
        ticket.origin = f"r{number}"
        ticket.deadline = math.inf
        kind = rng.choice(["one", "many", "array", "bad", "leaves"])
        count = 1 if kind in {"one", "bad", "leaves"} else rng.randrange(1, 20)
        marks = [float(number * 32 + index) for index in range(count)]
        texts = ["bad" if kind == "bad" else f"{mark}" for mark in marks]
        rows = [[mark, "Bern", 1.0, True, text] for mark, text in zip(marks, texts, strict=True)]
        if kind == "array":
            matrix = np.zeros((count, 5), dtype=np.float32)
            matrix[:, 0] = marks
            under_test.submit_array(matrix, np.array([["Bern", text] for text in texts], dtype=object), ticket)
        elif kind == "many":
            under_test.submit_many(rows, "$", ticket)
        else:
            under_test.submit_one(rows[0], "$", ticket)
        if kind == "leaves":
            ticket.cancel()
        try:
            answer = await ticket
        except (Unanswerable, asyncio.CancelledError):
            answer = None
        right = [[mark, mark] for mark in marks]
        assert answer in {"bad": [None], "leaves": [None, right]}.get(kind, [right])  # a full batch runs at once
        return kind

    observer = Remembering()

    async def main(executor):
        under_test = Batcher(TextEngine(), observer, executor, LoopTurns(asyncio.get_running_loop()), limits)
        return await asyncio.gather(*[ask(under_test, number) for number in range(60)])

    with ThreadPoolExecutor(1) as executor:
        kinds = asyncio.run(asyncio.wait_for(main(executor), 20))
    assert {"one", "many", "array"} <= set(kinds)
    assert [float(note) for _, note in observer.texts] == [row[0] for row in observer.rows]
