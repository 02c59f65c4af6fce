"""The Dockerfiles as they stand, built and run; minutes of work, so only where `make images-test` asks for it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from harness import wait_until

ROOT = Path(__file__).parents[2]
PODMAN = ("podman", "--runtime", "runc", "--cgroup-manager=cgroupfs")
BASE = "docker.io/library/python:3.11-slim"
HARDENED = (
    *("--network", "none", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "all"),
    *("--security-opt", "no-new-privileges", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"),
)
NEEDED = ("buildah", "podman", "runc", "debootstrap")

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(900),
    pytest.mark.skipif("HOTGATE_IMAGES" not in os.environ, reason="builds images: run make images-test"),
    pytest.mark.skipif(
        bool([name for name in NEEDED if shutil.which(name) is None]), reason=f"needs {', '.join(NEEDED)}"
    ),
]


def _run(*command, timeout=600, check=True):
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout, cwd=ROOT)
    assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """Build an image by its name; this machine's certificates stand in for those of a base image from a registry."""
    _run(str(ROOT / "deploy/docker/base.sh"))
    scratch = tmp_path_factory.mktemp("pip")
    (scratch / "pip.conf").write_text("[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n")
    (scratch / "uv.toml").write_text("native-tls = true\n")
    mounts = ("/etc/ssl/certs:/etc/ssl/certs:ro", f"{scratch}/pip.conf:/etc/pip.conf:ro")
    mounts = (*mounts, f"{scratch}/uv.toml:/etc/uv/uv.toml:ro")

    def build(name):
        begun = time.monotonic()
        _run(
            *("buildah", "bud", "--layers", "--isolation", "chroot", "--pull=never", "--format", "docker"),
            *(part for mount in mounts for part in ("--volume", mount)),
            *("-f", f"deploy/docker/{name}.Dockerfile", "-t", f"localhost/hotgate-{name}:test", "."),
        )
        tag = f"localhost/hotgate-{name}:test"
        sizes = [json.loads(_run("podman", "image", "inspect", one).stdout)[0]["Size"] for one in (tag, BASE)]
        whole, base = (size / 1e6 for size in sizes)
        print(f"{name}: built in {time.monotonic() - begun:.0f} s, {whole:.0f} MB, {whole - base:.0f} without base")
        return tag

    return build


@pytest.fixture(scope="module")
def gateway(image):
    """The gateway's image."""
    return image("gateway")


@pytest.fixture(scope="module")
def training(image):
    """The image of everything beside the request path."""
    return image("training")


@contextlib.contextmanager
def _container(tag, *arguments, options=()):
    name = f"hotgate-test-{os.getpid()}"
    _run(*PODMAN, "run", "--detach", "--name", name, *HARDENED, *options, tag, *arguments)
    try:
        yield name
    finally:
        _run(*PODMAN, "rm", "--force", "--time", "0", name, check=False)


def _exec(name, program, *, check=True):
    return _run(*PODMAN, "exec", name, "python", "-c", program, check=check)


def test_the_gateway_serves_hardened_and_stops_in_order(gateway, linear, rows_json):
    """Read-only, no capability, no root, no network but its own loopback; healthy, answers, drains, exit code 0."""
    mount = ("--volume", f"{linear.path}:/models/cancer.onnx:ro")
    begun = time.monotonic()
    with _container(
        gateway, *("serve", "--workers", "2", "--model", "cancer=/models/cancer.onnx"), options=mount
    ) as name:
        wait_until(lambda: _run(*PODMAN, "healthcheck", "run", name, check=False).returncode == 0, deadline_s=60)
        print(f"gateway: healthy {time.monotonic() - begun:.2f} s after podman run was begun")
        ask = (
            "from urllib.request import Request, urlopen; print(urlopen(Request('http://127.0.0.1:8000/predict',"
            f" data=b'{{\"features\": {rows_json[0].decode()}}}',"
            " headers={'Content-Type': 'application/json'})).read().decode())"
        )
        answer = json.loads(_exec(name, ask).stdout)
        who = _exec(name, "import os; print(os.getuid()); open('/opt/hotgate/x', 'w')", check=False)
        begun = time.monotonic()
        _run(*PODMAN, "stop", "--time", "30", name)
        took = time.monotonic() - begun
        code = _run(*PODMAN, "inspect", name, "--format", "{{.State.ExitCode}}").stdout.strip()
        log = _run(*PODMAN, "logs", name)

    assert answer["model"] == "cancer"
    assert set(answer["probabilities"]) == {"malignant", "benign"}
    assert who.stdout.strip() == "10001"
    assert "Read-only file system" in who.stderr
    assert code == "0"
    assert took < 29, "it was killed"
    assert "Traceback" not in log.stdout + log.stderr


def test_the_gateways_image_holds_nothing_that_trains(gateway):
    """No scikit-learn, mlflow, converter, pandas; not even pip."""
    listed = _run(
        *PODMAN, "run", "--rm", *HARDENED, "--entrypoint", "ls", gateway, "/opt/hotgate/lib/python3.11/site-packages"
    ).stdout.split()

    assert {"gateway", "onnxruntime", "litestar"} <= set(listed)
    assert not {"sklearn", "mlflow", "skl2onnx", "pandas", "cloudpickle", "pip", "dvc"} & set(listed)


def test_the_training_image_trains_and_registers(training):
    """From the built-in data to a version in an embedded registry, on a read-only root."""
    settings = ("--set", "search.candidates=[logistic]", "--set", "split.balance_draws=10")
    done = _run(
        *(*PODMAN, "run", "--rm", *HARDENED, training),
        *("hotgate", "train", *settings, "--register", "--json"),
    )

    assert json.loads(done.stdout.splitlines()[-1])["version"]["version"] == "1"


@pytest.mark.parametrize("program", [("dvc", "--version"), ("git", "--version"), ("mlflow", "--version")])
def test_the_training_image_has_the_pipelines_tools(training, program):
    """DVC asks git; MLflow's server is there for compose."""
    assert _run(*PODMAN, "run", "--rm", *HARDENED, training, *program).stdout.strip()
