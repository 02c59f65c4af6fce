"""What every request costs by itself, whatever batch it is in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from gateway.blocks import Block
from gateway.express import takes
from gateway.rows import RowPacker
from gateway.schemas import PredictRequest
from gateway.tickets import Ticket

if TYPE_CHECKING:
    from benchmarks.micro.conftest import Lived
    from benchmarks.micro.measuring import Measure

pytestmark = pytest.mark.benchmark(group="One request")


def test_nothing(measure: Measure) -> None:
    """The floor of this table."""
    measure(lambda: None, "an empty function: what measuring adds to every line")


def test_find_route(measure: Measure, lived: Lived) -> None:
    """By raw path."""
    find = lived.gateway._express.find  # noqa: SLF001 - the table that both lanes look it up in
    assert measure(lambda: find("/predict"), "one dict; Litestar's router is not asked") == (lived.route, ())


def test_takes(measure: Measure, lived: Lived, headers: dict[str, str]) -> None:
    """Whether a lane may."""
    taken = lived.route.media_types
    length = measure(lambda: takes(headers, taken, 1 << 23), "six looks at the headers, so that rare HTTP has one home")
    assert length == int(headers["content-length"])


def test_decode(measure: Measure, body: bytes, row: list[float | None]) -> None:
    """30 floats."""
    decode = msgspec.json.Decoder(PredictRequest).decode
    assert measure(lambda: decode(body), "checks the type while it reads: nothing is looked at twice").features == row


def test_request_id(measure: Measure, lived: Lived) -> None:
    """Made, not given."""
    make = lived.gateway.worker.admission.request_id
    assert measure(lambda: make(None), "random once a process, then counted")


def test_find_model(measure: Measure, lived: Lived) -> None:
    """The default one."""
    find = lived.gateway.worker.models.find
    assert measure(lambda: find(None), "one dict made at each swap: the request pins what it finds") is lived.generation


def test_pack(measure: Measure, lived: Lived, row: list[float | None]) -> None:
    """One row."""
    packer = RowPacker(lived.generation.engine.metadata)
    block = Block(lived.generation.engine, 8)
    measure(
        lambda: packer.pack(block, 0, row, "$.features"), "`struct.pack_into`, straight into the batch; checks range"
    )
    assert block.rows[0].tolist() == pytest.approx(row, rel=1e-6)


def test_finish(measure: Measure, lived: Lived, body: bytes) -> None:
    """From probabilities to bytes."""
    ticket = Ticket(0.0)
    lived.route.begin(ticket, (), {"content-type": "application/json"}, body)
    lived.generation.batcher.flush()
    scores = [[0.25, 0.75]]
    status, _, payload = measure(lambda: ticket.finish(scores), "label, stamp of the version, JSON")
    assert (status, msgspec.json.decode(payload)["label"]) == (200, "benign")


@pytest.mark.parametrize("kind", ["struct", "dict"])
def test_probabilities(measure: Measure, lived: Lived, kind: str) -> None:
    """By label, and encoded."""
    generation, encode = lived.generation, msgspec.json.Encoder().encode
    labels, by_label = generation.labels, generation.by_label
    calls = {
        "struct": lambda: encode(by_label(0.25, 0.75)),
        "dict": lambda: encode(dict(zip(labels, (0.25, 0.75), strict=True))),
    }
    whys = {"struct": "a type made for the model's labels", "dict": "what that replaces"}
    assert msgspec.json.decode(measure(calls[kind], whys[kind])) == dict(zip(labels, (0.25, 0.75), strict=True))
