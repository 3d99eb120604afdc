"""Knobs of load: profiles, and an endpoint's own over those of the run."""

import math

import pytest
from pydantic import ValidationError

from callwise.calls import Priority, Purpose
from callwise.calls.errors import ConfigError
from callwise.calls.load.load_knobs import LOAD_PROFILES, LoadKnobs
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.knobs import knob_paths

NUMBERS = [knob.path for knob in knob_paths(LoadKnobs) if knob.type.startswith(("int", "float"))]


@pytest.mark.parametrize("profile", LOAD_PROFILES)
def test_a_profile_is_where_the_knobs_start_from(profile):
    """Knobs that are set go before it, field by field; what it does not name is as usual."""
    knobs = LoadKnobs(profile=profile)
    for group, values in LOAD_PROFILES[profile].items():
        for name, value in values.items():
            assert getattr(getattr(knobs, group), name) == value
    own = {"profile": profile, "schedule": {"max_concurrency": 7}}
    mixed = LoadKnobs.model_validate(own).schedule
    assert (mixed.max_concurrency, mixed.overload) == (7, knobs.schedule.overload)
    assert mixed == LoadKnobs(profile=profile, schedule=ScheduleKnobs(max_concurrency=7)).schedule
    assert LoadKnobs(profile=profile, schedule=None).schedule is None
    assert knobs.rate is None


def test_knobs_with_a_profile_come_back_from_their_json():
    """As a preset or a recording of settings writes them."""
    knobs = LoadKnobs(profile="balanced", schedule=ScheduleKnobs(max_waiting=3))
    assert LoadKnobs.model_validate_json(knobs.model_dump_json()) == knobs
    laid = LoadKnobs().laid_under(knobs)
    assert (laid.schedule, laid.batch) == (knobs.schedule, knobs.batch)


@pytest.mark.parametrize(
    "name", ["max_concurrency", "max_embedding_concurrency", "max_adaptive_concurrency"]
)
def test_the_tasks_of_a_profile_follow_a_larger_concurrency(name):
    """The profile's number would bind below the one that was set; a smaller one changes none."""
    larger = LoadKnobs.model_validate({"profile": "balanced", "schedule": {name: 256}}).schedule
    assert (getattr(larger, name), larger.max_tasks) == (256, 256)
    smaller = LoadKnobs.model_validate({"profile": "balanced", "schedule": {name: 7}}).schedule
    assert (getattr(smaller, name), smaller.max_tasks) == (7, 128)


@pytest.mark.parametrize("name", ["max_concurrency", "max_embedding_concurrency"])
def test_tasks_below_a_concurrency_that_is_set_are_refused(name):
    """Both are named, with what to do; a default is no contradiction."""
    with pytest.raises(ValidationError, match=rf"{name} is 9, .* run 3\. Raise max_tasks to 9"):
        LoadKnobs(
            profile="balanced", schedule=ScheduleKnobs.model_validate({name: 9, "max_tasks": 3})
        )
    assert ScheduleKnobs(max_tasks=3).max_concurrency == 5
    run = LoadKnobs(profile="conservative")
    with pytest.raises(ConfigError, match=rf"laid over that of the run: {name} is 64"):
        run.laid_under(LoadKnobs.model_validate({"schedule": {name: 64}}))


def test_an_unknown_profile_is_named():
    """With those that there are."""
    with pytest.raises(ValidationError, match="'conservative', 'balanced' or 'aggressive'"):
        LoadKnobs.model_validate({"profile": "fast"})


def test_the_targets_are_those_of_the_specification():
    """100 ms, 500 ms and 2 s; the two lowest classes have none."""
    targets = [ScheduleKnobs().target_seconds(priority) for priority in Priority]
    assert targets == [0.1, 0.5, 2.0, None, None]


@pytest.mark.parametrize(
    "wrong", [{"max_concurrency": 0}, {"max_waiting": 0}, {"ageing_seconds": 0}, {"aged_every": 0}]
)
def test_a_limit_of_nothing_is_refused_by_its_name(wrong):
    """Zero would let no call go, ever."""
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        ScheduleKnobs(**wrong)


def test_classes_of_purposes_are_written_by_their_names():
    """An unknown one is named with those that there are."""
    knobs = LoadKnobs.model_validate({"schedule": {"priorities": {"judge": "critical"}}})
    assert knobs.schedule.priority_by_purpose() == {Purpose.JUDGE: Priority.CRITICAL}
    assert LoadKnobs.model_validate_json(knobs.model_dump_json()) == knobs
    with pytest.raises(
        ValidationError, match="'critical', 'high', 'normal', 'low' or 'background'"
    ):
        ScheduleKnobs(priorities={"judge": "now"})


@pytest.mark.parametrize("path", NUMBERS)
@pytest.mark.parametrize("wrong", [-1, math.nan, math.inf])
def test_a_number_that_cannot_be_is_refused_by_its_name(path, wrong):
    """Below zero, none at all or without end; whatever else its group lacks."""
    *groups, name = path.split(".")
    given = {name: wrong}
    for group in reversed(groups):
        given = {group: given}
    with pytest.raises(ValidationError) as refused:
        LoadKnobs.model_validate(given)
    assert (*groups, name) in {error["loc"][: len(groups) + 1] for error in refused.value.errors()}


@pytest.mark.parametrize(
    "wrong",
    [
        {"background": {"file": "q", "first_poll_seconds": 9, "max_poll_seconds": 8}},
        {"background": {"file": "q", "quiet_seconds": 9, "max_wait_seconds": 8}},
        {"batch": {"chat_min_size": 9, "chat_max_size": 8}},
        {"rate": {"tokens_per_minute": 8, "input_tokens_per_minute": 9}},
    ],
)
def test_two_limits_that_contradict_each_other_are_both_named(wrong):
    """With their values."""
    ((_, knobs),) = wrong.items()
    first, second = [name for name in knobs if name != "file"]
    with pytest.raises(ValidationError) as refused:
        LoadKnobs.model_validate(wrong)
    text = str(refused.value)
    assert all(f"{name} (" in text or f"{name}=" in text for name in (first, second))
    assert all(str(knobs[name]) in text for name in (first, second))
