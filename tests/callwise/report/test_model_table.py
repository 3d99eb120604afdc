"""Calls by model and reason, and the warning about a model that is no longer as measured."""

import math
import random

import pytest

from callwise.calls.choice import Choice
from callwise.report.model_table import (
    calibration_lines,
    drift_lines,
    drift_of,
    model_table,
    quality_drift_lines,
)
from callwise.report.run_record import CallLine

SIMULATED = {"is_simulated": True, "endpoint": "simulated"}


def line(turn, model, seconds, *, reason="cheapest: 0.1 USD", outcome="served", **fields):
    """Return one row of a ledger."""
    choice = Choice("route", "0" * 16, "1" * 64, model, reason).to_json()
    document = {
        "conversation": "c",
        "turn": turn,
        "role": "main",
        "purpose": "judge",
        "outcome": outcome,
        "choice": choice,
        "requests": 1,
        "input_tokens": 10,
        "output_tokens": 5,
        "usd": 0.5,
        "work_seconds": seconds,
    }
    return CallLine.model_validate({**document, **fields})


def test_calls_are_added_up_by_purpose_model_and_kind_of_reason():
    """What is of one call, such as its price, makes no separate row."""
    rows = [
        line(0, "small", 1.0),
        line(0, "small", 3.0, reason="cheapest: 0.2 USD"),
        line(1, "large", 5.0, reason="last resort: none fits", outcome="failed"),
        line(1, "none", 5.0, choice=None),
    ]
    table = model_table(rows)
    places = {name: place for place, name in enumerate(table.columns)}
    shown = [
        [row[places[name]] for name in ("model", "reason", "asked", "failed", "usd")]
        for row in table.rows
    ]
    assert shown == [["large", "last resort", 1, 1, 0.5], ["small", "cheapest", 2, 0, 1.0]]
    assert table.rows[1][places["seconds_per_call"]] == 2.0
    assert model_table(rows[3:]) is None


def test_answers_that_a_policy_measures_have_their_means():
    """Taken ones are counted; what is not known is left out of a mean, and is not 0."""
    choices = [
        {"policy": "cascade", "confidence": 0.0},
        {"policy": "cascade", "confidence": 0.9, "is_taken": True},
        {"policy": "cascade"},
        {"policy": "ensemble", "share_against": 0.25, "is_taken": True},
    ]
    usual = line(0, "small", 1.0).choice.to_json()
    table = model_table([line(0, "small", 1.0, choice={**usual, **own}) for own in choices])
    places = [table.columns.index(name) for name in ("taken", "confidence", "share_against")]
    assert [[row[at] for at in places] for row in table.rows] == [[1, 0.45, None], [1, None, 0.25]]
    assert "taken" not in model_table([line(0, "small", 1.0)]).columns
    again = [Choice.from_json(Choice(**{**usual, **own}).to_json()) for own in choices]
    assert [each.confidence for each in again] == [0.0, 0.9, None, None]


def manifest(seconds, **policies):
    """Return the knobs of a run with one measured model."""
    entry = {"model": "small", "seconds": seconds, "seconds_low": 0.9 * seconds}
    entry["seconds_high"] = 1.1 * seconds
    table = {"kind": "route", "table": [entry, {"model": "large"}]}
    return {"knobs": {"policies": policies or {"judge": table}}}, table


def test_a_slower_model_is_named_and_an_equal_one_is_not():
    """With both numbers and the way out; too few turns are no evidence."""
    rows = [line(turn, "small", 2.0 + turn % 3 / 10) for turn in range(12)]
    (found,) = drift_lines(manifest(1.0)[0], rows)
    assert found.startswith("policies.judge: small took 2.1 s per call in 12 turns")
    assert found.endswith("measure the table again")
    assert drift_lines(manifest(2.1)[0], rows) == []
    assert drift_lines(manifest(1.0)[0], rows[:9]) == []
    virtual = [row.model_copy(update=SIMULATED) for row in rows]
    assert drift_lines(manifest(1.0)[0], virtual) == []
    assert drift_lines({}, rows) == drift_lines({"knobs": {"policies": {"judge": 1}}}, rows) == []


def cascade(**knobs):
    """Return the knobs of a run with a cascade for judging."""
    knobs = {"kind": "cascade", "models": ["small:8b", "large"], **knobs}
    return {"knobs": {"policies": {"judge": knobs}}}


def test_a_confidence_that_is_not_calibrated_is_named_once():
    """Where it was compared, and has no map."""
    rows = [
        line(turn, "small:8b", 1.0, choice=Choice("cascade", "0", "1", "small:8b").to_json())
        for turn in range(2)
    ]
    (found,) = calibration_lines(cascade(), rows)
    assert found.startswith("policies.judge: the confidence of small:8b is not calibrated, so 0.8")
    assert calibration_lines(cascade(), []) == []
    fitted = {"model": "small:8b", "by": "logprobs", "raw": [0.5], "chance": [0.6], "labels": 40}
    assert calibration_lines(cascade(calibration=[fitted]), rows) == []


