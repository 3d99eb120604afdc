"""A process may be killed or stopped at any point: each message and each credit is there once."""

import os
from pathlib import Path

import pytest

from tests.callwise.wake.kills import kill_everywhere

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked"),
]


def test_a_process_killed_anywhere_leaves_each_message_and_credit_once(tmp_path: Path) -> None:
    """From the making of the file on; what was stopped and goes on does nothing twice."""
    report = kill_everywhere(tmp_path, seed=1, kills=50, stops=20)
    assert report.problems == []
    assert report.killed > 200
    assert report.stopped == 20
    assert report.locked > 0, "some are stopped within a transaction"
