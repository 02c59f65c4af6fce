from datetime import UTC, datetime

import msgspec

from gateway.sync.gate_record import CHARACTERS_MAX, GATE_TAG, Check, GateRecord, encode_record, read_record

RECORD = GateRecord(
    outcome="fail",
    sha256="ab" * 32,
    champion="3",
    champion_sha256="cd" * 32,
    when=datetime(2026, 11, 25, tzinfo=UTC),
    machine="box",
    checks=(Check(name="p99", outcome="fail", reason="1.4 times the champion's"),),
)


def test_a_record_reads_back_as_it_was():
    """Tag and Struct are the same record."""
    assert read_record({GATE_TAG: encode_record(RECORD)}) == RECORD


def test_a_long_record_keeps_what_failed():
    """Passed checks give way where a tag is too short for all."""
    passed = tuple(Check(name=f"slice {number}", outcome="pass", reason="x" * 400) for number in range(100))
    long = msgspec.structs.replace(RECORD, checks=(*passed, *RECORD.checks))

    text = encode_record(long)

    found = read_record({GATE_TAG: text})
    assert len(text) <= CHARACTERS_MAX
    assert found is not None
    assert found.checks[-1] == RECORD.checks[0]


def test_what_is_no_record_is_none():
    """A tag that somebody else wrote says nothing."""
    assert read_record({}) is None
    assert read_record({GATE_TAG: "pass"}) is None
