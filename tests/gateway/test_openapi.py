"""The description is true: valid as OpenAPI, and what the server does is what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import schemathesis
from harness import serving
from litestar.serialization import encode_json

from benchmarks.fuzz.models import MARKS, PEOPLE, write_models
from gateway.application import Gateway
from gateway.openapi import corrected
from gateway.settings import GatewaySettings, WorkerConfig

JUDGE = Path(__file__).with_name("openapi")
SCORING = ("/predict", "/predict/{model}", "/invocations", "/invocations/{model}", "/v2/models/{model}/infer")
ENVIRONMENT = {
    "HOTGATE_GATEWAY_DEFAULT_MODEL": MARKS,
    "HOTGATE_GATEWAY_ADMIN_TOKEN": "a-token-of-the-administrator",
}


@pytest.fixture(scope="module")
def description():
    config = WorkerConfig(settings=GatewaySettings(), store="unused", monitor="unused")
    return json.loads(encode_json(corrected(Gateway(config).openapi_schema.to_schema())))


def test_it_is_valid_openapi(description):
    """By OpenAPI 3.1's own schema."""
    schemathesis.openapi.from_dict(description).validate()


def test_no_union_excludes_what_two_of_its_members_take(description):
    """An integer is a number too: `oneOf` would refuse it. A union of one is none, and what is said of it stays."""
    assert "oneOf" not in str(description)
    union = {"description": "d", "oneOf": [{"type": "integer"}, {"type": "number"}]}
    assert corrected(union) == {"description": "d", "anyOf": union["oneOf"]}
    assert corrected({"description": "d", "oneOf": [{"type": "string"}]}) == {"description": "d", "type": "string"}


def test_a_property_may_be_called_as_a_keyword():
    """Only keywords are put right."""
    named = {"type": "object", "properties": {"oneOf": {"type": "string"}, "headers": {"type": "object"}}}
    assert corrected({"schemas": named}) == {"schemas": named}


def test_a_header_is_a_text_or_is_not_there(description):
    """Litestar says that it may be null."""
    header = {"in": "header", "name": "X", "schema": {"anyOf": [{"type": "string", "pattern": "a"}, {"type": "null"}]}}
    assert corrected({"parameters": [header]})["parameters"][0]["schema"] == {"type": "string", "pattern": "a"}
    given = description["paths"]["/predict"]["post"]["parameters"]
    assert {one["schema"]["type"] for one in given if one["in"] == "header"} == {"string"}


def test_a_body_that_may_have_no_other_fields_says_so(description):
    """As the decoder refuses them."""
    schemas = description["components"]["schemas"]
    assert schemas["TableRequest"]["additionalProperties"] is False
    assert schemas["Feedback"]["additionalProperties"] is False
    assert "additionalProperties" not in schemas["Health"]


@pytest.mark.parametrize("path", SCORING)
def test_every_scoring_route_says_what_can_go_wrong(description, path):
    """Each status with its description, and the media type that it has."""
    answers = description["paths"][path]["post"]["responses"]
    assert set(answers) == {"200", "400", "404", "413", "415", "422", "503", "504"}
    kind = "application/problem+json" if path.startswith("/predict") else "application/json"
    assert all(set(answers[status]["content"]) == {kind} for status in ("400", "404", "503"))
    assert all(answer["description"] for answer in answers.values())


@pytest.mark.process
def test_a_server_does_what_its_description_says(tmp_path):
    """By schemathesis, with all its checks: examples, every limit of every value, and what it makes up."""
    models = [part for name, path in write_models(tmp_path).items() for part in ("--model", f"{name}={path}")]
    with serving(tmp_path, "--workers", "1", *models, env=ENVIRONMENT) as server:
        before = server.workers()
        run = subprocess.run(
            [
                *(Path(sys.executable).with_name("schemathesis"), "--config-file", JUDGE / "schemathesis.toml"),
                *("run", f"http://127.0.0.1:{server.port}/schema", "--seed", "6", "--max-examples", "12", "--no-color"),
            ],
            cwd=tmp_path,
            env={**os.environ, "SCHEMATHESIS_HOOKS": str(JUDGE / "hooks.py"), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        assert server.workers() == before
        assert server.predict(b'{"features":[5,"Bern"]}', f"/predict/{PEOPLE}")[0] == 200
