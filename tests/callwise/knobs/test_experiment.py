"""The split of an experiment: the same arm everywhere, shares as set, rollouts that only grow."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from callwise.calls.errors import ConfigError, FormatError
from callwise.knobs import assign
from callwise.knobs.experiment import (
    ExperimentKnobs,
    RolloutKnobs,
    flat_overrides,
    hash_share,
)


def _experiment(**given: object) -> ExperimentKnobs:
    arms = {"control": {}, "new": {"set": {"search.max_calls": 3}}}
    return ExperimentKnobs.model_validate({"name": "caps", "arms": arms, **given})


def test_a_unit_has_the_same_place_in_every_process_and_version() -> None:
    """Places are constants: another one would move every unit of a running experiment."""
    known = {
        ("", "caps", "u1"): 0.4347,
        ("", "caps", "\u8c22\u8c22"): 0.7582,
        ("s", "caps", "u1"): 0.4263,
    }
    assert {key: round(hash_share(*key), 4) for key in known} == known


def test_shares_are_within_binomial_error() -> None:
    """Of 20,000 units each arm has its share within 4 errors, and salts are independent."""
    shares = {"a": 0.1, "b": 0.3, "c": 0.6}
    units = [f"user-{number}" for number in range(20_000)]
    arms = [assign("split", shares, unit) for unit in units]
    counts = Counter(arms)
    for arm, share in shares.items():
        error = math.sqrt(len(units) * share * (1 - share))
        assert abs(counts[arm] - share * len(units)) < 4 * error
    salted = [assign("split", shares, unit, salt="again") for unit in units]
    both = sum(one == "a" == other for one, other in zip(arms, salted, strict=True))
    assert abs(both - 0.01 * len(units)) < 4 * math.sqrt(len(units) * 0.01 * 0.99)


@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_takes_no_unit_out_of_the_new_arm(unit: str, one: float, two: float) -> None:
    """Whatever is in the new arm at a share is there at every larger one; at 0 none is."""
    low, high = sorted((one, two))
    arms = [
        _experiment(rollout={"arm": "new", "share": share}).arm_of(unit)
        for share in (0.0, low, high, 1.0)
    ]
    assert arms[0] == "control"
    assert arms[3] == "new"
    assert arms[1] == "control" or arms[2] == "new"


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"a": 0.5, "b": 0.4}, "add to 0.9 and not to 1"),
        ({"a": 1.5, "b": -0.5}, "share of arm 'a'"),
        ({}, "add to 0 and not to 1"),
    ],
)
def test_shares_that_do_not_add_to_one_are_refused(shares: dict[str, float], message: str) -> None:
    """The error names the sum or the share that is wrong."""
    with pytest.raises(ConfigError, match=message):
        assign("split", shares, "u1")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"arms": {"one": {}}}, "at least two"),
        ({"arms": {"a": {"share": 0.5}, "b": {}}}, "without one: b"),
        ({"arms": {"a": {"share": 0.5}, "b": {"share": 0.2}}}, "add to 0.7"),
        ({"rollout": {"arm": "other"}}, "one of two arms"),
        ({"rollout": {"arm": "new", "stages": [0.5, 0.1, 1]}}, "stages rise"),
        ({"rollout": {"arm": "new", "stages": [0.1, 0.5]}}, "stages rise"),
        ({"rollout": {"arm": "new", "gates": {"speed": 0.1}}}, "no gate 'speed'"),
        ({"rollout": {"arm": "new", "gates": {"usd": -1}}}, "at least 0"),
        ({"rollout": {"arm": "new", "alpha": 1e-9}}, "greater than or equal to 0.0001"),
        (
            {"rollout": {"arm": "new", "alpha": 1e-4}},
            "leaves less than 1e-05 for each of 16 checks",
        ),
        ({"arms": {"A b": {}, "c": {}}}, "pattern"),
    ],
)
def test_an_experiment_that_cannot_work_is_refused(given: dict[str, object], message: str) -> None:
    """Each mistake has an error with the way out."""
    with pytest.raises(ValidationError, match=message):
        _experiment(**given)


def test_arms_without_shares_are_equal_and_control_is_known() -> None:
    """The control is the arm of that name, else the one that sets least."""
    experiment = _experiment()
    assert experiment.shares == {"control": 0.5, "new": 0.5}
    assert experiment.control == "control"
    arms = {"a": {"set": {"seed": 1}}, "b": {}}
    assert _experiment(arms=arms).control == "b"
    assert _experiment(arms=arms, rollout={"arm": "b"}).control == "a"


def test_a_conversation_without_a_user_is_its_own_user() -> None:
    """The unit of a turn is its user's or its conversation's, for assignment and reports."""
    of_user = _experiment(unit="user")
    units = [of_user.unit_of("c", user) for user in ("u", None, "")]
    assert units == ["u", "c", "c"]
    assert _experiment().unit_of("c", "u") == "c"
    assert of_user.arm_of_turn("c", "u") == of_user.arm_of("u")


def test_nested_knobs_are_dotted_paths() -> None:
    """`{search: {max_calls: 3}}` means `search.max_calls=3`."""
    nested = {"search": {"max_calls": 3}, "seed": 1, "sampling": {}}
    assert flat_overrides(nested) == {"search.max_calls": 3, "seed": 1, "sampling": {}}


def test_a_rollout_begins_with_the_share_of_its_state(tmp_path: Path) -> None:
    """Without a file it is the first stage's; a share that is given goes before both."""
    state = tmp_path / "rollout.json"
    rollout = {"arm": "new", "state": str(state)}
    assert _experiment(rollout=rollout).at_stage().shares["new"] == 0.01
    document = {"callwise_rollout": 1, "experiment": "caps", "arm": "new", "share": 0.25}
    state.write_bytes(orjson.dumps(document))
    assert _experiment(rollout=rollout).at_stage().shares["new"] == 0.25
    assert _experiment(rollout={**rollout, "share": 0.5}).at_stage().shares["new"] == 0.5
    assert RolloutKnobs(arm="new").share is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected the state"),
        ("[]", "expected the state"),
        ('{"share": 0, "experiment": "caps", "arm": "new"}', "callwise_rollout: Field required"),
        (
            '{"callwise_rollout": 9, "share": 0, "experiment": "caps", "arm": "new"}',
            "callwise_rollout: Input",
        ),
        (
            '{"callwise_rollout": 1, "share": 7, "experiment": "caps", "arm": "new"}',
            "less than or equal to 1",
        ),
        ('{"callwise_rollout": 1, "share": 0, "experiment": "x", "arm": "new"}', "its own file"),
    ],
)
def test_a_state_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """Another file, version or rollout is an error that names the file."""
    state = tmp_path / "rollout.json"
    state.write_text(text)
    with pytest.raises(FormatError, match=message):
        _experiment(rollout={"arm": "new", "state": str(state)}).at_stage()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("split", {"a": 1.0}, 7), "the unit of a split is text, and 7 is none"),
        (("split", {"a": "1"}, "u"), "is '1': a share is a number"),
        (("split", {"a": True}, "u"), "is True: a share is a number"),
    ],
)
def test_a_split_of_what_is_no_text_or_number_is_refused(given: Any, message: str) -> None:
    """The number 7 and the text "7" would be one user or two, by what the program gave."""
    with pytest.raises(ConfigError, match=message):
        assign(*given)


def test_names_with_half_a_character_split() -> None:
    """Such a name has a place, too, and not that of the name without it."""
    assert hash_share("\udc00", "a\ud800", "u\ud800") != hash_share("", "a", "u")
