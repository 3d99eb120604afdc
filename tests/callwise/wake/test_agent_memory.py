"""The contract of memories: SQLite, LangGraph's store in memory, and Postgres, alike."""

import asyncio
import itertools
import threading
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.store.base import BaseStore, SearchItem
from langgraph.store.memory import InMemoryStore
from pydantic import ValidationError

from callwise.budget.virtual_time import run_in_virtual_time
from callwise.calls.errors import ConfigError
from callwise.memory.memory_errors import StoreFailed
from callwise.wake import WakeStore
from callwise.wake.agent_memory import StoredNotes
from callwise.wake.langgraph_memory import MAX_RANKED_NOTES, LangGraphMemory
from callwise.wake.memory_stores import MEMORY_URL, MemoryKnobs, opened_memory

_NUMBERS = itertools.count()

KINDS = ("sqlite", "in memory", "postgres", "postgres blocking")


def fresh_namespace():
    """Return a namespace that no other test uses."""
    return ("test", f"n{next(_NUMBERS)}")


@asynccontextmanager
async def memory_of(kind, request):
    """Open an empty memory."""
    if kind == "sqlite":
        with WakeStore(":memory:") as store:
            yield StoredNotes(store.notes)
    elif kind.startswith("in memory"):
        yield LangGraphMemory(InMemoryStore(), blocks_loop=kind.endswith("blocking"))
    else:
        server = request.getfixturevalue("postgres")
        knobs = MemoryKnobs(backend="postgres", namespace=fresh_namespace())
        is_virtual = kind == "postgres blocking"
        async with opened_memory(knobs, {MEMORY_URL: server.url}, is_virtual=is_virtual) as opened:
            yield opened


@pytest.fixture(params=KINDS)
async def memory(request):
    """Return an empty memory of each kind."""
    async with memory_of(request.param, request) as opened:
        yield opened


async def test_a_new_agent_has_no_notes(memory):
    """And asking for none is allowed."""
    assert await memory.search("alice", "", limit=5) == []
    await memory.add("alice", ["a"], key="k", at=1.0)
    assert await memory.search("alice", "a", limit=0) == []


async def test_words_rank_and_the_newest_follow(memory):
    """The same order in each memory."""
    texts = ["a red boat", "a cake", "the sea", "another boat", "rain"]
    for number, text in enumerate(texts):
        await memory.add("alice", [text], key=f"k{number}", at=float(number))
    assert await memory.search("alice", "boat", limit=3) == ["another boat", "a red boat", "rain"]
    assert await memory.search("alice", "", limit=2) == ["rain", "another boat"]


async def test_notes_of_one_key_are_added_once(memory):
    """Whole, in their order, however often; another agent's same key is another one."""
    for _ in range(3):
        await memory.add("alice", ["one", "two"], key="main:5:alice", at=5.0)
    await memory.add("bob", ["three"], key="main:5:alice", at=5.0)
    await memory.add("alice", [], key="empty", at=5.0)
    assert await memory.search("alice", "", limit=9) == ["two", "one"]
    assert await memory.search("bob", "", limit=9) == ["three"]


async def test_odd_texts_are_kept(memory):
    """Half an emoji and a null character do not end a wake; what a database refuses is replaced."""
    odd = [
        "half \ud83d of it",
        "null \x00 character",
        "'; DROP TABLE store; --",
        "值😀\u202e",
        "%s",
    ]
    await memory.add("alice", odd, key="k", at=1.0)
    found = await memory.search("alice", "half \ud83d\x00'\"%", limit=9)
    shown = [text.replace("\ud83d", "\ufffd").replace("\x00", "\ufffd") for text in odd]
    kept = sorted(text.replace("\ud83d", "\ufffd").replace("\x00", "\ufffd") for text in found)
    assert kept == sorted(shown)


@pytest.mark.parametrize("agent", ["", "x" * 1001])
async def test_names_that_cannot_be_are_refused(memory, agent):
    """With our error, before anything is written."""
    with pytest.raises(ConfigError):
        await memory.add(agent, ["a"], key="k", at=1.0)
    with pytest.raises(ConfigError):
        await memory.search(agent, "", limit=1)
    with pytest.raises(ConfigError):
        await memory.search("alice", "", limit=-1)
    with pytest.raises(ConfigError):
        await memory.add("alice", ["a"], key=agent, at=1.0)
    with pytest.raises(ConfigError):
        await memory.add("alice", ["a"], key="k", at=float("nan"))


