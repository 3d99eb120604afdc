"""Overrides, validation, listing and the digest, on one small settings model."""

from enum import IntEnum, StrEnum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from callwise.calls.errors import ConfigError
from callwise.knobs import (
    apply_overrides,
    knob_paths,
    nearest_names,
    parse_overrides,
    settings_digest,
    validate,
)


class Seat(StrEnum):
    """A closed set."""

    FRONT = "front"
    BACK = "back"


class Strict(BaseModel):
    """A group that refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(Strict):
    """Limits."""

    max_calls: Annotated[int, Field(ge=0)] | None = None
    """Calls at most."""


class Search(Strict):
    """A group."""

    rollouts: int = Field(default=4, ge=0, le=64)
    """Rollouts after
    the root."""
    width: float = Field(default=1.0, gt=0)
    switch: Literal["auto", "off"] = "auto"
    limits: Limits = Limits(max_calls=9)
    seed: int = 0


class Settings(Strict):
    """All of them."""

    search: Search = Search()
    roles: dict[Seat, Limits] = {}
    """Limits by seat."""
    headers: dict[str, str] = {}
    name: str = Field(default="x", min_length=1, max_length=9, description="Its name.")
    seat: Seat = Seat.FRONT
    seed: int = 0


def problem_of(data: dict[str, object]) -> str:
    """Return what validation says of bad data."""
    with pytest.raises(ConfigError) as caught:
        validate(Settings, data)
    return str(caught.value)


def test_no_such_choice_names_those_there_are() -> None:
    """By their names where an enumeration is of numbers, and in a mapping as well."""

    class Urgency(IntEnum):
        HIGH = 0
        LOW = 1

    class Waiting(Strict):
        takes: Urgency = Urgency.LOW
        priorities: dict[str, Literal["low", "high"]] = {}

    for given_knobs, named in (
        ({"takes": "soon"}, "takes='soon': no such choice (allowed: one of high, low)"),
        (
            {"priorities": {"judge": "soon"}},
            "priorities.judge='soon': no such choice (allowed: 'low' or 'high')",
        ),
    ):
        with pytest.raises(ConfigError) as caught:
            validate(Waiting, given_knobs)
        assert str(caught.value) == named


def test_knobs_are_listed_with_everything_there_is_to_know() -> None:
    """Groups unfold to dotted paths with type, default, range and the text below."""
    knobs = {knob.path: knob for knob in knob_paths(Settings)}
    assert list(knobs) == [
        "search.rollouts",
        "search.width",
        "search.switch",
        "search.limits.max_calls",
        "search.seed",
        "roles.<seat>.max_calls",
        "headers",
        "name",
        "seat",
        "seed",
    ]
    rollouts = knobs["search.rollouts"]
    assert (rollouts.type, rollouts.default, rollouts.range) == ("int", 4, "0 to 64")
    assert rollouts.doc == "Rollouts after the root."
    assert knobs["search.width"].range == "more than 0"
    assert knobs["search.switch"].range == "one of auto, off"
    assert knobs["search.limits.max_calls"].default == 9
    assert knobs["search.limits.max_calls"].type == "int | none"
    assert knobs["search.limits.max_calls"].range == "at least 0"
    assert knobs["seat"].range == "one of front, back"
    assert knobs["name"].range == "at least 1 long, at most 9 long"
    assert knobs["name"].doc == "Its name."


def test_overrides_are_laid_over() -> None:
    """A whole path, a unique end, and a key of a mapping all find their place."""
    data = {"search": {"rollouts": 4, "width": 2}}
    merged = apply_overrides(
        data,
        ["search.rollouts=1", "rollouts=2", "roles.back.max_calls=3", "headers.X-A=b", "seed=5"],
        Settings,
    )
    assert merged == {
        "search": {"rollouts": 2, "width": 2},
        "roles": {"back": {"max_calls": 3}},
        "headers": {"X-A": "b"},
        "seed": 5,
    }
    assert data == {"search": {"rollouts": 4, "width": 2}}


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("off", "off"), ("1e-3", 0.001), ("null", None), ("", None), ("[1, b]", [1, "b"])],
)
def test_values_are_yaml(text: str, value: object) -> None:
    """An override's value is what YAML 1.2 says it is."""
    assert apply_overrides({}, [f"a.b={text}"]) == {"a": {"b": value}}


def test_a_value_may_hold_an_equals_sign() -> None:
    """Only the first equals sign separates."""
    assert apply_overrides({}, ["name=a=b"], Settings) == {"name": "a=b"}


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("rollouts", "expected knob=value"),
        ("=3", "expected knob=value"),
        ("max_calls=3", "several knobs: roles.<seat>.max_calls, search.limits.max_calls"),
        ("serch.rollouts=3", "did you mean search.rollouts"),
        ("search.rolouts=3", "did you mean search.rollouts"),
        ("search.rollouts.deep=3", "unknown knob"),
        ("seed=[1", "value of seed is not YAML"),
    ],
)
def test_a_wrong_override_says_what_was_meant(override: str, problem: str) -> None:
    """No override is dropped or guessed."""
    with pytest.raises(ConfigError, match=problem):
        apply_overrides({}, [override], Settings)


