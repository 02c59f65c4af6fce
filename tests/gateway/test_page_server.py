"""The page on the real server: what is sent, to how many, and that nobody who watches holds up a stop."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket

import pytest
from harness import serving, wait_until

from gateway.page.streams import STREAMS_MAX

pytestmark = pytest.mark.process


class Stream:
    """An open `GET /events`."""

    def __init__(self, port):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._socket.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.text = self._socket.recv(65_536).decode()

    @property
    def status(self):
        return int(self.text.split()[1])

    def next(self, kind):
        """The next event of a kind, decoded."""
        while not (found := re.search(rf"event: {kind}\ndata: (.*)\n\n", self.text)):
            self.text += self._socket.recv(65_536).decode()
        self.text = self.text[found.end() :]
        return json.loads(found[1])

    def rest(self):
        """All up to the end of the connection or of the answer."""
        found = b""
        with contextlib.suppress(ConnectionResetError):
            while not found.endswith(b"0\r\n\r\n") and (got := self._socket.recv(65_536)):
                found += got
        return found

    def close(self):
        self._socket.close()


@pytest.fixture
def watch():
    """Open streams, which end with the test."""
    opened = []

    def watch(server):
        opened.append(Stream(server.port))
        return opened[-1]

    yield watch
    for stream in opened:
        stream.close()


def test_whichever_worker_answers_tells_what_all_have_counted(tmp_path, linear, cancer, watch):
    """The state's rows are those of /metrics, the verdict that of /monitor/drift."""
    rows = cancer[0].tolist()
    with serving(tmp_path, "--model", f"cancer={linear.path}", "--workers", "2") as server:
        for start in range(0, 560, 7):
            assert server.predict(json.dumps({"instances": rows[start : start + 7]}).encode())[0] == 200
        streams = [watch(server) for _ in range(6)]
        for stream in streams:
            wait_until(lambda stream=stream: stream.next("state")["versions"][0]["rows"] == 560, what="560 rows")
            assert stream.next("state")["workers_ready"] == 2
        assert (
            b'hotgate_rows_total{model="cancer",role="champion",version="file"} 560.0'
            in server.request("GET", "/metrics")[2]
        )
        (told,) = watch(server).next("drift")
        (report,) = json.loads(server.request("GET", "/monitor/drift")[2])
        assert told["psi"] == [column["psi"] for column in (*report["features"], report["score"])]
        assert (told["n"], told["severity"]) == (560, report["severity"])
        name = "worst_area"
        histogram = json.loads(server.request("GET", f"/monitor/histogram?model=cancer&feature={name}")[2])
        assert histogram["column"] == next(column for column in report["features"] if column["name"] == name)
        course = json.loads(server.request("GET", "/monitor/course?model=cancer&horizon_s=900")[2])
        assert sum(step["n"] for step in course["steps"]) == 560
        for path, status, text in (
            ("/monitor/histogram?model=cancer&feature=nobody", 404, "no feature 'nobody'"),
            ("/monitor/histogram?model=nobody&feature=a", 404, "no model 'nobody' served"),
            ("/monitor/histogram?model=cancer&feature=score&horizon_s=1", 400, "horizon_s must be 10 to 604800"),
            ("/monitor/course?model=cancer&horizon_s=1e9", 400, "horizon_s must be 10 to 604800"),
        ):
            answered, _, problem = server.request("GET", path)
            assert (answered, text in json.loads(problem)["detail"]) == (status, True), problem


def test_streams_are_few_and_a_stop_ends_them(tmp_path, linear, watch):
    """One too many is a 503 that says so; a client that leaves makes room; SIGTERM ends all of them, properly."""
    with serving(tmp_path, "--model", f"cancer={linear.path}") as server:
        streams = [watch(server) for _ in range(STREAMS_MAX)]
        assert {stream.status for stream in streams} == {200}
        status, headers, problem = server.request("GET", "/events")
        assert (status, headers["retry-after"]) == (503, "1")
        assert "32 streams are open in this worker" in json.loads(problem)["detail"]
        streams.pop().close()

        wait_until(lambda: watch(server).status == 200, what="room for another stream")
        server.process.send_signal(signal.SIGTERM)
        assert all(stream.rest().endswith(b"0\r\n\r\n") for stream in streams)
        assert server.process.wait(20) == 0
        assert "Traceback" not in server.text()


def test_workers_whose_parent_was_killed_end_although_somebody_watches(tmp_path, linear, watch):
    """The server waits for answers that are under way, and a stream is one."""
    with serving(tmp_path, "--model", f"cancer={linear.path}") as server:
        workers = wait_until(server.workers, what="a worker")
        watch(server).next("state")
        server.process.kill()
        server.process.wait()
        wait_until(lambda: not any(map(_lives, workers)), deadline_s=15, what="the workers' end")


def _lives(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def test_the_page_is_safe_to_show_and_cheap_to_ask_for_again(tmp_path, linear):
    """Nothing inline, nothing from elsewhere; unchanged files are not sent twice; only GET and HEAD."""
    with serving(tmp_path, "--model", f"cancer={linear.path}") as server:
        status, headers, body = server.request("GET", "/")
        assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert {policy[kind] for kind in ("script-src", "style-src", "connect-src")} == {"'self'"}
        assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-cache")
        assert not re.search(rb"<style|style=|<script>|\son[a-z]+=|https?:", body)
        files = set(re.findall(rb'(?:src|href)="(page/[^"]+)"', body))
        assert len(files) == 5
        for file in files:
            path = f"/{file.decode()}"
            status, headers, content = server.request("GET", path)
            assert (status, len(content) > 50) == (200, True), path
            assert headers["content-security-policy"].startswith("default-src 'none'")
            again = server.request("GET", path, headers={"If-None-Match": headers["etag"]})
            assert (again[0], again[2]) == (304, b"")
            head = server.request("HEAD", path)
            assert (head[0], head[1]["content-length"], head[2]) == (200, str(len(content)), b"")
        for path in ("/page/uPlot.LICENSE", "/page/routes.py", "/page/..%2froutes.py", "/page/"):
            assert server.request("GET", path)[0] == 404, path
        assert server.request("POST", "/")[0] == 405
        assert server.request("POST", "/events")[0] == 405


def test_the_page_can_be_off(tmp_path, linear):
    """`[gateway] page = false`: no page, no stream; the verdicts stay."""
    env = {"HOTGATE_GATEWAY_PAGE": "false"}
    with serving(tmp_path, "--model", f"cancer={linear.path}", env=env) as server:
        for path in ("/", "/events", "/page/page.js"):
            assert server.request("GET", path)[0] == 404, path
        assert server.request("GET", "/monitor/drift")[0] == 200
