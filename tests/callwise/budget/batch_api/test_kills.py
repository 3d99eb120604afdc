"""A client of a batch interface may be killed at any point: each line is bought once."""

import pytest

from tests.callwise.budget.batch_api.kills import count_points, run_killed, spread
from tests.callwise.budget.batch_api.provider import BatchProvider


async def _check_kills(tmp_path, *, api: str, lines: int, max_lines: int, kills: int) -> None:
    """Kill a client at so many points, each with another queue and provider."""
    settings = {"api": api, "lines": lines, "max_lines": max_lines}
    provider = BatchProvider()
    await provider.start()
    points = await count_points(provider, tmp_path / "whole.sqlite", **settings)
    await provider.stop()
    fatal_points = spread(points, kills)
    was_killed = 0
    for fatal in fatal_points:
        provider = BatchProvider()
        await provider.start()
        try:
            file = tmp_path / f"{fatal}.sqlite"
            report = await run_killed(provider, file, fatal=fatal, **settings)
        finally:
            await provider.stop()
        was_killed += report.was_killed
        questions = [f"q{number}" for number in range(lines)]
        assert report.answers == {each: f"echo {each}" for each in questions}, fatal
        assert provider.bought == dict.fromkeys(questions, 1), fatal
    # The number of groups in which calls are accepted differs a little from run to run.
    assert was_killed >= len(fatal_points) - 2


@pytest.mark.parametrize(("api", "fatal"), [("openai", 13), ("openrouter", 11)])
async def test_a_batch_whose_creator_was_killed_is_found(tmp_path, api, fatal):
    """The point is between the answer that has the batch's id, and its note on disk."""
    provider = BatchProvider()
    await provider.start()
    report = await run_killed(provider, tmp_path / "queue.sqlite", api=api, lines=12, fatal=fatal)
    await provider.stop()
    assert report.was_killed
    assert provider.log.count("POST /batches") == 1
    assert provider.log.count("GET /batches") == 2, "the newest before it, and the search for it"
    assert report.answers == {f"q{number}": f"echo q{number}" for number in range(12)}
    assert set(provider.bought.values()) == {1}


@pytest.mark.slow
@pytest.mark.parametrize("api", ["openai", "openrouter"])
async def test_fifty_kills_over_ten_thousand_lines_buy_each_line_once(tmp_path, api):
    """All of submit, poll and fetch."""
    await _check_kills(tmp_path, api=api, lines=10_000, max_lines=2_500, kills=50)
