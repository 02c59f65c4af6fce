"""Sinks: what others are sent of an alert, signed, in their own words, and again if they were started anew."""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest
from alarm_world import BEGIN, WINDOW, Says, World

from gateway.alerts import Alert, Evidence
from gateway.observe.alert_file import AlertFile
from gateway.observe.delivery import FAILING_S, LONGEST_WAIT_S, WAITING_MAX
from gateway.observe.settings import MonitorSettings
from gateway.observe.webhook import Webhook


@pytest.fixture
def world(tmp_path):
    """Whose first window is calm."""
    made = World(tmp_path)
    made.pass_window(0.0)
    return made


class Receiver(BaseHTTPRequestHandler):
    """Keeps what it is sent; answers 500 to so many of the first."""

    def do_POST(self):
        """Take one."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.taken.append((self.path, self.headers, body))
        self.send_response(500 if len(self.server.taken) <= self.server.failures else 200)
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def receiver():
    """Of webhooks."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        server.taken, server.failures = [], 0
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_webhook_is_signed_and_tried_again(world, receiver, tmp_path):
    """Two failures, then it is taken; the receiver can tell who sent it, and that it is the same one."""
    receiver.failures = 2
    url = f"http://127.0.0.1:{receiver.server_port}/hook"
    hook = Webhook(url, "secret", lambda: world.now)
    world.restart(hook)
    for shift in (1.0, 1.0):
        world.pass_window(shift)
    for _ in range(2):
        world.now += 60
        world.look()
    world.now += 60
    assert world.look() == {}
    assert len(receiver.taken) == 3
    path, headers, body = receiver.taken[-1]
    delivery, timestamp = headers["X-Hotgate-Delivery"], headers["X-Hotgate-Timestamp"]
    assert (path, {taken[1]["X-Hotgate-Delivery"] for taken in receiver.taken}) == ("/hook", {delivery})
    signed = hmac.new(b"secret", f"{delivery}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    assert headers["X-Hotgate-Signature"] == "v1," + base64.b64encode(signed).decode()
    alert = msgspec.json.decode(body, type=Alert)
    assert (alert.state, alert.model, delivery) == ("firing", "cancer", f"{alert.id}-firing")


@pytest.mark.parametrize("kind", ["slack", "alertmanager"])
def test_others_are_told_in_their_own_words(world, receiver, tmp_path, kind):
    """Slack gets a text, Alertmanager an alert with the same labels when it fires and when it ends."""
    hook = Webhook(f"{kind}+http://127.0.0.1:{receiver.server_port}/", clock=lambda: world.now)
    world.restart(hook)
    for shift in (1.0, 1.0, 0.0, 0.0):
        world.pass_window(shift)
    path, (firing, *again, resolved) = (
        receiver.taken[0][0],
        [msgspec.json.decode(body) for _, _, body in receiver.taken],
    )
    if kind == "slack":
        assert (path, again) == ("/", [])
        assert firing["text"].startswith("firing: critical data drift of cancer version 3 since 2027-01-15T08:15:00+")
        assert ":00+00:00: a (psi " in firing["text"]
        assert ", limit 0.2" in firing["text"]
        assert resolved["text"].startswith("resolved: ")
    else:
        assert path == "/api/v2/alerts"
        assert firing[0]["labels"] == resolved[0]["labels"]
        assert firing[0]["labels"]["alertname"] == "hotgate_data_drift"
        assert firing[0]["startsAt"] == resolved[0]["startsAt"] == "2027-01-15T08:15:00+00:00"
        assert firing[0]["endsAt"] == "2028-01-15T08:15:00+00:00"
        assert resolved[0]["endsAt"] == "2027-01-15T09:15:00+00:00"
        assert again  # Alertmanager may have been started anew meanwhile
        assert again[-1] == firing


@pytest.mark.parametrize("address", ["example.org", "ftp://example.org", "teams+https://example.org", ""])
def test_what_is_no_address_is_refused_at_start(address):
    """By the settings, with what it may be."""
    with pytest.raises(ValueError, match="a webhook is"):
        MonitorSettings(webhooks=(address,))


def test_nobody_there_is_a_failure_like_any_other():
    """Told without the path, which may hold a key."""
    hook = Webhook("https://127.0.0.1:9/services/T000/secret")
    assert "secret" not in repr(hook)
    with pytest.raises(OSError, match="Webhook") as caught:
        hook.deliver(
            Alert(
                id="a", state="firing", model="m", version="1", sha256="", kind="data_drift", severity="warning",
                started_at=0.0, ended_at=None, evidence=[],
            )
        )  # fmt: skip
    assert "T000" not in str(caught.value)


def test_of_a_sink_that_takes_nothing_the_others_are_told(world, tmp_path):
    """After two minutes, with what to do; not the sink itself, and it is over with the first alert that it takes."""
    record = tmp_path / "alerts.jsonl"
    world.restart(world, AlertFile(record))
    world.fails = True
    for shift in (1.0, 1.0):
        world.pass_window(shift)
    for _ in range(2):
        world.look()
        world.now += FAILING_S
    world.look()
    world.fails = False
    world.now += 300
    for _ in range(2):
        world.look()
    alerts = [msgspec.json.decode(line, type=Alert) for line in record.read_bytes().splitlines()]
    assert [(alert.state, alert.kind, alert.about) for alert in alerts] == [
        ("firing", "data_drift", ""),
        ("firing", "ops", "sink-world"),
        ("resolved", "ops", "sink-world"),
    ]
    assert alerts[1].evidence == [Evidence(name="world", statistic="failing_s", value=120.0, threshold=FAILING_S)]
    assert alerts[1].text == "nobody listens. Mend the receiver: up to 100 alerts wait for it."
    assert world.told == [("firing", "data_drift", "critical")]


def test_of_too_many_that_wait_the_oldest_are_lost(world, caplog):
    """The outbox is bounded, and the log says so."""
    world.fails = True
    says = Says("a")
    world.sources = [says]
    world.restart()
    for number in range(WAITING_MAX + 2):
        says.names = () if number % 2 else ("a",)
        world.now += 1
        world.look()
    world.fails = False
    world.now += LONGEST_WAIT_S
    world.look()
    assert len(world.delivered) == WAITING_MAX
    assert world.delivered[0].started_at > BEGIN + 2 - 400 + WINDOW
    assert caplog.text.count("takes no alerts: the oldest of 101 are dropped") == 2


def test_what_fires_is_told_again_where_a_sink_may_forget(world):
    """Every so often, only what it was told before, and no more once it is over; a failure is told and tried again."""
    world.repeat_s = 60.0
    world.sources = [says := Says("a")]
    world.restart()
    world.look()
    for _ in range(5):
        world.now += 30
        world.look()
    assert [state for state, _, _ in world.told] == ["firing"] * 3
    assert len({alert.id for alert in world.delivered}) == 1
    world.fails = True
    world.now += 60
    assert world.look() == {"world": "nobody listens"}
    world.fails = False
    says.names = ()
    world.now += 60
    world.look()
    world.now += 60
    world.look()
    assert [state for state, _, _ in world.told] == ["firing"] * 3 + ["resolved"]
