"""`POST /feedback`: kept before it is accepted, and told what is wrong with it."""

from __future__ import annotations

import msgspec
import pytest
from litestar.testing import TestClient

from gateway.application import Gateway
from gateway.feedback import LABELS_MAX, FeedbackLog, Given, decode_frame
from gateway.settings import GatewaySettings, WorkerConfig
from gateway.spool import closed_files, read_spool


@pytest.fixture
def client(tmp_path):
    """A worker without a model."""
    config = WorkerConfig(
        settings=GatewaySettings(lane="off"), store=str(tmp_path / "store"), monitor=str(tmp_path / "monitor")
    )
    with TestClient(Gateway(config)) as client:
        yield client


def kept(client, tmp_path):
    """What the observer will find once this worker has let it go."""
    client.app.worker.feedback.close()
    files = closed_files(tmp_path / "monitor" / "spool" / "feedback")
    return [given for path in files for frame in read_spool(path) for given in decode_frame(frame)[1]]


def test_one_label_labels_of_a_request_and_a_list_of_either_are_accepted(client, tmp_path):
    """In their order, with their rows, as they were given."""
    bodies = [
        {"request_id": "a", "label": "benign"},
        {"request_id": "b", "label": 1, "row": 3},
        {"request_id": "c", "labels": [True, 0.5]},
        [{"request_id": "d", "label": 0}, {"request_id": "e", "labels": ["x"]}],
        [],
    ]
    answers = [client.post("/feedback", json=body) for body in bodies]
    assert [answer.status_code for answer in answers] == [202] * 5
    assert [answer.json()["accepted"] for answer in answers] == [1, 1, 2, 2, 0]
    assert kept(client, tmp_path) == [
        Given("a", 0, "benign"),
        Given("b", 3, 1),
        Given("c", 0, True),
        Given("c", 1, 0.5),
        Given("d", 0, 0),
        Given("e", 0, "x"),
    ]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"request_id": "no spaces", "label": 1}, "request_id must be 1 to 128 of"),
        ({"request_id": "", "label": 1}, "request_id must be 1 to 128 of"),
        ({"request_id": "a"}, "send either label or labels"),
        ({"request_id": "a", "label": 1, "labels": [1]}, "send either label or labels"),
        ({"request_id": "a", "labels": [1], "row": 1}, "row goes with label"),
        ({"request_id": "a", "label": 1, "row": -1}, "row must be 0 to 999999, not -1"),
        ({"request_id": "a", "label": "x" * 257}, "at most 256 characters, not 257"),
        ({"request_id": "a", "labels": [1, 2**63]}, "must fit into 64 bits"),
    ],
)
def test_what_cannot_be_true_of_any_row_is_rejected_and_the_rest_is_kept(client, tmp_path, body, reason):
    """With its place in the list and the reason."""
    answer = client.post(
        "/feedback", json=[{"request_id": "good", "label": 1}, body, {"request_id": "too", "label": 0}]
    )
    assert answer.status_code == 202
    (rejected,) = answer.json()["rejected"]
    assert (answer.json()["accepted"], rejected["index"]) == (2, 1)
    assert reason in rejected["reason"]
    assert [given.request_id for given in kept(client, tmp_path)] == ["good", "too"]


@pytest.mark.parametrize(
    ("content", "detail"),
    [
        (b'[{"request_id": "a", "label": [1]}]', "got `array` - at `$[0].label`"),
        (b'{"request_id": 1, "label": 1}', "at `$.request_id`"),
        (b'{"request_id": "a", "truth": 1}', "unknown field `truth`"),
        (b'{"request_id": "a", "label": null}', "at `$.label`"),
        (b'"a"', "Expected `object | array`"),
        (b"{", "truncated"),
        (b"", "the body is empty"),
    ],
)
def test_a_malformed_body_is_a_400_that_names_the_path(client, tmp_path, content, detail):
    """As a problem; nothing of it is kept."""
    answer = client.post("/feedback", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert detail in answer.json()["detail"]
    assert kept(client, tmp_path) == []


def test_more_labels_than_may_come_at_once_are_a_413(client, tmp_path):
    """None of them is kept."""
    body = [{"request_id": "a", "labels": [1] * LABELS_MAX}, {"request_id": "b", "label": 1}]
    assert client.post("/feedback", json=body).status_code == 413
    assert client.post("/feedback", json=body[:1]).json()["accepted"] == LABELS_MAX
    assert len(kept(client, tmp_path)) == LABELS_MAX


def test_without_room_nothing_is_kept_and_the_caller_is_told_when_to_come_again(client, tmp_path):
    """A file stands where the folder should be; then there is room."""
    (tmp_path / "monitor" / "spool").mkdir(parents=True)
    (tmp_path / "monitor" / "spool" / "feedback").touch()
    answer = client.post("/feedback", json=[{"request_id": "a", "label": 1}] * 2)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    assert "none of these was" in answer.json()["detail"]
    (tmp_path / "monitor" / "spool" / "feedback").unlink()
    assert client.post("/feedback", json={"request_id": "a", "label": 1}).status_code == 202
    assert kept(client, tmp_path) == [Given("a", 0, 1)]


def test_what_was_accepted_is_in_the_file_before_the_answer(client, tmp_path):
    """Another process reads it while this one still holds the file."""
    assert client.post("/feedback", json={"request_id": "a", "label": 1}).status_code == 202
    (path,) = (tmp_path / "monitor" / "spool" / "feedback").glob("*.spool")
    assert closed_files(path.parent) == []
    assert decode_frame(read_spool(path)[0])[1] == [Given("a", 0, 1)]


def test_a_label_comes_to_the_observer_within_seconds(tmp_path):
    """Its file is let go once it is two seconds old, while nothing else comes."""
    now = [100.0]
    log = FeedbackLog(tmp_path, lambda: now[0])
    log.keep([Given("a", 0, 1)])
    log.rotate()
    assert closed_files(tmp_path) == []
    now[0] += 2.0
    log.rotate()
    (path,) = closed_files(tmp_path)
    assert decode_frame(read_spool(path)[0])[0] == 100.0


def test_what_is_no_frame_of_labels_is_refused():
    """By its type."""
    with pytest.raises(msgspec.MsgspecError):
        decode_frame(msgspec.msgpack.encode({"time": 1}))


def test_the_schema_shows_one_and_many(client):
    """In OpenAPI, as for any typed handler."""
    found = client.get("/schema").json()["paths"]["/feedback"]["post"]
    one, many = found["requestBody"]["content"]["application/json"]["schema"]["anyOf"]
    assert one["$ref"].endswith("/Feedback")
    assert many["items"]["$ref"].endswith("/Feedback")
    assert set(found["responses"]) == {"202", "400", "413", "503"}
