"""Alarms: one alert when a breach begins and one when it ends, whatever the observer and its disk do meanwhile."""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec
import numpy as np
import pytest

from gateway.countlog import CountLog
from gateway.counts import ModelCounts, Served
from gateway.observe.alarms import GRACE_S, SILENT_S, Alert, Alerter, AlertFile, Watch
from gateway.observe.folding import Folding
from gateway.observe.settings import MonitorSettings
from gateway.observe.webhook import Webhook
from monitoring import RowCounter, build_reference
from monitoring.alarm import AlarmRule

BEGIN = 1_800_000_000.0
WINDOW = 900
RNG = np.random.default_rng(0)
REFERENCE = build_reference(
    RNG.normal(size=(1000, 2)), RNG.random(1000), names=["a", "b"], kinds=["float"] * 2, graph_sha256="00"
)


class World:
    """A model whose traffic a test makes, an observer's clock, and what was delivered."""

    name = "world"

    def __init__(self, folder):
        self.folder = folder
        self.now = BEGIN
        self.counts = ModelCounts(folder / "counts" / ("a" * 64))
        self.counts.tell_served(Served(model="cancer", version="3", since=BEGIN))
        self.log = CountLog(self.counts, REFERENCE, RowCounter(REFERENCE).size, lambda: self.now)
        self.delivered = []
        self.fails = False
        self.alerter = self.restart()

    def restart(self):
        """Another observer takes over."""
        self.alerter = Alerter(self.folder, Watch(AlarmRule(), WINDOW), [self], lambda: self.now)
        return self.alerter

    def deliver(self, alert):
        """As a sink."""
        if self.fails:
            raise OSError("nobody listens")
        self.delivered.append(alert)

    def pass_window(self, shift=None, *, look=True):
        """Let a window pass, with 400 rows whose first column is shifted, or none."""
        if shift is not None:
            rows = RNG.normal(size=(400, 2))
            rows[:, 0] += shift
            RowCounter(REFERENCE).add(self.log.current(), rows, RNG.random(400))
            self.log.commit()
        self.now += WINDOW
        self.log.rotate()
        if look:
            self.look()

    def look(self):
        """One pass, once the last window is over for sure."""
        self.now += GRACE_S
        try:
            return self.alerter.look([self.counts.folder])
        finally:
            self.now -= GRACE_S

    @property
    def told(self):
        """State, kind and severity of all that was delivered."""
        return [(alert.state, alert.kind, alert.severity) for alert in self.delivered]


@pytest.fixture
def world(tmp_path):
    """Whose first window is calm."""
    made = World(tmp_path)
    made.pass_window(0.0)
    return made


def test_a_breach_is_told_once_when_it_begins_and_once_when_it_ends(world):
    """However many windows it lasts; with who, since when, and what it rests on."""
    for shift in (0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0):
        world.pass_window(shift)
    assert world.told == [("firing", "data_drift", "critical"), ("resolved", "data_drift", "critical")]
    firing, resolved = world.delivered
    assert firing.id == resolved.id
    assert (firing.model, firing.version, firing.sha256) == ("cancer", "3", "a" * 64)
    assert (firing.started_at, firing.ended_at) == (BEGIN + 2 * WINDOW, None)
    assert (resolved.started_at, resolved.ended_at) == (BEGIN + 2 * WINDOW, BEGIN + 8 * WINDOW)
    (column,) = firing.evidence
    assert (column.name, column.statistic, column.threshold, column.n, column.window_s) == (
        "a",
        "psi",
        0.2,
        400,
        WINDOW,
    )
    assert column.value > 0.5


def test_one_drifted_window_is_no_breach_and_a_quiet_night_ends_none(world):
    """Hysteresis, and silence is no news."""
    for shift in (1.0, 0.0, 1.0, 0.0):
        world.pass_window(shift)
    assert world.told == []
    for shift in (1.0, None, None, 1.0, None, None, None):
        world.pass_window(shift)
    assert world.told == [("firing", "data_drift", "critical")]


def test_a_version_that_is_heard_of_no_more_ends_its_breach(world):
    """After a day."""
    for shift in (1.0, 1.0):
        world.pass_window(shift)
    for _ in range(int(SILENT_S / WINDOW) + 1):
        world.pass_window()
    assert [state for state, _, _ in world.told] == ["firing", "resolved"]


