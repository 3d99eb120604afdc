"""Planted secrets of 10,000 agents, with all caches on: on the wire, in retrieval, in replies.

Three days of one server in another process, which writes down each conversation, and of one cache
of two tiers, memory and disk. Every call may share an answer, as at temperature 0: in a run of
`callwise wake` embeddings do, and replies do not.

1. Two hours of equal chat, with messages that mention agents during the second one; then the
   messages of both are delivered, and a third hour reads them.
2. The first hour again in an empty store: the cache answers.
3. The first hour again, in an empty store, with the memories of the agents exchanged.
"""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.figures import Figure, Measured
from benchmarks.load.service import running_service
from benchmarks.wake.crowd import EVERYONE, HOUR, PRICES, START
from benchmarks.wake.planted import QUESTION, Planted, Verdict, planted
from benchmarks.wake.witness import PROGRAM, received_after
from callwise.budget import Budgeter
from callwise.budget.cache_disk import DiskCache
from callwise.budget.cache_tiers import TieredCache
from callwise.budget.clock import SystemClock
from callwise.budget.layers.cache import MemoryCache
from callwise.calls import Call, Endpoint, Reply, Role
from callwise.calls.openai_http import OpenAIClient
from callwise.wake import WakeKnobs, WakeReport, WakeService, WakeStore

__all__ = ["measure"]

AGENTS, MODELS = 10_000, 5
MENTIONS = 200
KEPT_BYTES = 8 * 2**20
"""Of notes in memory: a fraction, so that they are dropped and read again."""
KNOBS = WakeKnobs(
    retrieval="both", delay_seconds=(40_000.0, 80_000.0), chat_limit=8, start_credits=100
)
"""Messages come after the second hour, so that no secret is public before."""
DELIVERED_HOUR = 25


class _Sharing(Budgeter):
    """A budgeter whose every call may have the answer to an equal one."""

    async def ask(self, call: Call) -> Reply:
        return await super().ask(replace(call, share=True))


@dataclass
class _Seen:
    """Results of all days.

    Args:
        verdicts: of the agents as they were planted, and with exchanged memories.
        expected: replies that must have been published.
        hits: of the cache, by tier and purpose; `coalesced` are calls that joined an equal one.
        differing: replies of the second day that differ from those of the first.
    """

    verdicts: tuple[Verdict, Verdict]
    expected: int = 0
    hits: Counter[str] = field(default_factory=Counter)
    coalesced: int = 0
    again: int = 0
    differing: int = 0

    @property
    def crossings(self) -> Counter[str]:
        """Crossings by place."""
        return self.verdicts[0].crossings + self.verdicts[1].crossings

    def total(self, name: str) -> int:
        """Return a count of both verdicts."""
        return sum(int(getattr(each, name)) for each in self.verdicts)


class _Day:
    """A store that is empty but for the planted notes, its budgeter and its service.

    Args:
        folder: has the files of cache, store and server.
    """

    def __init__(self, folder: Path, base_url: str, of: Planted, verdict: Verdict) -> None:
        self._path = Path(tempfile.mkdtemp(dir=folder)) / "wake.sqlite"
        self._written = folder / "received.jsonl"
        self._offset = self._written.stat().st_size
        self._verdict, self._of = verdict, of
        self.now = START
        self.store = WakeStore(self._path, max_kept_bytes=KEPT_BYTES)
        of.fill(self.store, at=START - HOUR)
        for number, text in enumerate(("Who is up?", QUESTION)):
            self.store.rooms.say("main", "Mia", text, id=f"line{number}", at=START - 60 + number)
        names = [f"m{number}" for number in range(MODELS)]
        served = {
            name: Endpoint(name, name, OpenAIClient(base_url), PRICES)
            for name in (*names, "embed", "fast")
        }
        endpoints = {**served, str(Role.EMBED): served["embed"], str(Role.FAST): served["fast"]}
        clock = SystemClock()
        cache = TieredCache([MemoryCache(clock=clock), DiskCache(folder / "cache")])
        self.budgeter = _Sharing(endpoints, clock=clock, cache=cache, load=KNOBS.load())
        self.service = WakeService(
            of.agents, self.store, self.budgeter, KNOBS, wall=lambda: self.now
        )

    async def wake(self, hour: int) -> WakeReport:
        """Wake all agents at an hour."""
        self.now = START + hour * HOUR
        return await self.service.wake(self.now)

    async def mention(self, count: int) -> list[WakeReport]:
        """Mention agents whose ids are beginnings of one another, by id or as the one it is for."""
        reports = []
        for number in range(count):
            agent = self._of.agents[number % len(self._of.agents)]
            text = f"and you, what is the word of number {number}?"
            to = agent.id
            if agent.id.isalnum():
                text, to = f"@{agent.id} {text}", ""
            self._verdict.addressed[text] = agent.id
            report = await self.service.say("Mia", text, id=f"m{number}", to=to)
            if report is None:
                raise RuntimeError(f"{text!r} has woken none")
            reports.append(report)
        return reports

    def check(self, reports: Sequence[WakeReport]) -> None:
        """Check what the server has received since the check before, and what came of it."""
        received, self._offset = received_after(self._written, self._offset)
        self._verdict.check(self.store, self._path, received, reports)

    async def end(self, seen: _Seen, *, searches: bool) -> None:
        """Check the store, add up the hits, and close."""
        self._verdict.check_store(self.store, self._path, searches=searches)
        statistics = self.budgeter.statistics()
        seen.hits.update(
            {name: int(n) for name, n in statistics["cache"].items() if "_hits_" in name}
        )
        seen.coalesced += int(statistics["share"]["joined"])
        self.budgeter.ledger.check()
        await self.budgeter.aclose()
        self.store.close()


