"""Requests to an MLflow server over one kept connection: credentials, errors, sizes; knows nothing of registries."""

from __future__ import annotations

import base64
import http.client
import os
import ssl
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import msgspec

from gateway.sync.base import RegistryError, RegistryUnavailableError
from gateway.sync.sources import copy_bounded

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["NotFoundError", "Transport"]

# Answers are small; a server that sends more than this is not an MLflow server.
_ANSWER_BYTES = 64 << 20


class NotFoundError(RegistryError):
    """MLflow itself says that there is no such thing."""


class _ErrorAnswer(msgspec.Struct, frozen=True):
    error_code: str = ""
    message: str = ""


class Transport:
    """One connection to one server, from one thread; opened when needed, reopened when the server has closed it.

    Credentials come from the address (`https://user:password@host`) or, as for every MLflow client, from
    `MLFLOW_TRACKING_TOKEN` or `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`. They go to this server only:
    redirects are not followed.
    """

    def __init__(self, uri: str, environ: Mapping[str, str] = os.environ, *, timeout_s: float) -> None:
        parts = urlsplit(uri)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise RegistryError(f"{uri!r} is not the http(s) address of an MLflow server")
        self.host = parts.hostname
        self._port = parts.port
        self._prefix = parts.path.rstrip("/")
        self.address = f"{parts.scheme}://{self.host}{f':{self._port}' if self._port else ''}{self._prefix}"
        self._headers = {"Accept": "application/json", **_authorization(parts.username, parts.password, environ)}
        self._timeout_s = timeout_s
        self._tls = None
        if parts.scheme == "https":
            self._tls = ssl.create_default_context(cafile=environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH") or None)
        self._connection: http.client.HTTPConnection | None = None

    def get(self, path: str) -> bytes:
        """The whole body of an answer."""
        return self._read(self._send("GET", path))

    def post(self, path: str, body: bytes) -> None:
        """Send JSON; what is answered does not matter. The request may be sent twice, so it must bear that."""
        self._read(self._send("POST", path, body))

    def fetch(self, path: str, target: Path, limit_bytes: int) -> int:
        """Write a body to a file; returns its size, which is above the limit if it was cut off there."""
        response = self._send("GET", path)
        promised = response.length
        try:
            with target.open("wb") as sink:
                size = copy_bounded(response.read, sink, limit_bytes)
        except (http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError) as error:
            self.close()
            raise RegistryUnavailableError(
                f"{self.address} broke off a download: {error or type(error).__name__}"
            ) from error
        if size > limit_bytes:
            self.close()  # the rest is not wanted
        elif promised is not None and size != promised:
            # http.client says nothing when a connection ends early.
            self.close()
            raise RegistryUnavailableError(f"{self.address} sent {size} of {promised} bytes")
        return size

    def close(self) -> None:
        """Let go of the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _send(self, method: str, path: str, body: bytes | None = None) -> http.client.HTTPResponse:
        """Send on the kept connection, once more on a new one if the server has closed it meanwhile."""
        headers = {**self._headers, **({"Content-Type": "application/json"} if body else {})}
        for kept in (True, False) if self._connection else (False,):
            connection = self._connection if kept and self._connection else self._connect()
            try:
                connection.request(method, self._prefix + path, body, headers)
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                self.close()
                if kept and not isinstance(error, TimeoutError):
                    continue
                raise RegistryUnavailableError(
                    f"{self.address} is not reachable: {error or type(error).__name__}"
                ) from error
            if response.status == http.HTTPStatus.OK:
                return response
            self._refuse(response)
        raise AssertionError  # pragma: no cover - the last attempt returned or raised

    def _connect(self) -> http.client.HTTPConnection:
        if self._tls:
            self._connection = http.client.HTTPSConnection(
                self.host, self._port, timeout=self._timeout_s, context=self._tls
            )
        else:
            self._connection = http.client.HTTPConnection(self.host, self._port, timeout=self._timeout_s)
        return self._connection

    def _refuse(self, response: http.client.HTTPResponse) -> None:
        status = response.status
        data = self._read(response)
        try:
            answer = msgspec.json.decode(data, type=_ErrorAnswer)
        except msgspec.DecodeError:
            answer = _ErrorAnswer(message=data[:200].decode(errors="replace"))
        text = f"{self.address} answers {status}: {answer.message or response.reason}"
        # A 404 of a proxy, or of a wrong path, must not pass for a deleted model.
        if status == http.HTTPStatus.NOT_FOUND and answer.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise NotFoundError(text)
        if status >= 500 or status in {http.HTTPStatus.TOO_MANY_REQUESTS, http.HTTPStatus.REQUEST_TIMEOUT}:
            raise RegistryUnavailableError(text)
        if status in {http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.FORBIDDEN}:
            text += "; check MLFLOW_TRACKING_TOKEN or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        raise RegistryError(text)

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        try:
            data = response.read(_ANSWER_BYTES)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise RegistryUnavailableError(f"{self.address} broke off its answer: {error}") from error
        if response.length:
            self.close()
            raise RegistryUnavailableError(f"{self.address} sent {len(data)} bytes, {response.length} are missing")
        return data


def _authorization(user: str | None, password: str | None, environ: Mapping[str, str]) -> dict[str, str]:
    """What MLflow's own client sends for the same address and environment."""
    if user is not None:
        user, password = unquote(user), unquote(password or "")
    elif token := environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    else:
        user, password = environ.get("MLFLOW_TRACKING_USERNAME"), environ.get("MLFLOW_TRACKING_PASSWORD", "")
    if not user:
        return {}
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
