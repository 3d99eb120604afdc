"""Confidence against truth: fitted from few labels and many, kept in a file, and never beyond."""

import json
import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lats.chance_calibration import (
    MIN_LABELS,
    CalibrationError,
    ChanceCalibration,
    LabelledSearch,
    calibrated,
    fit_calibration,
    labelled,
    load_calibration,
)
from lats.problem import Problem
from lats.search import PosteriorSearch
from lats.search_knobs import SearchKnobs
from lats.search_text import render_tree
from lats.solving import solve

LABELS = st.lists(
    st.builds(LabelledSearch, st.floats(0, 1, allow_nan=False), st.booleans()),
    min_size=MIN_LABELS,
    max_size=40,
)


def _labels(count, truth, seed=0):
    """Return labels whose chance of being right is a function of the confidence."""
    draw = random.Random(seed)
    said = [draw.uniform(0.2, 0.99) for _ in range(count)]
    return [LabelledSearch(each, draw.random() < truth(each), "listwise", 6) for each in said]


def _log_loss(calibration, labels):
    total = 0.0
    for each in labels:
        chance = calibration.chance_right(each.chance_best)
        total -= math.log(chance if each.is_right else 1 - chance)
    return total / len(labels)


@given(labels=LABELS)
def test_a_calibration_is_a_rising_chance_and_survives_its_file(labels):
    """Whatever the labels: all right, all wrong, all alike."""
    found = fit_calibration(labels, task="any")
    chances = [found.chance_right(place / 20) for place in range(21)]
    assert all(0 < each < 1 for each in chances)
    assert chances == sorted(chances)
    assert ChanceCalibration.model_validate(json.loads(found.to_json())) == found


@given(labels=LABELS, order=st.randoms(use_true_random=False))
def test_the_order_of_labels_does_not_matter(labels, order):
    """Up to rounding."""
    other = list(labels)
    order.shuffle(other)
    one, two = fit_calibration(labels, task="any"), fit_calibration(other, task="any")
    assert one.intercept == pytest.approx(two.intercept, abs=1e-6)
    assert one.slope == pytest.approx(two.slope, abs=1e-6)


def test_a_confidence_that_is_too_sure_is_brought_down():
    """Said .95, right in half of the cases: after 2,000 labels, and nearly so after 20."""
    many = fit_calibration(_labels(2000, lambda _: 0.5), task="summaries")
    assert many.chance_right(0.95) == pytest.approx(0.5, abs=0.05)
    few = [fit_calibration(_labels(20, lambda _: 0.5, seed), task="s") for seed in range(20)]
    assert sum(each.chance_right(0.95) for each in few) / 20 == pytest.approx(0.5, abs=0.12)


def test_a_confidence_that_is_right_is_left_as_it_is_by_many_labels():
    """The priors are worth few labels."""
    found = fit_calibration(_labels(4000, lambda said: said), task="exact")
    for said in (0.3, 0.5, 0.7, 0.9):
        assert found.chance_right(said) == pytest.approx(said, abs=0.05)


@pytest.mark.parametrize("count", [20, 200, 2000])
def test_on_new_searches_it_loses_less_than_the_confidence_as_it_came(count):
    """A judge that is half right about a task, at any number of labels."""

    def truth(said):
        return 0.2 + 0.4 * said

    new = _labels(2000, truth, seed=99)
    raw = -sum(
        math.log(each.chance_best if each.is_right else 1 - each.chance_best) for each in new
    ) / len(new)
    losses = [
        _log_loss(fit_calibration(_labels(count, truth, seed), task="t"), new) for seed in range(5)
    ]
    assert max(losses) < raw


def test_a_confidence_that_means_the_contrary_gets_the_share_of_right_answers():
    """A surer search is never called less likely to be right."""
    labels = _labels(400, lambda said: 1 - said)
    found = fit_calibration(labels, task="contrary")
    assert found.slope == 0
    share = sum(each.is_right for each in labels) / len(labels)
    assert found.chance_right(0.9) == pytest.approx(share, abs=0.02)


