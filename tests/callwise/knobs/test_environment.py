"""Knobs from environment variables: how they are named, their order, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from callwise.calls.errors import ConfigError
from callwise.knobs import environment_knobs, settings_from


class Strict(BaseModel):
    """A group that refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Search(Strict):
    """A group."""

    rollouts: int | None = Field(default=4, ge=0, le=64)
    width: float = 1.0


class Role(Strict):
    """A group by a key."""

    model: str | None = None
    body: dict[str, object] = {}


class Settings(Strict):
    """All of them."""

    search: Search = Search()
    roles: dict[str, Role] = {}
    name: str = "x"


def settings(environ, *overrides, **data):
    """Return the settings of a preset's data under an environment."""
    return settings_from(Settings, data, overrides=overrides, environ=environ)


def problem(environ, *overrides, **data):
    """Return what is wrong with an environment."""
    with pytest.raises(ConfigError) as caught:
        settings(environ, *overrides, **data)
    return str(caught.value)


def test_the_environment_goes_between_preset_and_overrides():
    """Preset, then environment, then `--set`."""
    preset = {"search": {"rollouts": 1, "width": 2.0}, "name": "preset"}
    environ = {"CALLWISE__SEARCH__ROLLOUTS": "2", "CALLWISE__NAME": "environment"}
    assert settings({}, **preset).search == Search(rollouts=1, width=2.0)
    assert settings(environ, **preset).search == Search(rollouts=2, width=2.0)
    laid_over = settings(environ, "search.rollouts=3", **preset)
    assert (laid_over.search.rollouts, laid_over.name) == (3, "environment")


@pytest.mark.parametrize(
    ("variable", "text", "knob"),
    [
        ("CALLWISE__SEARCH__ROLLOUTS", "2", "search.rollouts=2"),
        ("callwise__search__Rollouts", "2", "search.rollouts=2"),
        ("CALLWISE__ROLLOUTS", " 2 ", "search.rollouts=2"),
        ("CALLWISE__SEARCH", "{rollouts: 2}", "search={rollouts: 2}"),
        ("CALLWISE__ROLES__MAIN__MODEL", "null", "roles.main.model=null"),
        ("CALLWISE__ROLES__MAIN__BODY__TOP_K", "4", "roles.main.body.top_k=4"),
    ],
)
def test_a_variable_is_read_like_an_override(variable, text, knob):
    """In capitals or not, by its whole name or its end, into groups and mappings."""
    [found] = environment_knobs({variable: text}, Settings)
    assert (found.variable, found.override) == (variable, knob)
    assert settings({variable: text}) == settings({}, knob)


def test_groups_are_set_before_what_is_in_them():
    """Whatever the order of the environment."""
    environ = {"CALLWISE__SEARCH__ROLLOUTS": "2", "CALLWISE__SEARCH": "{rollouts: 1, width: 3}"}
    assert settings(environ).search == Search(rollouts=2, width=3.0)


def test_other_variables_and_empty_ones_are_left_alone():
    """What has no double underscore is no knob, and an empty one counts as not set."""
    environ = {
        "CALLWISE_MODEL": "m",
        "CALLWISE_API_KEY": "k",
        "CALLWISE__SEARCH__ROLLOUTS": "  ",
        "OTHER__SEARCH__ROLLOUTS": "1",
    }
    assert environment_knobs(environ, Settings) == []


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"CALLWISE__SEARCH__ROLOUTS": "1"}, ("CALLWISE__SEARCH__ROLOUTS", "search.rollouts")),
        ({"CALLWISE__": "1"}, ("CALLWISE__", "unknown knob")),
        ({"CALLWISE_SEARCH__ROLLOUTS": "1"}, ("write CALLWISE__SEARCH__ROLLOUTS",)),
        ({"CALLWISE__SEARCH__ROLLOUTS": "65"}, ("65", "set by CALLWISE__SEARCH__ROLLOUTS")),
        ({"CALLWISE__SEARCH": "3"}, ("group", "set by CALLWISE__SEARCH")),
        ({"CALLWISE__SEARCH": "{rollouts: 65}"}, ("search.rollouts", "set by CALLWISE__SEARCH")),
        ({"CALLWISE__NAME": "[a"}, ("CALLWISE__NAME", "YAML")),
        (
            {"CALLWISE__ROLLOUTS": "1", "callwise__search__rollouts": "2"},
            ("CALLWISE__ROLLOUTS", "callwise__search__rollouts", "same knob"),
        ),
    ],
)
def test_what_is_wrong_names_the_variable(environ, words):
    """And the nearest knob, or the range."""
    message = problem(environ)
    assert all(word in message for word in words), message


def test_a_wrong_override_does_not_blame_the_environment():
    """The value that is wrong is the override's."""
    environ = {"CALLWISE__SEARCH__ROLLOUTS": "2"}
    assert "CALLWISE" not in problem(environ, "rollouts=65")
    assert settings({"CALLWISE__SEARCH__ROLLOUTS": "65"}, "rollouts=3").search.rollouts == 3


@given(st.dictionaries(st.text(max_size=40), st.text(max_size=20), max_size=4))
def test_any_environment_is_read_or_refused(environ):
    """Never another error than the project's own."""
    knobs = {f"CALLWISE__{name}": text for name, text in environ.items()}
    try:
        found = environment_knobs(knobs, Settings)
    except ConfigError:
        return
    assert len(found) <= len(knobs)
