"""The gates of an early exit."""

import pytest

from lats.answers import Verdict
from lats.policy import closed_gates
from lats.search_knobs import EarlyExitKnobs

GOOD = {"score": 0.82, "plan_alignment": 0.80, "assistantness": 0.18, "mode_fit": 0.65}


def _verdict(*, score, **attributes):
    given = {name: value for name, value in attributes.items() if value is not None}
    return Verdict(score=score, attributes=given)


GATE_OF = {
    "score": "min_root_score",
    "plan_alignment": "min_plan_alignment",
    "assistantness": "max_assistantness",
    "mode_fit": "min_mode_fit",
}


def test_the_thresholds_themselves_pass():
    """At least and at most include the bound."""
    assert closed_gates(_verdict(**GOOD), EarlyExitKnobs()) == ()


@pytest.mark.parametrize("field", list(GOOD))
def test_a_missing_field_closes_its_gate(field):
    """However good the others are; an absent assistantness is not a low one."""
    assert closed_gates(_verdict(**GOOD | {field: None}), EarlyExitKnobs()) == (GATE_OF[field],)


@pytest.mark.parametrize(
    ("field", "bad"),
    [("score", 0.81), ("plan_alignment", 0.79), ("assistantness", 0.19), ("mode_fit", 0.64)],
)
def test_a_field_short_of_its_threshold_closes_its_gate(field, bad):
    """One gate is enough to go on searching."""
    assert closed_gates(_verdict(**GOOD | {field: bad}), EarlyExitKnobs()) == (GATE_OF[field],)


def test_no_judgement_closes_all_gates():
    """A judge that failed said nothing good."""
    assert len(closed_gates(None, EarlyExitKnobs())) == 4


def test_switched_off_is_closed():
    """Whatever the judge says."""
    assert closed_gates(_verdict(**GOOD), EarlyExitKnobs(enabled=False)) == ("enabled",)
