"""Rules: what counts as a breach, by model, kind and feature; the first one that matches holds."""

from __future__ import annotations

import pytest
from alarm_world import World

from gateway.alerts import Evidence
from gateway.observe.base import Condition
from gateway.observe.rule import Rule
from gateway.observe.rules import Rules
from gateway.observe.settings import MonitorSettings
from hotgate import SettingsError, load_settings
from monitoring.alarm import AlarmRule


def condition(*evidence, kind="data_drift", model="cancer"):
    """One that rests on pairs of name and PSI."""
    found = tuple(
        Evidence(name=name, statistic="psi", value=psi, threshold=0.1, severity="critical" if psi >= 0.2 else "warning")
        for name, psi in evidence
    )
    return Condition(kind=kind, model=model, since=0.0, until=900.0, evidence=found)


def left(rules, found, default="warning"):
    """Names that are still evidence, and the severity."""
    kept, _ = Rules(rules, AlarmRule(severity=default)).apply(found)
    return [evidence.name for evidence in kept.evidence], kept.severity


FOUND = condition(("id_1", 0.9), ("age", 0.4), ("income", 0.15))


def test_without_rules_the_section_decides():
    """From which severity on, and how many windows it takes."""
    assert left((), FOUND) == (["id_1", "age", "income"], "critical")
    assert left((), FOUND, "critical") == (["id_1", "age"], "critical")
    kept, counting = Rules((), AlarmRule(raise_after=3, clear_after=4)).apply(FOUND)
    assert (kept, counting.raise_after, counting.clear_after) == (FOUND, 3, 4)


@pytest.mark.parametrize(
    ("rules", "names", "severity"),
    [
        ([Rule(features=("id_*",), ignore=True)], ["age", "income"], "critical"),
        ([Rule(features=("id_*", "age"), ignore=True)], ["income"], "warning"),
        ([Rule(ignore=True)], [], "none"),
        ([Rule(model="ca*", ignore=True)], [], "none"),
        ([Rule(model="wine", ignore=True)], ["id_1", "age", "income"], "critical"),
        ([Rule(kind="score_drift", ignore=True)], ["id_1", "age", "income"], "critical"),
        ([Rule(features=("age",), severity="warning"), Rule(ignore=True)], ["age"], "critical"),
        ([Rule(ignore=True), Rule(features=("age",), severity="warning")], [], "none"),
        ([Rule(features=("i*",), severity="critical")], ["id_1", "age"], "critical"),
        ([Rule(kind="data_drift", min_effect=0.4)], ["id_1", "age"], "critical"),
        ([Rule(features=("age",), min_effect=0.5)], ["id_1", "income"], "critical"),
    ],
)
def test_the_first_rule_that_matches_decides_on_each_piece_of_evidence(rules, names, severity):
    """And what is left decides how bad it is."""
    assert left(rules, FOUND) == (names, severity)


def test_a_larger_effect_is_shown_as_the_threshold():
    """Whoever reads the alert sees what was asked."""
    kept, _ = Rules([Rule(min_effect=0.3)], AlarmRule()).apply(condition(("age", 0.4)))
    assert [evidence.threshold for evidence in kept.evidence] == [0.3]


def test_effects_are_those_of_distributions():
    """Of other evidence, a rule for all kinds leaves the value alone."""
    disk = Evidence(name="disk", statistic="free_bytes", value=0.0, threshold=1e8)
    found = Condition(kind="ops", since=0.0, until=1.0, evidence=(disk,))
    assert Rules([Rule(min_effect=0.3)], AlarmRule()).apply(found)[0] == found


def test_windows_are_counted_by_the_first_rule_for_all_features():
    """One for some features says nothing of the whole; what a rule leaves out is as the section says."""
    rules = [Rule(features=("id_*",), ignore=True), Rule(kind="data_drift", raise_after=5), Rule(clear_after=7)]
    _, counting = Rules(rules, AlarmRule(raise_after=2, clear_after=3)).apply(FOUND)
    assert (counting.raise_after, counting.clear_after) == (5, 3)
    _, counting = Rules(rules, AlarmRule(raise_after=2, clear_after=3)).apply(condition(kind="score_drift"))
    assert (counting.raise_after, counting.clear_after) == (2, 7)


def test_what_cannot_be_judged_stays_so():
    """Rules make no news of it."""
    found = Condition(kind="data_drift", since=0.0, until=1.0, evidence=None)
    assert Rules([Rule(ignore=True)], AlarmRule()).apply(found)[0].severity is None


def test_rules_hold_from_counts_to_alerts(tmp_path):
    """A feature that is ignored alarms nobody; a rule for three windows in a row waits for the third."""
    for rules, windows, told in (
        ((Rule(features=("a",), ignore=True),), 4, []),
        ((Rule(kind="data_drift", raise_after=3),), 2, []),
        ((Rule(kind="data_drift", raise_after=3),), 3, [("firing", "data_drift", "critical")]),
    ):
        world = World(tmp_path / str(len(list(tmp_path.iterdir()))))
        world.rules = rules
        world.restart()
        world.pass_window(0.0)
        for _ in range(windows):
            world.pass_window(1.0)
        assert world.told == told


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            'kind = "drift"',
            "kind must be one of data_drift, score_drift, data_quality, performance, concept_drift, ops",
        ),
        ('kind = "drift"', "not 'drift' - at `$.rules[1]`"),
        ('models = "x"', "unknown field `models` - at `$.rules[1]`, it has model, kind, features, ignore, severity,"),
        ('severity = "none"', "severity must be warning or critical, not 'none'"),
        ('features = "a"', "Expected `array`, got `str` - at `$.rules[1].features`"),
        ("raise_after = 101", "raise_after must be 1 to 100, not 101"),
        ("clear_after = 0", "clear_after must be 1 to 100, not 0"),
        ('features = ["a"]\nraise_after = 3', "raise_after counts windows of all features together"),
        ("min_effect = 0.05", "min_effect must be 0.1 to 100, not 0.05"),
        ('kind = "ops"\nmin_effect = 0.3', "min_effect is of data_drift and score_drift, not of ops"),
        ('model = "cancer"', "a rule sets ignore alone, or some of severity, min_effect, raise_after, clear_after"),
        ('ignore = true\nseverity = "critical"', "not ['ignore', 'severity']"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused_at_start(tmp_path, rule, message):
    """By key, value and what is allowed."""
    path = tmp_path / "hotgate.toml"
    path.write_text(f"[[monitor.rules]]\nignore = true\n[[monitor.rules]]\n{rule}\n")
    with pytest.raises(SettingsError) as refused:
        load_settings("monitor", MonitorSettings, {"HOTGATE_CONFIG": str(path)})
    assert message in refused.value.message


def test_rules_come_from_the_file_or_the_environment(tmp_path):
    """In order."""
    path = tmp_path / "hotgate.toml"
    path.write_text('[[monitor.rules]]\nmodel = "a"\nignore = true\n[[monitor.rules]]\nmin_effect = 0.3\n')
    variables = {"HOTGATE_CONFIG": str(path)}
    assert load_settings("monitor", MonitorSettings, variables).rules == (
        Rule(model="a", ignore=True),
        Rule(min_effect=0.3),
    )
    variables["HOTGATE_MONITOR_RULES"] = '[{"features": ["id_*"], "severity": "critical"}]'
    assert load_settings("monitor", MonitorSettings, variables).rules == (
        Rule(features=("id_*",), severity="critical"),
    )