def test_a_group_can_be_set_whole() -> None:
    """A path may end at a group."""
    assert apply_overrides({}, ["search={rollouts: 1}"], Settings) == {"search": {"rollouts": 1}}


def test_validation_says_what_to_write_instead() -> None:
    """Unknown, out of range, no choice, wrong type, no group: each in its own words."""
    assert problem_of({"search": {"rollouts": 99}}) == (
        "search.rollouts=99: out of range (allowed: 0 to 64)"
    )
    assert "'search.rolouts'; did you mean search.rollouts" in problem_of(
        {"search": {"rolouts": 1}}
    )
    assert "did you mean search" in problem_of({"serch": {}})
    assert problem_of({"search": {"switch": "on"}}) == (
        "search.switch='on': no such choice (allowed: one of auto, off)"
    )
    assert problem_of({"search": 3}) == "search=3: expected a group of knobs"
    assert "valid integer" in problem_of({"search": {"rollouts": "many"}})
    assert "roles.back.max_calls=-1: out of range" in problem_of(
        {"roles": {"back": {"max_calls": -1}}}
    )


def test_all_problems_are_said_at_once() -> None:
    """One line a problem."""
    assert len(problem_of({"a": 1, "seed": "x", "seat": "roof"}).splitlines()) == 3


def test_the_digest_is_of_the_settings_and_not_of_their_source() -> None:
    """Defaults written out or left out are the same settings; another value is not."""
    plain = settings_digest(Settings())
    assert plain == settings_digest(validate(Settings, {"search": {"rollouts": 4}, "seed": 0}))
    assert plain != settings_digest(validate(Settings, {"seed": 1}))
    assert len(plain) == 64


class Secretive(Strict):
    """A group whose values are never repeated."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    key: int = 0


class Absent(Strict):
    """A group that may be left out."""

    search: Search | None = None


def test_a_group_that_is_left_out_has_no_defaults() -> None:
    """Those of its model hold only once it is there."""
    defaults = {knob.path: knob.default for knob in knob_paths(Absent)}
    assert defaults["search.rollouts"] is defaults["search.limits.max_calls"] is None
    once_set = {knob.path: knob.default_once_set for knob in knob_paths(Absent)}
    assert (once_set["search.rollouts"], once_set["search.limits.max_calls"]) == (4, 9)


class Keyed(Strict):
    """Groups by keys."""

    hidden: dict[Seat, Secretive] = {}
    named: dict[Annotated[str, Field(title="colour", min_length=3)], Limits] = {}


def test_a_mappings_keys_are_called_by_their_title() -> None:
    """Or by their type."""
    paths = [knob.path for knob in knob_paths(Keyed)]
    assert paths == ["hidden.<seat>.key", "named.<colour>.max_calls"]


def test_a_wrong_key_is_named_once() -> None:
    """With what is allowed."""
    with pytest.raises(ConfigError, match=r"^hidden\.side: no such choice \(allowed: 'front'"):
        validate(Keyed, {"hidden": {"side": {}}})
    with pytest.raises(ConfigError, match=r"^named\.no: .*at least 3"):
        validate(Keyed, {"named": {"no": {}}})


def test_a_value_that_may_be_a_secret_is_not_repeated() -> None:
    """Where the group says so."""
    with pytest.raises(ConfigError, match=r"^hidden\.front\.key: ") as caught:
        validate(Keyed, {"hidden": {"front": {"key": "sk-secret"}}})
    assert "sk-secret" not in str(caught.value)


@given(st.sampled_from([knob.path for knob in knob_paths(Settings)]))
def test_a_known_name_is_its_own_nearest(path: str) -> None:
    """Nothing is nearer to a name than itself."""
    assert nearest_names(path, [knob.path for knob in knob_paths(Settings)])[0] == path


def test_overrides_are_a_mapping_and_the_command_lines_texts_mean_the_same() -> None:
    """Values need no YAML; a group may be given whole, and is not shared with the settings."""
    group = {"rollouts": 2}
    merged = apply_overrides({"search": {"rollouts": 4}}, {"search": group, "seed": 7})
    assert merged == {"search": {"rollouts": 2}, "seed": 7}
    assert merged["search"] is not group
    texts = ["search.rollouts=4", "seed=7", "search.rollouts=2"]
    assert parse_overrides(texts) == {"seed": 7, "search.rollouts": 2}
    assert apply_overrides({}, texts) == apply_overrides({}, parse_overrides(texts))


@pytest.mark.parametrize(
    "data",
    [
        {"search": {"rollouts": True}},
        {"search": {"width": False}},
        {"roles": {"back": {"max_calls": True}}},
    ],
)
def test_true_and_false_are_no_numbers(data: dict[str, Any]) -> None:
    """They are not taken for 1 and 0, wherever the knob is."""
    with pytest.raises(ConfigError, match=r"=(True|False): expected a number, not true or false"):
        validate(Settings, data)
