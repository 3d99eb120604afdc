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


@pytest.mark.parametrize("priority", [-1, 5, 2.5, "urgent"])
def test_a_class_that_there_is_not_is_refused(priority):
    """A call of an unknown class would wait for ever."""
    with pytest.raises(ValueError, match=r"CRITICAL \(0\).*; got"):
        Call(Role.MAIN, Purpose.OTHER, (Message("user", "Hello."),), priority=priority)


@pytest.mark.parametrize("priority", [3, "low", "LOW"])
def test_a_class_may_be_given_by_its_number_or_name(priority):
    """Whatever reads it finds a class."""
    call = Call(Role.MAIN, Purpose.OTHER, (Message("user", "Hello."),), priority=priority)
    assert call.priority is Priority.LOW


@pytest.mark.parametrize(
    ("role", "purpose", "named"),
    [
        ("main", "my_own", "Call.purpose.*, other; got 'my_own'"),
        ("boss", "other", "Call.role.*boss"),
    ],
)
def test_a_role_or_purpose_that_there_is_not_is_refused(role, purpose, named):
    """The error names those there are; the call would end in a KeyError."""
    with pytest.raises(ValueError, match=named):
        Call(role, purpose, (Message("user", "Hello."),))


def test_a_role_and_a_purpose_may_be_given_as_texts():
    """Whatever reads them finds those of the enumerations."""
    call = Call("judge", "other", (Message("user", "Hello."),))
    assert (call.role, call.purpose) == (Role.JUDGE, Purpose.OTHER)
    assert type(call.role) is Role
    assert type(call.purpose) is Purpose


@pytest.mark.parametrize("name", ["timeout_seconds", "deadline_seconds"])
def test_a_time_is_a_number(name):
    """NaN is neither past nor to come."""
    with pytest.raises(ValueError, match=name):
        Call(Role.MAIN, Purpose.OTHER, (Message("user", "Hello."),), **{name: math.nan})