AGENTS = st.from_regex(r"[abA._-]{1,4}", fullmatch=True)


@pytest.mark.parametrize("kind", ["in memory blocking", "postgres blocking"])
@given(agents=st.lists(AGENTS, min_size=2, max_size=5, unique_by=str.casefold))
def test_no_agent_finds_the_note_of_another(request, kind, agents):
    """Ids with dots, ids that begin with others, and ids of the signs that labels are made of."""

    async def main():
        async with memory_of(kind, request) as memory:
            for agent in agents:
                await memory.add(agent, [f"secret {agent}"], key="the same", at=1.0)
            for agent in agents:
                assert await memory.search(agent, "secret", limit=99) == [f"secret {agent}"]

    run_in_virtual_time(main())


@pytest.mark.parametrize("agent", ["a/b", "alice ", "alice\n", "аlice", "a b", "a\x00", "é"])
async def test_other_signs_than_those_of_ids_are_refused(agent):
    """So a look-alike of another alphabet is no agent."""
    memory = LangGraphMemory(InMemoryStore())
    with pytest.raises(ConfigError, match="use 1 to 64 letters"):
        await memory.add(agent, ["a"], key="k", at=1.0)


@pytest.mark.parametrize("prefix", [(), ("langgraph", "a"), ("a.b",), ("",)])
def test_a_prefix_that_is_no_namespace_is_refused(prefix):
    """When the memory is made."""
    with pytest.raises(ConfigError, match="namespace of agents' notes"):
        LangGraphMemory(InMemoryStore(), prefix=prefix)


@pytest.mark.parametrize("namespace", [[], ["a.b"], ["a-b"], ["a\n"], ["a"] * 9, "notes"])
def test_a_namespace_of_settings_that_cannot_be_is_refused(namespace):
    """Before a server is asked."""
    with pytest.raises(ValidationError):
        MemoryKnobs(namespace=namespace)


class TextPrefixStore(InMemoryStore):
    """A store that takes a prefix as text, in any order, as Redis does."""

    def batch(self, ops):
        """Answer searches by the text of the prefix."""
        results = []
        for op in ops:
            prefix = getattr(op, "namespace_prefix", None)
            if prefix is None:
                results += super().batch([op])
                continue
            items = [
                SearchItem(namespace, key, item.value, item.created_at, item.updated_at)
                for namespace, known in self._data.items()
                if ".".join(namespace).startswith(".".join(prefix))
                for key, item in reversed(known.items())
            ]
            results.append(items[op.offset : op.offset + op.limit])
        return results


@given(agents=st.lists(AGENTS, min_size=2, max_size=5, unique=True))
def test_a_store_that_takes_a_prefix_as_text_gives_no_note_away(agents):
    """No label is the beginning of another, so its pages are the agent's own as well."""

    async def main():
        store = TextPrefixStore()
        memory = LangGraphMemory(store, blocks_loop=True)
        for agent in agents:
            await memory.add(agent, [f"secret {agent}"], key="k", at=1.0)
        labels = {namespace[-1] for namespace in store._data}
        assert len(labels) == len(agents)
        assert not any(a.startswith(b) for a, b in itertools.permutations(labels, 2))
        for agent in agents:
            assert await memory.search(agent, "", limit=1) == [f"secret {agent}"]

    run_in_virtual_time(main())


FOREIGN = [
    {"other": 1},
    {"text": 5, "at": 1.0},
    {"text": "no time"},
    {"text": "a truth", "at": True},
    {"text": "late", "at": float("inf")},
    {"text": "huge", "at": 10**400},
    {"text": "", "at": 1.0},
    {"text": "long" * 6_000, "at": 1.0},
    {"text": None, "at": "1"},
]


async def test_values_of_another_form_are_left_out_and_counted(caplog):
    """They are no notes, whichever program has written them; one warning for an agent."""
    store = InMemoryStore()
    memory = LangGraphMemory(store)
    await memory.add("alice", ["mine"], key="k", at=1.0)
    namespace = ("callwise", "notes", "alice_e")
    for number, value in enumerate(FOREIGN):
        store.put(namespace, f"odd {number}", value)
    store.put((*namespace, "deeper"), "k", {"text": "below", "at": 2.0})
    store.put(namespace, "theirs", {"text": "by another program", "at": 3})
    for _ in range(2):
        assert await memory.search("alice", "", limit=9) == ["by another program", "mine"]
    assert memory.left_out == 2 * len(FOREIGN)
    assert len(caplog.records) == 1
    assert "9 values in the namespace of agent alice are no notes" in caplog.text


