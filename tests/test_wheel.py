"""The wheel alone, in an environment of its own with only the gateway's locked requirements, serves a model file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from harness import serving

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy of what git tracks, so that nothing is left in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_the_packages_and_nothing_else(wheel):
    """Every tracked module of the rooms, the load generator's source, and no tests."""
    names = set(zipfile.ZipFile(wheel).namelist())
    rooms = ("benchmarks", "converters", "deploy", "gateway", "monitoring", "training")
    expected = {path.relative_to(ROOT).as_posix() for room in rooms for path in (ROOT / room).rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == expected | {"hotgate.py"}
    assert {"benchmarks/budget.toml", "benchmarks/load/gen.c"} <= names
    page = {path.relative_to(ROOT).as_posix() for path in (ROOT / "gateway/page/static").iterdir()}
    assert "gateway/page/static/uPlot.LICENSE" in page
    assert page <= names
    locks = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("benchmarks/peers/requirements/*.txt")}
    assert locks
    assert locks <= names
    assert not any(name.startswith("tests") for name in names)


def test_the_wheel_serves_a_model_file_from_a_clean_environment(wheel, tmp_path, linear, cancer):
    """Installed with `requirements/gateway.txt` alone: no scikit-learn, no MLflow, and not from the checkout."""
    uv = [str(Path(sys.executable).with_name("uv"))]
    environment = tmp_path / "environment"
    python = str(environment / "bin" / "python")
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, str(environment)], check=True)
    install = [*uv, "pip", "install", "--quiet", "--python", python]
    locked = subprocess.run(
        [*install, "--require-hashes", "-r", str(ROOT / "requirements" / "gateway.txt")],
        capture_output=True,
        text=True,
        check=False,
    )
    if locked.returncode:
        pytest.skip(f"the package registry cannot be reached: {locked.stderr.strip().splitlines()[-1]}")
    subprocess.run([*install, "--no-deps", str(wheel)], check=True)
    absent = "import importlib.util as u; assert not any(map(u.find_spec, ['sklearn', 'mlflow', 'skl2onnx', 'pandas']))"
    subprocess.run([python, "-c", absent], check=True, cwd=tmp_path)
    hotgate = str(environment / "bin" / "hotgate")
    options = ["--model", f"cancer={linear.path}"]
    env = {"PYTHONPATH": "", "PATH": os.environ["PATH"]}
    command = lambda port: [hotgate, "serve", "--port", str(port), *options]  # noqa: E731 - one line for one line
    with serving(tmp_path, command=command, env=env) as server:
        status, headers, content = server.predict(json.dumps({"features": cancer[0][0].tolist()}).encode())
        assert status == 200
        assert headers["x-model-sha256"] == linear.file.sha256
        expected = linear.estimator.predict_proba(cancer[0][:1])[0, 1]
        assert json.loads(content)["probabilities"]["benign"] == pytest.approx(expected, abs=1e-5)