def test_escalations_are_added_up_by_the_model_that_was_not_sure():
    """Whatever its confidence was; a name may have a colon."""
    reasons = [f"escalated from small:8b: confidence {each} < 0.8" for each in (0.1, 0.2)]
    choices = [Choice("cascade", "0", "1", "large", each, step=1) for each in reasons]
    table = model_table([line(0, "large", 1.0, choice=each.to_json()) for each in choices])
    assert [row[3:5] for row in table.rows] == [("escalated from small:8b", 2)]


def test_a_default_table_is_for_the_purposes_without_one():
    """As at run time."""
    rows = [line(turn, "small", 2.0 + turn % 3 / 10) for turn in range(12)]
    _, table = manifest(1.0)
    other = {"kind": "route", "table": [{"model": "small"}]}
    assert len(drift_lines(manifest(1.0, default=table)[0], rows)) == 1
    assert drift_lines(manifest(1.0, default=table, judge=other)[0], rows) == []


def test_of_equal_models_at_most_1_in_100_is_named():
    """Skewed times that differ from turn to turn; 2,000 tables and runs of 10 turns each."""
    rng = random.Random(16)

    def turns():
        shared = [rng.gauss(0, 0.3) for _ in range(10)]
        return [
            [math.exp(rng.gauss(each, 0.5)) for _ in range(rng.randint(1, 6))] for each in shared
        ]

    def measured(values):
        count = sum(map(len, values))
        mean = math.fsum(map(math.fsum, values)) / count
        squares = math.fsum((math.fsum(each) - mean * len(each)) ** 2 for each in values)
        half = 1.96 * math.sqrt(squares * len(values) / (len(values) - 1)) / count
        return mean, mean - half, mean + half

    found = sum(drift_of(*measured(turns()), turns()) is not None for _ in range(2000))
    assert found / 2000 <= 0.0125
    slow = sum(
        drift_of(*measured(turns()), [[2 * each for each in turn] for turn in turns()]) is not None
        for _ in range(300)
    )
    assert slow / 300 > 0.5


def scored(value, *, conversations=12, turns=2, **fields):
    """Return rows of a run with one answer of the small model per turn, and its qualities."""
    rows, quality = [], {}
    for at in range(conversations):
        for turn in range(turns):
            rows.append(line(turn, "small", 1.0, conversation=f"c{at}", **fields))
            quality[f"c{at}", turn] = value + (at % 3 - 1) / 50
    return rows, quality


def measured_quality(value):
    """Return the knobs of a run whose small model has a measured quality."""
    entry = {"model": "small", "quality": value, "quality_low": value - 0.02}
    table = [entry | {"quality_high": value + 0.02}, {"model": "main"}]
    return {"knobs": {"policies": {"judge": {"kind": "route", "table": table}}}}


def test_replies_that_are_worse_than_the_table_has_are_named():
    """Equal ones are not, nor where there are no scores, or too few."""
    rows, quality = scored(0.5)
    (found,) = quality_drift_lines(measured_quality(0.7), rows, quality)
    assert "small have a mean quality of 0.5 in 12 conversations" in found
    assert found.endswith("its table has 0.7 (0.68 to 0.72): measure the table again")
    assert quality_drift_lines(measured_quality(0.5), rows, quality) == []
    assert quality_drift_lines(measured_quality(0.7), rows, {}) == []
    few = {key: value for key, value in quality.items() if key[0] in {"c0", "c1", "c2"}}
    assert quality_drift_lines(measured_quality(0.7), rows, few) == []
    assert quality_drift_lines(manifest(1.0)[0], rows, quality) == []


def test_quality_is_compared_where_one_model_alone_is_in_the_roles_place():
    """As a table was measured: simpler requests, or other models for other purposes, differ."""
    rows, quality = scored(0.5)
    harder = line(0, "main", 1.0, conversation="c1")
    assert quality_drift_lines(measured_quality(0.7), [*rows, harder], quality) == []
    others = [
        line(turn, "small", 1.0, conversation=f"c{at}", purpose="reason")
        for at in range(4)
        for turn in range(2)
    ]
    assert quality_drift_lines(measured_quality(0.7), [*rows, *others], quality) == []
    same = [row.model_copy(update={"choice": row.choice._replace(model="main")}) for row in others]
    assert len(quality_drift_lines(measured_quality(0.7), [*rows, *same], quality)) == 1


@pytest.mark.parametrize("choice", [{"by": "x"}, {"policy": 1}, {"spread": "1"}, {"is_taken": 1}])
def test_a_choice_that_cannot_be_read_is_an_error(choice):
    """With the name of its field."""
    with pytest.raises(ValueError, match="choice"):
        line(0, "small", 1.0, choice=choice)