async def test_the_newest_are_ranked_also_in_a_store_that_gives_the_oldest_first():
    """LangGraph's store in memory is one; all pages are read."""
    memory = LangGraphMemory(InMemoryStore())
    count = MAX_RANKED_NOTES + 700
    texts = [f"note {number}" for number in range(count)]
    for first in range(0, count, 100):
        some = texts[first : first + 100]
        await memory.add("alice", some, key=f"k{first:05d}", at=float(first))
    assert await memory.search("alice", "", limit=2) == [texts[-1], texts[-2]]
    assert await memory.search("alice", "note 1650", limit=1) == ["note 1650"]
    assert "note 699" not in await memory.search("alice", "note 699", limit=MAX_RANKED_NOTES)


def _topics(texts):
    return [[float(text.count(topic)) + 0.01 for topic in ("sea", "cake")] for text in texts]


async def test_a_semantic_index_of_the_store_ranks():
    """It is asked with the query; without one the newest are found."""
    store = InMemoryStore(index={"dims": 2, "embed": _topics, "fields": ["text"]})
    memory = LangGraphMemory(store)
    for number, text in enumerate(["cake", "sea sea", "cake cake sea"]):
        await memory.add("alice", [text], key=f"k{number}", at=float(number))
    await memory.add("bob", ["sea"], key="k", at=9.0)
    assert await memory.search("alice", "the sea", limit=2) == ["sea sea", "cake cake sea"]
    assert await memory.search("alice", "", limit=2) == ["cake cake sea", "sea sea"]


class SlowStore(InMemoryStore):
    """A store without asynchronous methods, whose answer waits for the test."""

    def __init__(self):
        super().__init__()
        self.may_answer = threading.Event()
        self.threads = set()
        self.batches = []

    def batch(self, ops):
        """Answer once the test lets it."""
        self.threads.add(threading.current_thread())
        assert self.may_answer.wait(60)
        self.batches.append(len(list(ops)))
        return super().batch(ops)

    async def abatch(self, ops):
        """Fail as a store without asynchronous methods does."""
        raise NotImplementedError


async def test_a_store_without_asynchronous_methods_is_asked_in_a_thread():
    """The loop goes on meanwhile, and agents that ask together travel together."""
    store = SlowStore()
    memory = LangGraphMemory(store, timeout_seconds=60.0)
    asked = [asyncio.create_task(memory.search(f"a{n}", "", limit=1)) for n in range(20)]
    for _ in range(10):
        await asyncio.sleep(0)
    assert not any(task.done() for task in asked)
    store.may_answer.set()
    assert await asyncio.gather(*asked) == [[]] * 20
    assert threading.current_thread() not in store.threads
    assert store.batches == [20]


async def test_a_store_that_does_not_answer_in_time_is_an_error_of_ours():
    """After the time that was given."""
    store = SlowStore()
    memory = LangGraphMemory(store, timeout_seconds=0.01)
    with pytest.raises(StoreFailed, match=r"SlowStore: no answer within 0\.01 s"):
        await memory.search("alice", "", limit=1)
    store.may_answer.set()


class BrokenStore(BaseStore):
    """A store whose error has a password in it, and a line break."""

    def batch(self, ops):
        """Fail."""
        raise RuntimeError("cannot reach redis://me:planted-password@host/0\x1b[2J\nat all")

    async def abatch(self, ops):
        """Fail."""
        raise NotImplementedError


async def test_errors_of_a_store_are_ours_and_have_no_password():
    """In one line, without what a terminal would obey."""
    memory = LangGraphMemory(BrokenStore(), secrets=["planted-password"])
    with pytest.raises(StoreFailed) as caught:
        await memory.add("alice", ["a"], key="k", at=1.0)
    text = str(caught.value)
    assert "BrokenStore: RuntimeError: cannot reach redis://" in text
    assert "planted" not in text
    assert text.isprintable()
    assert caught.value.__cause__ is None
