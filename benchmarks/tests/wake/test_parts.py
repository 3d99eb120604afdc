"""Parts of the page of awake agents, and the small ones measured."""

import asyncio

import pytest

from benchmarks.wake import __main__ as command
from benchmarks.wake import scale, sockets, variants


def test_each_part_has_a_module_with_a_measurement():
    """Every name of the list can be run."""
    for name in command.PARTS:
        path = command.RESULTS.parent / "wake" / f"{name}.py"
        assert "def measure(" in path.read_text(encoding="utf-8"), name


def test_the_variants_reach_their_figures():
    """Requests of the batched day, and equal prompts and messages without batch."""
    figures = variants.measure().figures
    assert [figure.is_met for figure in figures if figure.target] == [True] * 5


@pytest.mark.slow
def test_each_client_has_each_line_and_the_stalled_one_is_closed():
    """In both kinds of rounds, at a small scale."""
    rounds = sockets.run_rounds(
        4, rounds=1, pace_seconds=0.0, stall_seconds=0.0, report=lambda _: None
    )
    for kind, is_stalled in zip(asyncio.run(rounds), (False, True), strict=True):
        (ended,) = kind
        assert (ended.wrong, len(ended.waits)) == (0, 4 * sockets.LINES)
        assert all(wait > 0 for wait in ended.waits)
        assert ended.closed is None or ended.closed[0] == 4429
        assert (ended.closed is not None) is is_stalled


def test_a_small_crowd_uses_full_requests():
    """One intent, and one request for each full list of a model."""
    day = asyncio.run(scale._day(50, 2, reads_memory=True))
    assert day.requests == [1 + 5, 1 + 5]
    assert day.delivered == day.published == 100
