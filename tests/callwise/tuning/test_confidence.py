"""Calibration of a cascade's confidence: its map, its reliability, and its place in settings."""

import numpy as np
import pytest
import yaml

from callwise.calls.policies import CascadePolicy
from callwise.tuning.confidence import fit_confidence


def answers(count=2000, seed=3):
    """Return raw confidences that claim too much, labels, and conversations."""
    generator = np.random.default_rng(seed)
    chances = generator.uniform(0.2, 0.95, count)
    labels = generator.uniform(size=count) < chances
    return list(np.sqrt(chances)), list(labels), [str(place // 10) for place in range(count)]


def test_a_map_finds_the_chance():
    """Within the error of some 160 labels at each level."""
    raw, labels, conversations = answers()
    found = fit_confidence(raw, labels, conversations, model="small", by="logprobs")
    for chance in (0.3, 0.5, 0.7, 0.9):
        assert found.calibration.chance_of(np.sqrt(chance)) == pytest.approx(chance, abs=0.08)
    assert found.mapped.ece[0] < 0.04 < found.raw.ece[0]
    assert found.mapped.brier[0] < found.raw.brier[0]
    for value, low, high in (found.raw.brier, found.mapped.ece):
        assert low <= value <= high


def test_a_map_goes_into_the_settings_as_it_is():
    """And equal labels give equal text."""
    raw, labels, conversations = answers(300)
    fitted = [
        fit_confidence(raw, labels, conversations, model="small", by="logprobs").yaml()
        for _ in range(2)
    ]
    assert fitted[0] == fitted[1]
    policy = {"models": ["small", "large"], "calibration": yaml.safe_load(fitted[0])}
    assert CascadePolicy.model_validate(policy).calibration[0].labels == 300


def test_a_confidence_without_bearing_has_one_level():
    """Also one that is wrong way round: no map falls."""
    raw, labels, conversations = answers(400)
    upside_down = [1 - each for each in raw]
    found = fit_confidence(upside_down, labels, conversations, model="small", by="judge")
    assert len(found.calibration.raw) <= 3


@pytest.mark.parametrize(
    ("raw", "conversations", "problem"),
    [
        ([0.5] * 5, ["a"] * 5, "at least 20"),
        ([1.5] * 30, ["a", "b"] * 15, r"in \[0, 1\]"),
        ([0.5] * 30, ["a"] * 30, "at least 2 conversations"),
        ([0.5] * 30, ["a"] * 29, "as many of each"),
    ],
)
def test_labels_that_are_too_few_or_odd_are_refused(raw, conversations, problem):
    """Naming what is expected."""
    with pytest.raises(ValueError, match=problem):
        fit_confidence(raw, [True] * len(raw), conversations, model="small", by="judge")


@pytest.mark.parametrize("label", [None, 0.5, -3, float("nan"), "true"])
def test_a_label_is_true_or_false(label):
    """Nothing between, and no text."""
    with pytest.raises(ValueError, match="a label is true or false; got "):
        fit_confidence([0.5] * 20, [True] * 19 + [label], ["a", "b"] * 10, model="s", by="judge")


@pytest.mark.parametrize("shift", [0.5, 1.0])
def test_confidences_that_hardly_differ_have_one_level(shift):
    """As those of a model that is nearly always certain."""
    raw = [shift - place * 1e-9 for place in range(40)]
    labels = [place < 20 for place in range(40)]
    found = fit_confidence(raw, labels, ["a", "b"] * 20, model="small", by="logprobs")
    assert (found.calibration.raw, found.calibration.chance) == ((shift,), (0.5,))


def test_conversations_differ_by_every_character():
    """One whose name ends in a NUL is another one."""
    names = ["a"] * 10 + ["a\0"] * 10
    fitted = fit_confidence([0.5] * 20, [True, False] * 10, names, model="small", by="judge")
    assert fitted.calibration.labels == 20
