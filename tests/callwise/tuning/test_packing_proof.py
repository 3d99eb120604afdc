"""Proof by a sweep that packing loses little: against which setting, and what follows."""

from dataclasses import replace

import numpy as np
import pytest

from callwise.tuning.packing_proof import packing_proofs
from callwise.tuning.setting import Setting
from tests.callwise.tuning.conftest import tune_row

ALONE = Setting("alone", "classic", {"pack.judge.is_trial": False, "search.expand_k": 4})
PACKED = Setting("packed", "classic", {"pack.judge.is_trial": True, "search.expand_k": 4})


@pytest.fixture
def rows():
    """Return a function that makes rows of both settings, the packed ones lower by a loss."""

    def make(loss, conversations=60):
        rng = np.random.default_rng(1)
        made = []
        for number in range(conversations):
            quality, noise = float(rng.normal()), 0.02 * float(rng.normal())
            made.append(tune_row("alone", conversation=f"c{number}", quality=quality))
            packed = quality - loss + noise
            made.append(tune_row("packed", conversation=f"c{number}", quality=packed))
        return made

    return make


def test_packing_that_loses_nothing_is_shown(rows):
    """With the knob to set, rounded down."""
    (proof,) = packing_proofs([ALONE, PACKED], rows(0.0))
    assert proof.is_shown
    assert (proof.reference, proof.purposes) == ("alone", ("judge",))
    assert "--set pack.judge.lower_sd=-0.0" in str(proof)


def test_packing_that_loses_a_tenth_is_not(rows):
    """And is left off."""
    (proof,) = packing_proofs([ALONE, PACKED], rows(0.1))
    assert not proof.is_shown
    assert proof.mean == pytest.approx(-0.1, abs=0.03)
    assert "leave it off" in str(proof)


def test_without_a_quality_there_is_no_interval(rows):
    """It names what is needed."""
    unknown = [replace(each, quality=None) for each in rows(0.0)]
    (proof,) = packing_proofs([ALONE, PACKED], unknown)
    assert not proof.is_shown
    assert "more conversations" in str(proof)


def test_a_setting_without_its_like_is_not_compared(rows):
    """Other knobs differ, or there is no packing."""
    other = replace(ALONE, knobs={"search.expand_k": 2})
    assert packing_proofs([other, PACKED], rows(0.0)) == []
    assert packing_proofs([ALONE], rows(0.0)) == []