def test_it_does_not_go_beyond_the_labels_and_names_them():
    """The chance is that at the nearest end, and the note names what is outside."""
    found = fit_calibration(
        [LabelledSearch(0.4 + 0.01 * n, n % 2 == 0, "listwise", 6) for n in range(20)],
        task="summaries",
    )
    assert found.chance_right(0.99) == found.chance_right(0.59)
    assert found.note(0.5, policy="listwise", calls=6) == "20 labels of 'summaries', 10 right"
    note = found.note(0.99, policy="halving", calls=16)
    assert "0.99 is outside of 0.40 to 0.59" in note
    assert "'halving' is none of listwise" in note
    assert "16 calls are outside of 6 to 6" in note


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([], "too few"),
        ([LabelledSearch(0.5, is_right=True)] * (MIN_LABELS - 1), "too few"),
        ([LabelledSearch(1.5, is_right=True)] * MIN_LABELS, "got 1.5"),
        ([LabelledSearch(float("nan"), is_right=True)] * MIN_LABELS, "got nan"),
        ([LabelledSearch(0.5, is_right="no")] * MIN_LABELS, "True or False, got 'no'"),
        ([LabelledSearch(0.5, is_right=None)] * MIN_LABELS, "True or False, got None"),
        ([LabelledSearch(0.5, is_right=2)] * MIN_LABELS, "True or False, got 2"),
        ([LabelledSearch(0.5, is_right=0.5)] * MIN_LABELS, "True or False, got 0.5"),
    ],
)
def test_labels_that_are_no_basis_are_refused(labels, words):
    """With their number or value."""
    with pytest.raises(CalibrationError, match=words):
        fit_calibration(labels, task="any")


def test_labels_of_an_array_are_labels():
    """Its booleans are no `bool`."""
    rights = np.arange(MIN_LABELS) % 3 == 0
    found = fit_calibration([LabelledSearch(0.5, is_right=each) for each in rights], task="any")
    assert found.right == 4
    assert (
        found.to_json()
        == fit_calibration(
            [LabelledSearch(0.5, is_right=bool(each)) for each in rights], task="any"
        ).to_json()
    )


@pytest.mark.parametrize("task", ["", "x" * 201])
def test_a_task_has_a_name(task):
    """Of a length that can be shown."""
    with pytest.raises(CalibrationError, match="task"):
        fit_calibration(_labels(20, lambda _: 0.5), task=task)


def test_a_file_is_read_back(tmp_path):
    """As it was written."""
    found = fit_calibration(_labels(50, lambda said: said), task="summaries")
    (tmp_path / "chances.json").write_text(found.to_json(), encoding="utf-8")
    assert load_calibration(tmp_path / "chances.json") == found


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("secret", "no JSON"),
        ("[" * 100_000, "no JSON"),
        (" " * 100_001, "longer than"),
        ("[]", "no calibration"),
        ({"calibration": 2}, "calibration: "),
        ({"slope": -1.0}, "slope"),
        ({"slope": "1.0"}, "slope"),
        ({"intercept": float("inf")}, "intercept"),
        ({"labels": 3}, "labels"),
        ({"right": 51}, "contradict"),
        ({"low": 0.9, "high": 0.1}, "contradict"),
        ({"secret": 1}, "another field"),
    ],
)
def test_a_file_that_is_none_is_refused_without_its_content(tmp_path, content, words):
    """A path may lead to any file, so an error names fields and never values."""
    file = tmp_path / "chances.json"
    if isinstance(content, dict):
        whole = json.loads(fit_calibration(_labels(50, lambda said: said), task="t").to_json())
        content = json.dumps(whole | content)
    file.write_text(content, encoding="utf-8")
    with pytest.raises(CalibrationError, match=words) as caught:
        load_calibration(file)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    """It names the path."""
    with pytest.raises(CalibrationError, match=r"absent\.json cannot be read"):
        load_calibration(tmp_path / "absent.json")


async def test_a_solution_has_both_numbers():
    """Drawn, recorded, and absent without a calibration."""
    problem = Problem(int, lambda *_: range(8), lambda states, _: [each / 10 for each in states])
    knobs = SearchKnobs(policy="listwise", max_calls=4)
    plain = await solve(problem, knobs)
    assert (plain.confidence.chance_right, plain.confidence.calibration) == (None, "")
    assert "is right" not in render_tree(plain.result)
    chances = fit_calibration(_labels(50, lambda said: said / 2), task="numbers")
    found = await solve(problem, knobs, calibration=chances)
    assert found.confidence.chance_best == plain.confidence.chance_best
    assert found.confidence.chance_right == chances.chance_right(plain.confidence.chance_best)
    assert "50 labels of 'numbers'" in render_tree(found.result)
    assert found.result.record()["confidence"]["chance_right"] == found.confidence.chance_right


def test_a_search_without_a_confidence_has_no_label(actions_model, play):
    """Nothing was judged, so nothing is to be calibrated."""
    search, _ = play(PosteriorSearch(SearchKnobs(policy="listwise")), actions_model(judge="empty"))
    result = search.result()
    assert labelled(result, is_right=True) is None
    chances = fit_calibration(_labels(50, lambda said: said), task="t")
    assert calibrated(result, chances) is result
    judged, _ = play(PosteriorSearch(SearchKnobs(policy="listwise")), actions_model())
    label = labelled(judged.result(), is_right=False)
    assert (label.policy, label.calls, label.is_right) == ("listwise", judged.result().calls, False)
