"""Confidence against truth: labels from a pool, and figures of labels that no calibration saw."""

import random

import pytest

from benchmarks.search.chances import EDGES, curve_table, label_searches, main, row_of, table
from benchmarks.search.simulated import SimulatedPool
from benchmarks.search.simulated_setting import SimulatedSetting
from lats.chance_calibration import LabelledSearch


def _labels(count, seed):
    """Return labels of searches that say more than they know: right as often as half of that."""
    draw = random.Random(seed)
    said = [draw.uniform(0.3, 1) for _ in range(count)]
    return [LabelledSearch(each, draw.random() < each / 2, "listwise", 6) for each in said]


def test_an_exact_judges_answer_is_right_and_a_noisy_ones_is_not_always():
    """Truth is of the search's own candidates: no other is better."""
    shares = []
    for accuracy, reliability in ((1.0, 1.0), (0.1, 0.5)):
        setting = SimulatedSetting(
            accuracy, 0.0, None, reliability=reliability, candidates=8, is_rounded=False
        )
        pool = SimulatedPool([setting], 40)
        labels = [each for own in label_searches(pool, "tuning", seeds=2) for each in own]
        assert len(labels) == 2 * len(pool.half("tuning"))
        assert {(each.policy, each.calls <= 6) for each in labels} == {("listwise", True)}
        shares.append(sum(each.is_right for each in labels) / len(labels))
    assert shares[0] > 0.8
    assert shares[1] < 0.5


def test_a_calibration_brings_what_is_said_to_what_is_right():
    """On new labels; few labels bring less than all."""
    row = row_of("any", [_labels(60, seed) for seed in range(8)], _labels(2000, 99))
    assert row.said - row.right > 0.25
    assert row.calibrated == pytest.approx(row.right, abs=0.05)
    as_it_came, by_few, by_all = row.losses
    assert as_it_came > by_few > by_all


def test_the_tables_have_every_search_once():
    """Those at the ends of the steps too."""
    new = [LabelledSearch(chance, is_right=chance > 0.6, calls=6) for chance in (*EDGES, 0.6, 1.0)]
    row = row_of("any", [_labels(20, 0)], new)
    lines = curve_table([row]).splitlines()[2:]
    assert sum(int(line.split("|")[2]) for line in lines) == len(new)
    assert lines[-1].startswith("| 0.95 to 1.00 | 3 |")
    assert table([row]).count("\n") == 2


def test_a_pool_that_is_not_there_is_named(monkeypatch, tmp_path, capsys):
    """And left out."""
    monkeypatch.setenv("CALLWISE_DATA", str(tmp_path))
    main(["--pools", "summeval-all", "--seeds", "1"])
    assert "summeval-all is left out" in capsys.readouterr().out
