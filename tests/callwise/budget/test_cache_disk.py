"""The exact cache on disk: it outlives the process, and never reads a pickle."""

import asyncio
import os
import pickle
import sqlite3
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.budget.cache_disk import MAX_FAILURES, DiskCache, open_store
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


class Planted:
    """An object whose pickle makes a folder as it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


async def test_a_planted_pickle_is_never_loaded(tmp_path):
    """A pickle that someone put into the database is refused unread, and is a miss."""
    cache = DiskCache(tmp_path)
    await cache.put(KEY, WHOLE)
    await cache.aclose()
    bomb = pickle.dumps(Planted(tmp_path / "loaded"))
    with sqlite3.connect(tmp_path / "cache.db") as database:
        database.execute("UPDATE Cache SET mode = 4, value = ?", (bomb,))
    database.close()
    reply, statistics = await reopened(tmp_path)
    assert (reply, statistics.failed_reads) == (None, 1)
    assert not (tmp_path / "loaded").exists()


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
    assert cache.statistics()[:2] == (1, 0), "it is tried once"
    assert "it is not used any more" in caplog.text
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


async def _used(cache, key=KEY):
    """Return what a cache has for a key after it was asked for it, given it, and asked again."""
    before = await cache.get(key)
    await cache.put(key, WHOLE)
    after = await cache.get(key)
    return before and before.reply, after and after.reply


@given(
    damage=st.sampled_from(["cut", "garbage", "bytes", "other"]),
    seed=st.integers(0, 2**32),
    is_open=st.booleans(),
)
@settings(max_examples=15)
def test_a_damaged_database_costs_no_answer_and_is_rebuilt(tmp_path_factory, damage, seed, is_open):
    """Cut, overwritten or changed, under an open cache or before: a miss at most, never another."""
    folder = tmp_path_factory.mktemp("damaged")

    async def main():
        cache = DiskCache(folder)
        await cache.put(KEY, WHOLE)
        if not is_open:
            await cache.aclose()
        _damage(folder / "cache.db", damage, Random(seed))
        before, _ = await _used(cache)
        assert before in (None, WHOLE)
        await cache.aclose()
        before, after = await _used(cache)
        statistics = cache.statistics()
        await cache.aclose()
        assert before in (None, WHOLE)
        assert after == WHOLE or not statistics.is_written or not statistics.is_read
        if damage == "garbage" and not is_open:
            assert (after, statistics.rebuilds) == (WHOLE, 1)

    asyncio.run(main())


def _damage(path, damage, draw):
    data = bytearray(path.read_bytes())
    if damage == "cut":
        del data[draw.randrange(len(data)) :]
    elif damage == "garbage":
        data[:] = draw.randbytes(len(data))
    elif damage == "bytes":
        for _ in range(50):
            data[draw.randrange(len(data))] = draw.randrange(256)
    else:
        data[:] = b"another file"
    path.write_bytes(bytes(data))


async def test_a_rebuilt_database_is_named_in_the_log_once_and_kept(tmp_path, caplog):
    """Several processes on one folder rebuild it once."""
    first, second = DiskCache(tmp_path), DiskCache(tmp_path)
    await first.put(KEY, WHOLE)
    await first.aclose()
    (tmp_path / "cache.db").write_bytes(b"no database" * 1000)
    assert await first.get(KEY) is None
    assert (await _used(second))[1] == WHOLE
    assert (await first.get(KEY)).reply == WHOLE
    assert (tmp_path / "cache.db.damaged").read_bytes() == b"no database" * 1000
    assert first.statistics().rebuilds + second.statistics().rebuilds == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "put aside, and the cache begins empty" in caplog.text
    await first.aclose()
    await second.aclose()


@pytest.mark.parametrize("pragma", ["query_only", "max_page_count"])
async def test_a_disk_that_takes_nothing_is_still_read(tmp_path, caplog, pragma):
    """Read-only or full: a few writes are tried, with one warning and one that they end."""
    filled = DiskCache(tmp_path)
    await filled.put(KEY, WHOLE)
    await filled.aclose()

    def opened(folder, max_bytes):
        store = open_store(folder, max_bytes)
        store.reset(f"sqlite_{pragma}", 1, update=False)
        return store

    cache = DiskCache(tmp_path, opened=opened)
    long = replace(WHOLE, text="no page is left for it " * 1000)
    for number in range(10):
        await cache.put(CallKey(f"{number:064}"), long)
        assert (await cache.get(KEY)).reply == WHOLE
    statistics = cache.statistics()
    assert statistics.failed_writes == MAX_FAILURES
    assert (statistics.is_read, statistics.is_written, statistics.failed_reads) == (True, False, 0)
    assert len(caplog.records) == 2
    assert "nothing is written to it any more" in caplog.text
    await cache.aclose()


async def test_a_folder_that_cannot_be_opened_is_tried_once(tmp_path, caplog):
    """Every later call goes on without it."""
    (tmp_path / "file").write_text("no folder")
    cache = DiskCache(tmp_path / "file")
    for _ in range(5):
        assert await _used(cache) == (None, None)
    assert sum(cache.statistics()[:2]) == 1
    [record] = caplog.records
    assert record.message.endswith("it is not used any more")
    await cache.aclose()
