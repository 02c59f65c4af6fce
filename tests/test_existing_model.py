"""A model that a team has already, of mixed columns, from its registry to requests: hotgate has made nothing of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from harness import serving
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from training.tracking import prepare, tracking_uri

pytestmark = pytest.mark.process

NAME = "house-prices"


@pytest.fixture(scope="module")
def frame():
    """Houses: numbers with gaps, a text, a flag, a count; and what they were sold for."""
    rng = np.random.default_rng(7)
    count = 600
    houses = pd.DataFrame(
        {
            "area": rng.normal(120, 30, count).round(1),
            "city": rng.choice(["Basel", "Bern", "Genf"], count),
            "garden": rng.random(count) < 0.5,
            "rooms": rng.integers(2, 8, count),
        }
    )
    price = 5.0 * houses["area"] + 90 * (houses["city"] == "Genf") + 40 * houses["garden"] + 20 * houses["rooms"]
    houses["price"] = (price + rng.normal(0, 10, count)).round(2)
    houses.loc[rng.random(count) < 0.1, "area"] = np.nan
    return houses


def fitted(frame):
    features = frame.drop(columns="price")
    transformer = make_column_transformer(
        (SimpleImputer(), ["area"]),
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include=["object", "str"])),
        remainder="passthrough",
    )
    return make_pipeline(transformer, GradientBoostingRegressor(random_state=0)).fit(features, frame["price"])


def run(folder, *arguments, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "hotgate", *arguments],
        cwd=folder, env={**os.environ, "HOTGATE_HOME": str(folder / "home")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.mark.filterwarnings("ignore")  # what MLflow says of its own dependencies
def test_a_model_of_ones_own_is_converted_promoted_and_served(tmp_path, frame, monkeypatch):
    """`hotgate convert --register`, `promote --force`, `serve`: what scikit-learn predicts, for rows with gaps too."""
    import mlflow

    home = tmp_path / "home"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(home))
    prepare(home)
    estimator = fitted(frame)
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("own", (home / "artifacts").as_uri()))
    with mlflow.start_run():
        mlflow.sklearn.log_model(
            estimator, name="model", registered_model_name=NAME, serialization_format="cloudpickle"
        )
    frame.to_csv(tmp_path / "houses.csv", index=False)

    told = run(tmp_path, "convert", f"models:/{NAME}/1", "--data", "houses.csv", "--target", "price", "--register")
    assert "150 of 600 rows" in told.stderr
    assert "version 2" in told.stdout
    refused = run(tmp_path, "promote", NAME, "2", code=1)
    assert "gate" in refused.stderr
    run(tmp_path, "promote", NAME, "2", "--force", "--reason", "judged in the notebook")

    rows = frame.drop(columns="price").head(40)
    expected = estimator.predict(rows)
    records = json.loads(rows.to_json(orient="records"))
    assert any(record["area"] is None for record in records)
    with serving(tmp_path) as server:
        status, headers, body = server.predict(json.dumps({"instances": records}).encode())
        assert (status, headers["x-model-version"]) == (200, "2")
        np.testing.assert_allclose([row["value"] for row in json.loads(body)["predictions"]], expected, rtol=1e-5)
        shuffled = {name: records[0][name] for name in ("rooms", "garden", "city", "area")}
        one = json.loads(server.predict(json.dumps({"features": shuffled}).encode())[2])
        assert one["value"] == pytest.approx(expected[0], rel=1e-5)
        wrong = server.predict(json.dumps({"features": {**shuffled, "rooms": "three"}}).encode())
        assert wrong[0] == 400
        assert "$.features.rooms" in json.loads(wrong[2])["detail"]
        status, _, body = server.request(
            "POST",
            "/invocations",
            json.dumps({"dataframe_records": records}).encode(),
            {"Content-Type": "application/json"},
        )
        np.testing.assert_allclose(json.loads(body)["predictions"], expected, rtol=1e-5)
        inputs = [
            {"name": name, "shape": [1], "datatype": kind, "data": [records[0][name]]}
            for name, kind in (("area", "FP32"), ("city", "BYTES"), ("garden", "BOOL"), ("rooms", "INT64"))
        ]
        status, _, body = server.request(
            "POST",
            f"/v2/models/{NAME}/infer",
            json.dumps({"inputs": inputs}).encode(),
            {"Content-Type": "application/json"},
        )
        assert status == 200, body
        (output,) = json.loads(body)["outputs"]
        assert output["data"] == pytest.approx([expected[0]], rel=1e-5)
