"""The exact cache on disk: it outlives the process, and never reads a pickle."""

import asyncio
import pickle
import sqlite3
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.budget.cache_disk import DiskCache
from callwise.budget.cache_document import document_of_reply, reply_of_document
from callwise.budget.cache_tiers import TieredCache
from callwise.budget.layers.cache import MemoryCache
from callwise.calls import CallKey, Outcome, Reply, ReportedUsage
from callwise.calls.reply import TokenLogprobs

KEY = CallKey("ab" * 32)
WHOLE = Reply(
    "你好 🙂 \ud800",
    choices=("a", "b"),
    vectors=((0.1, -2.5),),
    tool_calls=({"id": "1", "function": {"name": "f", "arguments": "{}"}},),
    usage=ReportedUsage(3, 4, 1, 0.25),
    model="m",
    finish_reason="stop",
    latency_seconds=1.5,
    chunks=("你", "好"),
    is_simulated=True,
)


DOUBTFUL = replace(WHOLE, token_logprobs=(TokenLogprobs("7", -0.5, (("8", -1.0),)),))


async def reopened(folder, key=KEY):
    """Return what a new cache on the folder has for a key."""
    cache = DiskCache(folder)
    try:
        kept = await cache.get(key)
        return None if kept is None else kept.reply, cache.statistics()
    finally:
        await cache.aclose()


async def test_a_reply_comes_back_whole_in_another_process(tmp_path):
    """Every field of a reply survives, lone surrogates included."""
    cache = DiskCache(tmp_path / "cache")
    assert await cache.get(KEY) is None
    await cache.put(KEY, WHOLE)
    assert (await cache.get(KEY)).reply == WHOLE
    await cache.aclose()
    await cache.aclose()
    assert (await reopened(tmp_path / "cache"))[0] == WHOLE


async def test_logprobs_come_back_from_disk(tmp_path):
    """And a reply without any is written as it was before there were any."""
    cache = DiskCache(tmp_path / "cache")
    await cache.put(KEY, DOUBTFUL)
    await cache.aclose()
    assert (await reopened(tmp_path / "cache"))[0] == DOUBTFUL
    assert "token_logprobs" not in document_of_reply(WHOLE)


async def test_a_budgeter_serves_from_disk(tmp_path, make_budgeter, ask_for):
    """A second run pays nothing for what the first run paid."""
    for expected in (Outcome.SERVED, Outcome.CACHED):
        budgeter = make_budgeter(cache=DiskCache(tmp_path))
        replies = await asyncio.gather(*(budgeter.ask(ask_for()) for _ in range(3)))
        await budgeter.aclose()
        assert {reply.text for reply in replies} == {"echo hi"}
        assert expected in {row.outcome for row in budgeter.ledger.rows}
        assert sum(row.requests for row in budgeter.ledger.rows) == (expected is Outcome.SERVED)


async def test_a_planted_pickle_is_never_loaded(tmp_path):
    """A pickle that someone put into the database is refused unread, and is a miss."""
    cache = DiskCache(tmp_path)
    await cache.put(KEY, WHOLE)
    await cache.aclose()
    bomb = pickle.dumps(print)
    with sqlite3.connect(tmp_path / "cache.db") as database:
        database.execute("UPDATE Cache SET mode = 4, value = ?", (bomb,))
    database.close()
    reply, statistics = await reopened(tmp_path)
    assert (reply, statistics.failed_reads) == (None, 1)


async def test_a_damaged_entry_is_a_miss(tmp_path):
    """A reply that cannot be read is counted, logged and asked for again."""
    cache = DiskCache(tmp_path)
    await cache.put(KEY, WHOLE)
    await cache.aclose()
    with sqlite3.connect(tmp_path / "cache.db") as database:
        database.execute("UPDATE Cache SET value = ?", (b"not zlib",))
    database.close()
    reply, statistics = await reopened(tmp_path)
    assert (reply, statistics.failed_reads) == (None, 1)


async def test_a_folder_that_cannot_be_made_costs_no_answer(
    tmp_path, make_budgeter, ask_for, caplog
):
    """An answer that was paid for reaches its caller though it cannot be kept."""
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    cache = DiskCache(blocked / "cache")
    budgeter = make_budgeter(cache=TieredCache([MemoryCache(1), cache]))
    assert (await budgeter.ask(ask_for())).text == "echo hi"
    assert cache.statistics().failed_writes == 1
    assert "cannot write to the cache" in caplog.text
    await budgeter.aclose()


@pytest.mark.parametrize("document", [{}, {"text": "x"}, {"usage": 3}])
def test_something_else_is_no_reply(document):
    """A document that is no reply is a ValueError, not a crash elsewhere."""
    with pytest.raises(ValueError, match="not a reply"):
        reply_of_document(document)


@settings(deadline=None)
@given(st.text(), st.lists(st.text(), max_size=3), st.none() | st.integers(0, 10**6))
def test_a_reply_is_its_document(text, choices, tokens):
    """Encoding and decoding cancel."""
    reply = Reply(text, choices=tuple(choices), usage=ReportedUsage(tokens, tokens))
    assert reply_of_document(document_of_reply(reply)) == reply
