"""Health, metadata, configuration, counts and the repository, by Triton's client and without one."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
import tritonclient.http as triton

from gateway.errors import Refused
from gateway.settings import GatewaySettings
from gateway.store import Entry, ModelRoles
from gateway.v2.repository import _admit

TOKEN = "a-token-of-the-administrator"

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def client(served):
    """Triton's own."""
    with triton.InferenceServerClient(f"127.0.0.1:{served.port}") as found:
        yield found


def get(served, path):
    status, _, body = served.request("GET", path)
    return status, json.loads(body)


def test_the_server_is_live_and_ready(client, served):
    """As the status says, and as KServe reads it."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert get(served, "/v2/health/live") == (200, {"live": True})
    assert get(served, "/v2/health/ready") == (200, {"ready": True})


def test_the_server_says_what_it_is(client):
    """With the extensions that there are."""
    metadata = client.get_server_metadata()
    assert metadata["name"] == "hotgate"
    assert "binary_tensor_data" in metadata["extensions"]


@pytest.mark.parametrize("version", ["", "7"])
def test_a_model_says_what_it_takes_and_gives(client, linear, version):
    """With its version in the path and without."""
    name = linear.file.metadata.signature.input_name
    assert client.is_model_ready("cancer", version)
    assert client.get_model_metadata("cancer", version) == {
        "name": "cancer",
        "versions": ["7"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": name, "datatype": "FP32", "shape": [-1, 30]}],
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]},
        ],
    }
    config = client.get_model_config("cancer", version)
    assert config["max_batch_size"] == 0
    assert config["version_policy"] == {"specific": {"versions": ["7"]}}
    assert config["input"] == [{"name": name, "data_type": "TYPE_FP32", "dims": [-1, 30]}]
    assert [one["data_type"] for one in config["output"]] == ["TYPE_INT64", "TYPE_FP32"]


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("other", "Request for unknown model: 'other' is not found"),
        ("cancer/versions/8", "Request for unknown model: 'cancer' version 8 is not found: version 7 serves"),
    ],
)
@pytest.mark.parametrize("what", ["", "/ready", "/config", "/stats"])
def test_what_does_not_serve_is_404(served, path, error, what):
    """In one shape and the same words everywhere."""
    assert get(served, f"/v2/models/{path}{what}") == (404, {"error": error})


def test_an_unknown_path_is_worded_by_the_protocol(served):
    """Wherever it lies below /v2."""
    status, found = get(served, "/v2/nope")
    assert (status, list(found)) == (404, ["error"])
    status, found = get(served, "/v2/models/cancer/infer")
    assert (status, list(found)) == (405, ["error"])
    assert "error" not in get(served, "/v20")[1]


def test_counts_are_of_rows_and_runs(client, linear):
    """Over all workers, and of one version or of all."""
    before = client.get_inference_statistics("cancer", "7")["model_stats"][0]
    inputs = triton.InferInput(linear.file.metadata.signature.input_name, [4, 30], "FP32")
    inputs.set_data_from_numpy(np.zeros((4, 30), dtype=np.float32))
    client.infer("cancer", [inputs])
    (after,) = client.get_inference_statistics("cancer")["model_stats"]
    assert after["inference_count"] == before["inference_count"] + 4
    assert after["execution_count"] == before["execution_count"] + 1
    stats, old = after["inference_stats"], before["inference_stats"]
    assert stats["success"] == {"count": after["inference_count"], "ns": 0}
    assert stats["fail"] == {"count": 0, "ns": 0}
    for part in ("queue", "compute_infer"):
        assert stats[part]["count"] == after["execution_count"]
        assert stats[part]["ns"] > old[part]["ns"]
    everything = client.get_inference_statistics()["model_stats"]
    assert [(one["name"], one["version"]) for one in everything] == [("cancer", "7"), ("trees", "2"), ("tumors", "1")]


def test_the_index_lists_every_model(client):
    """With what it serves."""
    assert client.get_model_repository_index() == [
        {"name": "cancer", "version": "7", "state": "READY", "reason": ""},
        {"name": "trees", "version": "2", "state": "READY", "reason": ""},
        {"name": "tumors", "version": "1", "state": "READY", "reason": ""},
    ]


def index(served, body):
    status, _, content = served.request("POST", "/v2/repository/index", body)
    return status, json.loads(content)


def test_a_malformed_question_for_the_index_is_400(served):
    """With what is wrong."""
    status, found = index(served, b'{"ready": 1}')
    assert status == 400
    assert "Expected `bool`, got `int` - at `$.ready`" in found["error"]
    assert index(served, b"[" * 100_000)[0] == 400


def administer(served, what, body=b"", token=TOKEN):
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    status, _, content = served.request("POST", f"/v2/repository/models/{what}", body, headers)
    return status, json.loads(content)["error"] if content else ""


@pytest.mark.parametrize("token", [None, "", "another-token-of-that-length"])
@pytest.mark.parametrize("what", ["cancer/load", "cancer/unload"])
def test_nobody_administers_without_the_token(served, what, token):
    """403, whatever the model is."""
    status, error = administer(served, what, token=token)
    assert status == 403
    assert error.startswith("explicit model load / unload is not allowed")


@pytest.mark.parametrize("given", [None, "Bearer ", "Bearer None"])
def test_without_a_token_in_the_settings_nobody_may(given):
    """And the error says what to set."""
    with pytest.raises(Refused, match=r"set \[gateway\] admin_token") as caught:
        _admit(None, given)
    assert caught.value.status == 403


def test_loading_looks_at_the_store(client, served, store, forest):
    """A version that cannot be loaded is told with its reason, and tried again with no change of the store."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    client.load_model("cancer", headers=headers)
    manifest = store.read()
    found = store.object_path(manifest.models["trees"].champion.sha256)
    found.unlink()
    found.write_bytes(b"other bytes")
    with store.writer() as writer:
        broken = Entry(version="9", sha256=manifest.models["trees"].champion.sha256)
        writer.publish({**manifest.models, "cancer": ModelRoles(champion=broken)})
    status, error = administer(served, "cancer/load")
    assert status == 400
    assert error.startswith("failed to load 'cancer', version 9 cannot be loaded: ")
    status, listed = index(served, b"")
    assert listed[0] == {"name": "cancer", "version": "7", "state": "READY", "reason": ""}
    assert (listed[1]["version"], listed[1]["state"]) == ("9", "UNAVAILABLE")
    assert "version 9 cannot be loaded" in listed[1]["reason"]
    assert [one["name"] for one in index(served, b'{"ready": true}')[1]] == ["cancer", "trees", "tumors"]
    found.write_bytes(forest.file.data)
    assert administer(served, "cancer/load") == (200, "")
    assert get(served, "/v2/models/cancer/versions/9/ready")[0] == 200
    with store.writer() as writer:
        writer.publish(manifest.models)
    assert administer(served, "cancer/load") == (200, "")
    assert [one["state"] for one in index(served, b"")[1]] == ["READY"] * 3


def test_what_cannot_be_loaded_or_unloaded_says_what_can_be_done(served):
    """And nothing is changed."""
    status, error = administer(served, "nope/load")
    assert (status, error.startswith("failed to load 'nope', failed to poll from model repository")) == (400, True)
    status, error = administer(served, "cancer/load", b'{"parameters": {"config": "{}"}}')
    assert (status, "no parameters are taken" in error) == (400, True)
    status, error = administer(served, "cancer/unload")
    assert (status, "run `hotgate unpublish cancer`" in error) == (400, True)
    assert get(served, "/v2/models/cancer/ready") == (200, {"ready": True})


def test_the_token_is_shown_nowhere(served):
    """Neither by the settings nor by the log; and a short one is refused."""
    settings = GatewaySettings(admin_token=TOKEN)
    assert TOKEN not in repr(settings)
    assert "admin_token='…'" in repr(settings)
    assert "admin_token=None" in repr(GatewaySettings())
    assert msgspec.json.decode(msgspec.json.encode(settings), type=GatewaySettings) == settings
    assert TOKEN not in served.text()
    with pytest.raises(ValueError, match="admin_token must have at least 16 characters, not 5"):
        GatewaySettings(admin_token="short")
