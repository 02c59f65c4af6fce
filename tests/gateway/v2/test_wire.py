"""What the wire says when nothing can be scored; how the routes are documented."""

from __future__ import annotations

import json

import pytest
from prometheus_client import CollectorRegistry, Counter

from gateway.admission import Admission
from gateway.application import Gateway
from gateway.errors import GatewayError, NotFound, NotReady, Overloaded
from gateway.settings import GatewaySettings, WorkerConfig
from gateway.tickets import Ticket
from gateway.v2.views import Views
from gateway.v2.wire import V2Wire


class NoModels:
    """Refuses whatever is asked for."""

    def __init__(self, error):
        self._error = error

    def find(self, name):
        raise self._error


@pytest.fixture
def errors():
    """What is counted."""
    return Counter("errors", "Errors.", ("status",), registry=CollectorRegistry())


@pytest.mark.parametrize(
    ("error", "status", "retry", "text"),
    [
        (NotFound("no"), 404, None, "Request for unknown model: 'm' is not found"),
        (NotReady("no"), 503, "1", "Request for unknown model: 'm' is not at ready state: it is not loaded yet"),
        (Overloaded("3 rows wait"), 503, "1", "3 rows wait"),
    ],
)
@pytest.mark.parametrize("given", ["mine", "no spaces", None])
def test_an_error_has_its_status_and_is_counted(errors, error, status, retry, text, given):
    """In the protocol's shape, under the caller's id where that is usable, and with when to come again."""
    wire = V2Wire(Views(NoModels(error)), Admission(errors))
    headers = {} if given is None else {"x-request-id": given}
    with pytest.raises(GatewayError) as caught:
        wire.begin(Ticket(0.0), ("m",), headers, b"{}")
    answered, fields, body = wire.refuse(caught.value, headers)
    assert answered == status
    assert json.loads(body) == {"error": text}
    found = dict(fields)
    assert found["content-type"] == "application/json"
    assert found.get("retry-after") == retry
    assert (found["x-request-id"] == given) == (given == "mine")
    assert errors.labels(str(status))._value.get() == 1


def test_openapi_has_every_route(tmp_path):
    """With bodies, binary ones too, errors and headers."""
    config = WorkerConfig(settings=GatewaySettings(), store=str(tmp_path), monitor=str(tmp_path))
    paths = Gateway(config).openapi_schema.to_schema()["paths"]
    ours = {path: item for path, item in paths.items() if path.startswith("/v2")}
    model = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
    named = [f"{path}{rest}" for path in model for rest in ("", "/config", "/infer", "/ready", "/stats")]
    repository = [f"/v2/repository/{rest}" for rest in ("index", "models/{model}/load", "models/{model}/unload")]
    assert sorted(ours) == sorted([
        "/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/stats", *named, *repository,
    ])  # fmt: skip
    infer = ours["/v2/models/{model}/versions/{version}/infer"]["post"]
    for content in (infer["requestBody"]["content"], infer["responses"]["200"]["content"]):
        assert set(content) == {"application/json", "application/octet-stream"}
    assert {"400", "404", "413", "415", "422", "503", "504"} <= set(infer["responses"])
    names = {parameter["name"] for parameter in infer["parameters"]}
    assert names >= {"model", "version", "X-Request-Id", "X-Deadline-Ms", "Inference-Header-Content-Length"}
    assert "requestBody" in ours["/v2/repository/index"]["post"]