def test_an_observer_that_takes_over_tells_nothing_twice_and_forgets_nothing(world):
    """Restarted before every pass, and away for a part of the breach: its windows are judged later, if folded too."""
    for number, shift in enumerate((0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0)):
        world.restart()
        world.pass_window(shift, look=number not in {2, 3})
        Folding(world.counts).look(world.now)
    assert [state for state, _, _ in world.told] == ["firing", "resolved"]
    assert len({alert.id for alert in world.delivered}) == 1
    assert world.delivered[0].started_at == BEGIN + 2 * WINDOW


def test_what_cannot_be_delivered_waits_also_through_a_restart(world):
    """And comes in order."""
    world.fails = True
    problems = []
    for shift in (1.0, 1.0, 0.0, 0.0):
        world.pass_window(shift, look=False)
        problems.append(world.look())
        world.restart()
    assert (world.told, problems) == ([], [{}, *[{"world": "nobody listens"}] * 3])
    world.fails = False
    world.look()
    assert [state for state, _, _ in world.told] == ["firing", "resolved"]
    world.restart()
    world.look()
    assert len(world.delivered) == 2


def test_a_crash_behind_the_delivery_delivers_the_same_alert_again_and_the_file_has_it_once(world, tmp_path):
    """At least once to a sink; the file leaves out what it has, also behind a line that was torn."""
    path = tmp_path / "alerts.jsonl"
    path.write_bytes(b'{"torn')
    world.alerter = Alerter(tmp_path, Watch(AlarmRule(), WINDOW), [AlertFile(path), world], lambda: world.now)
    world.pass_window(1.0)
    saved = (tmp_path / "alarms.json").read_bytes()
    world.pass_window(1.0)
    (tmp_path / "alarms.json").write_bytes(saved)
    world.alerter = Alerter(tmp_path, Watch(AlarmRule(), WINDOW), [AlertFile(path), world], lambda: world.now)
    world.look()
    assert len(world.delivered) == 2
    assert world.delivered[0] == world.delivered[1]
    torn, line = path.read_bytes().splitlines()
    assert torn == b'{"torn'
    assert msgspec.json.decode(line, type=Alert) == world.delivered[0]


def test_a_damaged_state_begins_anew(world, tmp_path, caplog):
    """It is told; what fires still fires again after two windows."""
    (tmp_path / "alarms.json").write_bytes(b"{")
    world.restart()
    for shift in (1.0, 1.0):
        world.pass_window(shift)
    assert "alarms begin anew" in caplog.text
    assert [state for state, _, _ in world.told] == ["firing"]


def test_a_sink_that_fails_holds_up_no_other_and_is_left_alone_for_a_while(world, tmp_path):
    """The file has the alert at once; the other is tried again after 5, 10, 20 seconds."""
    path = tmp_path / "alerts.jsonl"
    world.alerter = Alerter(tmp_path, Watch(AlarmRule(), WINDOW), [world, AlertFile(path)], lambda: world.now)
    world.fails = True
    for shift in (1.0, 1.0):
        world.pass_window(shift)
    assert len(path.read_bytes().splitlines()) == 1
    tries = []
    world.deliver = lambda _: tries.append(world.now) or _raise()
    begin = world.now
    for _ in range(40):
        world.look()
        world.now += 1
    assert [round(at - begin) for at in tries] == [5 + 5, 15 + 5, 35 + 5][: len(tries)]
    assert len(tries) >= 2


def _raise():
    raise OSError("nobody listens")


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
    world.alerter = Alerter(tmp_path, Watch(AlarmRule(), WINDOW), [hook], lambda: world.now)
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
    world.alerter = Alerter(tmp_path, Watch(AlarmRule(), WINDOW), [hook], lambda: world.now)
    for shift in (1.0, 1.0, 0.0, 0.0):
        world.pass_window(shift)
    (path, _, firing), (_, _, resolved) = receiver.taken
    firing, resolved = msgspec.json.decode(firing), msgspec.json.decode(resolved)
    if kind == "slack":
        assert path == "/"
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
