"""Limits of a configuration."""

import pytest
from pydantic import ValidationError

from callwise.budget import Limits
from callwise.calls import Role


def test_limits_are_read_from_plain_values():
    """Roles are named by their word, and nothing is limited by default."""
    limits = Limits.model_validate({"max_calls": 5, "roles": {"judge": {"max_usd": 0.5}}})
    assert limits.roles[Role.JUDGE].max_usd == 0.5
    assert Limits() == Limits.model_validate({})
    assert not Limits(max_seconds=1).is_counting


@pytest.mark.parametrize(
    "document",
    [
        {"max_cals": 5},
        {"max_calls": -1},
        {"max_usd": float("nan")},
        {"max_seconds": float("inf")},
        {"max_calls": 1.5},
        {"roles": {"poet": {}}},
        {"roles": {"judge": {"max_seconds": 1}}},
    ],
)
def test_what_cannot_be_a_limit_is_refused(document):
    """A typo, a negative, an endless or a broken value, an unknown role: all are errors."""
    with pytest.raises(ValidationError):
        Limits.model_validate(document)
