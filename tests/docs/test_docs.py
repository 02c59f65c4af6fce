"""What the documents say is what the code does."""

from __future__ import annotations

import re
import shlex
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

import hotgate
from deploy.gating.settings import GateSettings
from deploy.retraining.settings import RetrainSettings
from gateway.alerts import KINDS
from gateway.metrics import FAMILIES, Metrics
from gateway.observe.ops import Operations
from gateway.observe.rule import Rule
from gateway.observe.settings import MonitorSettings
from gateway.series import LABELS
from gateway.settings import GatewaySettings
from gateway.store import ROLES
from gateway.sync.settings import SyncSettings
from gateway.sync.status import RegistryState, RoleState, SyncStatus
from monitoring import FeatureDrift
from training.config import DataConfig, SearchConfig, SplitConfig, TrainConfig, ValidationConfig

ROOT = Path(__file__).parents[2]


def table(text):
    """Rows of the tables in a text, as lists of cells."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")
    ]


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ("gateway", GatewaySettings),
        ("sync", SyncSettings),
        ("gate", GateSettings),
        ("monitor", MonitorSettings),
        ("retrain", RetrainSettings),
    ],
)
def test_every_setting_is_documented_with_its_default(section, kind):
    """Names and defaults, in order."""
    text = (ROOT / "docs" / "configuration.md").read_text()
    part = text.split(f"## `[{section}]`")[1].split("\n## ")[0]
    documented = [(row[0].strip("`"), row[1].strip("`")) for row in table(part)]
    assert documented == [(field.name, _shown(field.default)) for field in msgspec.structs.fields(kind)]


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ("Top level", TrainConfig),
        ("`data`", DataConfig),
        ("`validation`", ValidationConfig),
        ("`split`", SplitConfig),
        ("`search`", SearchConfig),
    ],
)
def test_every_parameter_is_documented_with_its_default(section, kind):
    """Names and defaults, in order; those of a section are its own table."""
    text = (ROOT / "docs" / "params.md").read_text()
    part = text.split(f"## {section}\n")[1].split("\n## ")[0]
    documented = [(row[0].strip("`"), row[1].strip("`")) for row in table(part)]
    fields = [field for field in msgspec.structs.fields(kind) if not hasattr(field.type, "__struct_fields__")]
    defaults = [field.default_factory() if field.default is msgspec.NODEFAULT else field.default for field in fields]
    shown = [msgspec.json.encode(value).decode() if isinstance(value, tuple) else _shown(value) for value in defaults]
    assert documented == [(field.name, text.replace(",", ", ")) for field, text in zip(fields, shown, strict=True)]


def test_every_key_of_a_rule_is_documented_with_its_default():
    """In the rules' reference, in order."""
    part = (ROOT / "docs" / "alerts.md").read_text().split("## Rules")[1].split("\n## ")[0]
    documented = [(row[0].strip("`"), row[1].strip("`")) for row in table(part)]
    assert documented == [(field.name, _shown(field.default)) for field in msgspec.structs.fields(Rule)]


def test_every_kind_of_alert_and_every_alarm_of_the_server_is_documented(tmp_path):
    """Those of operations as a sidecar's word makes them; of sinks there is one each."""
    (tmp_path / "store").mkdir()
    (tmp_path / "counts" / "a").mkdir(parents=True)
    roles = {role: RoleState(state="serving") for role in ROLES}
    registry = RegistryState(reachable=True, since=datetime.now(UTC))
    status = SyncStatus(pid=1, registry=registry, models={"m": roles})
    (tmp_path / "store/sync.json").write_bytes(msgspec.json.encode(status))
    found = Operations(tmp_path, tmp_path / "store", dict).look({}, time.time())
    part = (ROOT / "docs" / "alerts.md").read_text().split("## Kinds")[1].split("\n## ")[0]
    documented = {name.strip("` ") for row in table(part) for name in row[0].split(",")}
    assert documented == {*KINDS, *(condition.about for condition in found), "sink-NAME"}


def _shown(default):
    if default is None:
        return "unset"
    if isinstance(default, str):
        return f'"{default}"'
    return str(default).lower() if isinstance(default, bool) else str(default)


def test_every_metric_is_documented_with_its_kind_and_labels():
    """No metric without a line, no line without a metric."""
    documented = {}
    for name, kind, labels, _ in table((ROOT / "docs" / "metrics.md").read_text()):
        names = tuple(label.strip() for label in labels.split(",") if label.strip())
        documented[name.strip("`").removesuffix("_total")] = (kind.partition(",")[0], names)
    found = {family.name: (family.kind, (*LABELS, *family.labels)) for family in FAMILIES}
    for metric in vars(Metrics({})).values():
        if hasattr(metric, "_labelnames"):
            found[metric._name] = (metric._type, metric._labelnames)
    assert documented == found


def test_every_number_of_a_drift_verdict_is_explained():
    """Each field has its line in the table."""
    explained = {
        name for row in table((ROOT / "docs" / "drift.md").read_text()) for name in re.findall(r"`(\w+)`", row[0])
    }
    assert explained >= {field.name for field in msgspec.structs.fields(FeatureDrift)}


def test_every_link_between_documents_leads_somewhere():
    """Relative links of README, CONTRIBUTING and docs."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", ["deployment", "gate", "guide", "pipeline", "training"])
def test_every_command_of_a_guide_is_one_that_hotgate_takes(page, tmp_path, monkeypatch):
    """Parsed, not run, where its files lie: no option that does not exist, no argument too many."""
    monkeypatch.chdir(tmp_path)
    for folder in ("pipeline/prepared", "pipeline/trained"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("train.yaml", "params.yaml", "FILE"):
        (tmp_path / file).touch()
    text = (ROOT / "docs" / f"{page}.md").read_text()
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ")
    found = re.findall(r"^(?:[A-Z_]+=\S+ )*(hotgate .*)$", blocks, re.MULTILINE)
    found += re.findall(r"`(hotgate [^`]* --[^`]*)`", text)
    for line in found:
        _, name, *arguments = shlex.split(line, comments=True)
        hotgate.main.get_command(None, name).make_context(name, arguments)
    assert found or page == "deployment"


def test_the_plain_commands_of_the_readme_exist():
    """Every `hotgate COMMAND` and `make TARGET` that it names."""
    from hotgate import COMMANDS

    text = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    for command in re.findall(r"hotgate ([a-z]+)", text):
        assert command in COMMANDS or command == "takes", command
    for target in re.findall(r"^make ([a-z]+)|`make ([a-z]+)", text, re.MULTILINE):
        assert f"\n{''.join(target)}:" in makefile
