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
            made.append(tune_row("packed", conversation=f"c{number}", quality=packed, asked=2))
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


def test_a_setting_that_asked_the_same_calls_has_no_proof(rows):
    """A size alone packs nothing: no loss is shown of what was not done."""
    same = [replace(each, asked=3) for each in rows(0.0)]
    (proof,) = packing_proofs([ALONE, PACKED], same)
    assert not proof.is_shown
    assert "nothing was packed" in str(proof)
    assert "--set" not in str(proof)


def test_a_setting_without_its_like_is_not_compared(rows):
    """Other knobs differ, or there is no packing."""
    other = replace(ALONE, knobs={"search.expand_k": 2})
    assert packing_proofs([other, PACKED], rows(0.0)) == []
    assert packing_proofs([ALONE], rows(0.0)) == []


def _setting(**knobs):
    named = {f"pack.judge.{knob}": value for knob, value in knobs.items()}
    return Setting(str(knobs), "classic", {**named, "search.expand_k": 4})


@pytest.mark.parametrize(
    "off",
    [
        _setting(is_trial=False, size=2),
        _setting(lower_sd=None),
        _setting(lower_sd=-0.06, size=4),
        Setting("group", "classic", {"pack": {"judge": {"is_trial": False}}, "search.expand_k": 4}),
        Setting("none", "classic", {"pack": {}, "search.expand_k": 4}),
    ],
)
def test_a_setting_that_does_not_pack_is_the_reference(rows, off):
    """Whatever else of packing it sets; what is to be set has the size that was measured."""
    on = _setting(is_trial=True, size=2)
    names = {"alone": off.name, "packed": on.name}
    made = [replace(each, setting=names[each.setting]) for each in rows(0.0)]
    (proof,) = packing_proofs([on, off], made)
    assert (proof.setting, proof.reference) == (on.name, off.name)
    assert "--set pack.judge.lower_sd=-0.0" in str(proof)
    assert str(proof).endswith("--set pack.judge.size=2")


@pytest.mark.parametrize("on", [_setting(lower_sd=-0.05), _setting(size=8), _setting(lower_sd=3)])
def test_a_proof_and_a_size_pack(rows, on):
    """Without `is_trial`, too."""
    names = {"alone": "alone", "packed": on.name}
    made = [replace(each, setting=names[each.setting]) for each in rows(0.0)]
    (proof,) = packing_proofs([on, ALONE], made)
    assert proof.purposes == ("judge",)
