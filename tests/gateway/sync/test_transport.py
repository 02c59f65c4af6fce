"""What a server, or what stands before it, may do to the HTTP registry."""

from __future__ import annotations

import base64
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from gateway.sync.base import RegistryError, RegistryUnavailableError
from gateway.sync.connect import open_registry

EMPTY = b'{"registered_models": []}'


class Handler(BaseHTTPRequestHandler):
    """Answers what the test says: (status, headers, body), by path; remembers what came."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.seen.append((self.path, dict(self.headers), self.client_address))
        path = self.path.partition("?")[0]
        status, headers, body = self.server.answers.get(path, (200, {}, EMPTY))
        self.send_response(status)
        for key, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)
        if "Content-Length" in headers or "X-Close" in headers:
            self.wfile.flush()
            self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.seen, server.answers = [], {}
    server.uri = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def connect(server):
    registries = []

    def make(environ=None, uri=None):
        registries.append(open_registry(uri or server.uri, environ or {}, timeout_s=5))
        return registries[-1]

    yield make
    for registry in registries:
        registry.close()


NAMES = "/api/2.0/mlflow/registered-models/search"


@pytest.mark.parametrize(
    ("environ", "user", "wanted"),
    [
        ({}, "", None),
        ({"MLFLOW_TRACKING_TOKEN": "t0k"}, "", "Bearer t0k"),
        (
            {"MLFLOW_TRACKING_USERNAME": "ada", "MLFLOW_TRACKING_PASSWORD": "pä:ss"},
            "",
            "Basic " + base64.b64encode("ada:pä:ss".encode()).decode(),
        ),
        ({"MLFLOW_TRACKING_TOKEN": "t0k"}, "eve:p%40@", "Basic " + base64.b64encode(b"eve:p@").decode()),
    ],
)
def test_credentials_are_mlflows_own(server, connect, environ, user, wanted):
    """The address wins over the environment, a token over a password; none shows in the repr."""
    registry = connect(environ, server.uri.replace("//", f"//{user}"))
    registry.names()
    assert server.seen[0][1].get("Authorization") == wanted
    assert repr(registry) == f"HttpRegistry('{server.uri}')"


def test_one_connection_serves_many_polls_and_is_reopened_when_the_server_closed_it(server, connect):
    """A server's keep-alive timeout is no outage."""
    registry = connect()
    for _ in range(3):
        registry.names()
    assert len({client for _, _, client in server.seen}) == 1
    server.answers[NAMES] = (200, {"X-Close": "unannounced"}, EMPTY)
    for _ in range(3):
        registry.names()


@pytest.mark.parametrize(
    ("answer", "kind", "text"),
    [
        ((503, {}, b"upstream"), RegistryUnavailableError, "answers 503: upstream"),
        ((429, {}, b""), RegistryUnavailableError, "answers 429"),
        ((401, {}, b""), RegistryError, "check MLFLOW_TRACKING_TOKEN"),
        ((302, {"Location": "http://elsewhere/"}, b""), RegistryError, "answers 302"),
        ((200, {}, b"<html>log in</html>"), RegistryError, "does not answer like MLflow"),
        ((200, {"Content-Length": "1000"}, EMPTY), RegistryUnavailableError, "are missing"),
    ],
)
def test_wrong_answers_say_what_is_wrong(server, connect, answer, kind, text):
    """Only what may pass counts as unavailable."""
    server.answers[NAMES] = answer
    with pytest.raises(kind, match=text) as caught:
        connect().names()
    assert type(caught.value) is kind


def test_a_404_of_a_proxy_is_not_a_deleted_model(server, connect):
    """Otherwise a wrong path would orphan everything."""
    server.answers["/api/2.0/mlflow/registered-models/get"] = (404, {}, b"<html>nginx</html>")
    with pytest.raises(RegistryError, match="answers 404"):
        connect().model("m")


def test_nobody_listening_is_unavailable():
    """The message tells the address."""
    with pytest.raises(RegistryUnavailableError, match=r"http://127\.0\.0\.1:1 is not reachable"):
        open_registry("http://127.0.0.1:1", {}).names()


URI = "/api/2.0/mlflow/model-versions/get-download-uri"
FILE = "/api/2.0/mlflow-artifacts/artifacts/1/a/model.hotgate.onnx"


def test_a_download_that_ends_early_is_unavailable_not_a_file(server, connect, tmp_path):
    """`http.client` itself says nothing."""
    server.answers[URI] = (200, {}, b'{"artifact_uri": "mlflow-artifacts:/1/a"}')
    server.answers[FILE] = (200, {"Content-Length": "900"}, b"half")
    with pytest.raises(RegistryUnavailableError, match="sent 4 of 900 bytes"):
        connect().download("m", 1, tmp_path / "f", limit_bytes=1000)


@pytest.mark.parametrize(
    "source", ["mlflow-artifacts://evil.example/1/a", "s3://bucket/a", "http://evil.example/a", ""]
)
def test_credentials_and_requests_go_to_no_other_server(server, connect, tmp_path, source):
    """A source is written by whoever may register; it must not choose whom we talk to."""
    server.answers[URI] = (200, {}, b'{"artifact_uri": "%s"}' % source.encode())
    with pytest.raises(RegistryError, match="--serve-artifacts"):
        connect({"MLFLOW_TRACKING_TOKEN": "t"}).download("m", 1, tmp_path / "f", limit_bytes=1000)
    assert [path.partition("?")[0] for path, _, _ in server.seen] == [URI]


def test_a_path_prefix_is_kept(server, connect):
    """MLflow behind a proxy under a path."""
    server.answers["/mlflow" + NAMES] = (200, {}, b'{"registered_models": [{"name": "x"}]}')
    assert connect({}, server.uri + "/mlflow/").names() == ["x"]


def test_all_pages_are_read(server, connect):
    """Page tokens are followed to the end."""
    pages = iter(
        [b'{"registered_models": [{"name": "b"}], "next_page_token": "t&1"}', b'{"registered_models": [{"name": "a"}]}']
    )

    class Pages(dict):
        def get(self, *_):
            return 200, {}, next(pages)

    server.answers = Pages()
    assert connect().names() == ["a", "b"]
    assert server.seen[1][0].endswith("page_token=t%261")
