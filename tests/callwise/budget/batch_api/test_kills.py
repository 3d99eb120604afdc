"""A client of a batch interface may be killed at any point: each line is bought once."""

import pytest

from tests.callwise.budget.batch_api.kills import kill_everywhere, run_killed
from tests.callwise.budget.batch_api.provider import BatchProvider


@pytest.mark.slow
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
async def test_a_client_killed_anywhere_buys_each_line_once(tmp_path, api):
    """All of submit, poll and fetch; `benchmarks/load/batch_kills.py` does so with 10,000 lines."""
    counts = await kill_everywhere(tmp_path, api=api, lines=100, max_lines=30, kills=50)
    assert counts.killed >= 48, "how many groups are accepted differs a little from run to run"
    assert (counts.bought_twice, counts.not_bought, counts.wrong_answers) == (0, 0, 0)
