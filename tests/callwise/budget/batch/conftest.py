"""A service that takes lists, in virtual time."""

import pytest

from tests.callwise.budget.batch.batch_service import BatchService


@pytest.fixture
def service():
    """Return a service."""
    return BatchService()
