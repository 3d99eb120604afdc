"""Overrides of a setting keep their meaning, and equal settings are found."""

import math
from typing import get_type_hints

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joblib import delayed
from joblib import hash as content_hash

from callwise.calls.errors import ConfigError
from callwise.knobs import apply_overrides
from callwise.tuning.row import row_figures
from callwise.tuning.setting import (
    Evaluator,
    SettingResult,
    make_setting,
    override_of,
    setting_name,
    value_text,
)
from callwise.tuning.sweep_workers import _evaluate
from tests.callwise.tuning.scripted_evaluator import ScriptedEvaluator

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def _typed(value: object) -> object:
    """Return a value with the types of its parts, so that 1, 1.0 and true differ."""
    if isinstance(value, list):
        return [_typed(each) for each in value]
    if isinstance(value, dict):
        return {key: _typed(each) for key, each in value.items()}
    return type(value), value


@settings(deadline=None, derandomize=True)
@given(VALUES)
def test_a_value_reads_back_as_it_was(value: object) -> None:
    """Whatever JSON can contain survives the way through an override, types included."""
    override = override_of("search.knob", value)
    assert "\n" not in override
    assert _typed(apply_overrides({}, [override])) == _typed({"search": {"knob": value}})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (6, "6"),
        (0.01, "0.01"),
        (1e-05, "1e-05"),
        (None, "null"),
        (True, "true"),
        ("auto", "auto"),
        ("two words", "two words"),
        ("6", '"6"'),
        ("null", '"null"'),
        ("", '""'),
        ("a: b", '"a: b"'),
        ("# no", '"# no"'),
        (["a", "b c"], '["a", "b c"]'),
        ({"score": 2}, '{"score": 2}'),
    ],
)
def test_values_are_written_as_a_person_would(value: object, text: str) -> None:
    """Words stay bare where they cannot mean something else."""
    assert value_text(value) == text


@pytest.mark.parametrize("value", [math.nan, math.inf, [-math.inf]])
def test_numbers_that_are_not_finite_are_refused(value: object) -> None:
    """They are no JSON, and no knob takes them."""
    with pytest.raises(ConfigError, match=r"search\.x: expected a finite number"):
        override_of("search.x", value)


@pytest.mark.parametrize("knob", ["", " ", "a=b", " a"])
def test_a_knob_needs_a_name(knob: str) -> None:
    """A name that an override could not carry is refused."""
    with pytest.raises(ConfigError, match="expected the name of a knob"):
        override_of(knob, 1)


def test_a_name_lists_the_swept_knobs() -> None:
    """In their order; without any it is the preset's."""
    assert setting_name("x", {"search.max_calls": 6, "overlap": True}) == (
        "search.max_calls=6 overlap=true"
    )
    assert setting_name("balanced", {}) == "balanced"


def test_swept_knobs_win_over_fixed_ones_and_may_choose_the_preset() -> None:
    """`preset` is no override."""
    setting = make_setting("balanced", {"a": 1, "b": 2}, {"preset": "frugal", "b": 3})
    assert setting.preset == "frugal"
    assert setting.knobs == {"a": 1, "b": 3}
    assert setting.overrides == ("a=1", "b=3")
    assert setting.name == "preset=frugal b=3"
    with pytest.raises(ConfigError, match="preset names a preset, got 3"):
        make_setting("balanced", {}, {"preset": 3})


def test_equal_settings_are_found_whatever_their_names() -> None:
    """Order of different knobs does not matter; the preset, a value and its type do."""
    one = make_setting("balanced", {}, {"a": 1, "b": 2}, name="one")
    assert one.identity == make_setting("balanced", {"b": 2}, {"a": 1}, name="two").identity
    assert one.identity != make_setting("frugal", {}, {"a": 1, "b": 2}).identity
    assert one.identity != make_setting("balanced", {}, {"a": 1.0, "b": 2}).identity


SETTINGS = [make_setting("balanced", {}, {"search.max_calls": calls}) for calls in (3, 6)]


def test_each_setting_has_one_result_whatever_is_evaluated_with_it() -> None:
    """So settings may be given to workers one by one."""
    evaluator: Evaluator = ScriptedEvaluator()
    together = evaluator.evaluate(SETTINGS)
    assert together == [evaluator.evaluate([setting])[0] for setting in SETTINGS]
    assert [result.setting for result in together] == [setting.name for setting in SETTINGS]


def test_a_result_is_plain_data() -> None:
    """Rows are JSON, and so are replies; an error is a text."""
    (result,) = ScriptedEvaluator().evaluate(SETTINGS[:1])
    assert orjson.dumps([row_figures(row) for row in result.rows])
    assert orjson.dumps(result.replies)
    assert {row.reply_id for row in result.rows} == result.replies.keys()
    assert get_type_hints(SettingResult)["error"] == str | None


@pytest.mark.parametrize("part", [ScriptedEvaluator(), *SETTINGS])
def test_what_is_sent_to_workers_can_be_sent(part: object) -> None:
    """Joblib sends a function with its arguments; hashing takes the same way."""
    call = delayed(_evaluate)(ScriptedEvaluator(), SETTINGS[0], 1)
    assert content_hash((call, part)) == content_hash((call, part))
