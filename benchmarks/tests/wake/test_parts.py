"""Parts of the page of awake agents, and the small ones measured."""

import asyncio

from benchmarks.wake import __main__ as command
from benchmarks.wake import scale, variants


def test_each_part_has_a_module_with_a_measurement():
    """Every name of the list can be run."""
    for name in command.PARTS:
        path = command.RESULTS.parent / "wake" / f"{name}.py"
        assert "def measure(" in path.read_text(encoding="utf-8"), name


def test_the_variants_reach_their_figures():
    """Requests of the batched day, and equal prompts and messages without batch."""
    figures = variants.measure().figures
    assert [figure.is_met for figure in figures if figure.target] == [True] * 4


def test_a_small_crowd_uses_full_requests():
    """One intent, and one request for each full list of a model."""
    day = asyncio.run(scale._day(50, 2))
    assert day.requests == [1 + 5, 1 + 5]
    assert day.delivered == day.published == 100