async def _seen(count: int) -> _Seen:
    agents, exchanged = (planted(count, models=MODELS, shift=shift) for shift in (0, 1))
    seen = _Seen((Verdict(agents), Verdict(exchanged)))
    mentions = min(MENTIONS, count)
    with tempfile.TemporaryDirectory(prefix="callwise-") as name:
        folder = Path(name)
        (folder / "received.jsonl").touch()
        program = (PROGRAM, str(folder / "received.jsonl"))
        async with running_service(EVERYONE, program=program) as server:
            day = _Day(folder, server.base_url, agents, seen.verdicts[0])
            first = await day.wake(0)
            day.check([first])
            second, mentioned = await asyncio.gather(day.wake(1), day.mention(mentions))
            day.check([second, *mentioned])
            day.check([await day.wake(DELIVERED_HOUR)])
            await day.end(seen, searches=True)

            day = _Day(folder, server.base_url, agents, seen.verdicts[0])
            again = await day.wake(0)
            day.check([again])
            await day.end(seen, searches=False)
            texts = {each.agent: each.text for each in first.replies}
            seen.again = len(again.replies)
            seen.differing = sum(texts[each.agent] != each.text for each in again.replies)

            day = _Day(folder, server.base_url, exchanged, seen.verdicts[1])
            day.check([await day.wake(0)])
            await day.end(seen, searches=True)
    seen.expected = 5 * count + mentions
    return seen


def _figures(count: int, seen: _Seen) -> Iterator[Figure]:
    crossings, hits = seen.crossings, seen.hits

    def found(*places: str) -> int:
        return sum(crossings[place] for place in places)

    def checked(what: str, numbers: str, *places: str) -> Figure:
        total = found(*places)
        return Figure(f"{what}, and crossings in them", f"{numbers}, {total}", "0", total == 0)

    of = seen.verdicts[0].agents & seen.verdicts[1].agents
    yield checked(
        f"conversations of {len(of):,} agents as the server has received them, and intents",
        f"{seen.total('prompts'):,} and {seen.total('intents')}",
        "prompts",
    )
    yield checked("texts to embed", f"{seen.total('texts'):,}", "texts to embed")
    yield checked("searches in an agent's notes", f"{seen.total('searches'):,}", "retrieval")
    yield checked(
        "stored notes with their vectors",
        f"{seen.total('notes'):,}",
        "stored notes",
        "stored vectors",
    )
    yield checked(
        "replies, and messages of agents in the log",
        f"{seen.total('replies'):,} and {seen.total('messages'):,}",
        "replies",
        "the log",
    )
    yield Figure(
        "replies that were published, of those that had to be; agents that were asked",
        f"{seen.total('replies'):,} of {seen.expected:,}; {len(of):,} of {count:,}",
        "all",
        (seen.total("replies"), len(of)) == (seen.expected, count),
    )
    embedded = {tier: hits[f"{tier}_hits_embed"] for tier in ("memory", "disk")}
    replied = {tier: hits[f"{tier}_hits_other"] for tier in ("memory", "disk")}
    yield Figure(
        "answers from the cache, from memory and from disk: embeddings; replies",
        f"{embedded['memory']:,} and {embedded['disk']:,}; "
        f"{replied['memory']:,} and {replied['disk']:,}",
        "> 0",
        min(embedded["memory"], embedded["disk"], replied["disk"]) > 0,
        note="secrets: ids are beginnings of one another, names equal up to case or Unicode, "
        "personas equal but for the secret at their end; secrets are other agents' ids or equal "
        "up to case, Unicode or their last sign. Two ids that differ in case alone are refused. "
        "There is no tier that answers similar calls",
    )
    yield Figure("calls that joined an equal one under way", f"{seen.coalesced:,}")
    yield Figure(
        "replies from the cache in an empty store that differ from the agent's own",
        f"{seen.differing} of {seen.again:,}",
        "0",
        seen.differing == 0 and seen.again == count,
    )
    for example in [text for each in seen.verdicts for text in each.examples]:
        yield Figure("a crossing", example.replace("\n", " "), "", is_met=None)


def measure(count: int = AGENTS) -> Measured:
    """Return what was checked, and the crossings."""
    return Measured("secrets", [*_figures(count, asyncio.run(_seen(count)))])
