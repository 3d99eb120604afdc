"""Kinds of work and classes of urgency, by purpose."""

import math

import pytest

from callwise.calls import Call, Message, Priority, Purpose, Role
from callwise.calls.kinds import KINDS, PRIORITIES, WorkKind, kind_of, priority_of


def test_every_purpose_has_a_kind_and_a_class():
    """A new purpose must be put somewhere."""
    assert {kind_of(purpose) for purpose in Purpose} == set(WorkKind) == set(KINDS)
    assert PRIORITIES.keys() == set(Purpose)


def test_within_a_turn_the_answer_goes_first_and_bookkeeping_last():
    """The classes of urgency follow what a person waits for."""
    in_order = (Purpose.REASON, Purpose.JUDGE, Purpose.EXPAND, Purpose.REMEMBER)
    assert sorted(in_order, key=PRIORITIES.__getitem__) == list(in_order)


def test_a_call_s_own_class_goes_before_that_of_its_purpose():
    """The class of a purpose is a default."""
    messages = (Message("user", "Hello."),)
    assert priority_of(Call(Role.FAST, Purpose.EVOLVE, messages)) is Priority.LOW
    urgent = Call(Role.FAST, Purpose.EVOLVE, messages, priority=Priority.CRITICAL)
    assert priority_of(urgent) is Priority.CRITICAL


@pytest.mark.parametrize("given", ["high", "HIGH", 1, Priority.HIGH])
def test_a_class_may_be_given_by_its_name_or_number(given):
    """The call has the class itself."""
    call = Call(Role.MAIN, Purpose.OTHER, (Message("user", "x"),), priority=given)
    assert call.priority is Priority.HIGH


@pytest.mark.parametrize("priority", [-1, 5, 2.5, "urgent"])
def test_a_class_that_there_is_not_is_refused(priority):
    """A call of an unknown class would wait for ever."""
    with pytest.raises(ValueError, match=r"CRITICAL \(0\).*; got"):
        Call(Role.MAIN, Purpose.OTHER, (Message("user", "Hello."),), priority=priority)


@pytest.mark.parametrize("name", ["timeout_seconds", "deadline_seconds"])
def test_a_time_is_a_number(name):
    """NaN is neither past nor to come."""
    with pytest.raises(ValueError, match=name):
        Call(Role.MAIN, Purpose.OTHER, (Message("user", "Hello."),), **{name: math.nan})
