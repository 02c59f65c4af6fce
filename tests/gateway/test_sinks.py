"""Sinks: what others are sent of an alert, signed, in their own words, and again if they were started anew."""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import pytest
from alarm_world import World

from gateway.alerts import Alert
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
        assert firing["text"].startswith("firing: critical data drift of cancer version 3 since 2027-01-15T08:15:00")
        assert "a (psi " in firing["text"]
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
