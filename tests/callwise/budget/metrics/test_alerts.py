"""Alert rules: Prometheus takes them, each fires and does not, and what they read is exported."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from callwise.budget.metrics.names import METRICS
from callwise.shipped import configs_folder

RULES = configs_folder() / "prometheus" / "alerts.yaml"
TESTS = Path(__file__).with_name("alerts_test.yaml")


def rules():
    """Return the rules by name."""
    (group,) = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return {each["alert"]: each for each in group["rules"]}


def promtool(*arguments):
    """Run promtool; skip where it is not installed."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    ran = subprocess.run(  # noqa: S603 - Prometheus' own tool
        [program, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_prometheus_takes_the_rules():
    """As its own tool checks them."""
    promtool("check", "rules", RULES)


def test_each_rule_fires_and_does_not():
    """On series that are written for it; see the file next to this one."""
    promtool("test", "rules", TESTS)


def test_each_rule_has_a_test():
    """By its name, once with an alert."""
    tested = {
        case["alertname"]
        for test in yaml.safe_load(TESTS.read_text(encoding="utf-8"))["tests"]
        for case in test["alert_rule_test"]
        if case.get("exp_alerts")
    }
    assert tested == set(rules())


def test_rules_read_metrics_that_are_exported():
    """Each word of an expression that may be a metric is one."""
    words = {"and", "on", "or", "sum", "max", "by", "increase", "job", "instance", "resource"}
    names = {each.name for each in METRICS} | words
    for name, rule in rules().items():
        expression = re.sub(r'"[^"]*"|\[[^\]]*\]', "", rule["expr"])
        assert set(re.findall(r"[a-z_]+", expression)) <= names, name


@pytest.mark.parametrize(
    ("name", "limit", "severity"),
    [
        ("CallwiseBatchWaitLong", "> 200", "warning"),
        ("CallwiseCacheHitRateLow", "< 0.7", "warning"),
        ("CallwiseRoutingErrorsHigh", "> 0.05", "critical"),
        ("CallwiseAvailabilityLow", "< 0.999", "critical"),
    ],
)
def test_limits_and_severities_are_those_of_the_documents(name, limit, severity):
    """Batch wait, hit rate, routing errors and availability."""
    rule = rules()[name]
    assert limit in rule["expr"]
    assert rule["labels"]["severity"] == severity
