"""One run with everything that load can do to a call, and its strict replays.

64 users ask over HTTP, with rate limits, breakers, a second endpoint, batches, hedges and equal
calls; both services fail a part of their requests and one is dead for the first calls. All of it
is recorded. The replays ask the same at other concurrency and in other orders: nothing may be
sent, and each user's rows and replies have to be the same bytes.
"""

import asyncio
import json
import random
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.figures import Figure, Measured
from benchmarks.load.asking import MODEL, PRICES, ROOMY
from benchmarks.load.service import running_service
from callwise.budget import Budgeter, LedgerRow, ScopeKind
from callwise.budget.clock import VirtualClock
from callwise.calls import Call, Endpoint, Message, Purpose, Reply, Role, Sampling
from callwise.calls.client import OfflineClient
from callwise.calls.errors import CallError
from callwise.calls.load.batch_knobs import BatchKnobs
from callwise.calls.load.breaker_knobs import BreakerKnobs
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.rate_limits import RateLimits
from callwise.calls.load.route_knobs import RouteKnobs
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.calls.openai_http import OpenAIClient
from callwise.calls.retry import RetryPolicy
from callwise.recordings import Cassette, CassetteMode, open_cassette
from callwise.simulator import SimulatedSettings
from callwise.simulator.service_limits import SimulatedLimits

__all__ = ["measure"]

USERS, TURNS, CALLS = 64, 2, 5
CONCURRENCY = (1, 8, 64)
ORDERS = 20
LIMITS = SimulatedLimits(requests_per_minute=6_000, burst_seconds=1.0)
FAULTS: Mapping[str, Any] = {
    "real_time_scale": 0.05,
    "error_rate_429": 0.03,
    "timeout_rate": 0.02,
    "limits": LIMITS,
}
LOAD = LoadKnobs(
    schedule=ScheduleKnobs(max_concurrency=32, max_tasks=64),
    rate=RateLimits(requests_per_minute=6_000, burst_seconds=1.0),
    batch=BatchKnobs(chat_path="/chat/completions/batch"),
    breaker=BreakerKnobs(min_attempts=5, open_seconds=0.3),
    route=RouteKnobs(policy="least_busy", hedge_seconds=0.05, hedge_share=0.5),
)


class Replayed(NamedTuple):
    """One replay: the bytes of each user, and what was sent."""

    by_user: Mapping[str, str]
    sent: int


def _calls(user: int, turn: int) -> list[Call]:
    """Return the calls of one turn: chat, equal calls of all users, a stream, texts to embed."""
    about = f"user {user} in turn {turn}"
    chat = [
        Call(
            Role.MAIN,
            purpose,
            (Message("system", "You are a bookseller."), Message("user", f"{purpose} {about}")),
            sampling=Sampling(temperature=0.7, max_tokens=40),
            timeout_seconds=2.0,
            stream=purpose is Purpose.PLAN,
        )
        for purpose in (Purpose.DETECT, Purpose.PLAN, Purpose.EVOLVE)
    ]
    common = Call(
        Role.MAIN,
        Purpose.CHECK,
        (Message("user", f"What is open in turn {turn}?"),),
        sampling=Sampling(temperature=0.0, max_tokens=20),
        timeout_seconds=2.0,
    )
    texts = Call(Role.EMBED, Purpose.EMBED, inputs=(about, "the harbour"), timeout_seconds=2.0)
    return [*chat, common, texts]


async def _user(budgeter: Budgeter, number: int, order: random.Random | None) -> list[str]:
    """Ask the turns of one user, each turn's calls in one round; an order shuffles them."""
    said: list[str] = []
    with budgeter.scope(ScopeKind.CONVERSATION, f"user {number}"):
        for turn in range(TURNS):
            calls = dict(enumerate(_calls(number, turn)))
            places = list(calls)
            if order is not None:
                order.shuffle(places)
                for _ in range(order.randrange(60)):
                    await asyncio.sleep(0)
            with budgeter.scope(ScopeKind.TURN, str(turn)):
                answers = await budgeter.ask_all([calls[place] for place in places])
            by_place = sorted(zip(places, answers, strict=True), key=lambda each: each[0])
            said += [_text(answer) for _, answer in by_place]
    return said


def _text(answer: Reply | CallError) -> str:
    if isinstance(answer, CallError):
        return f"{type(answer).__name__}: {answer}"
    return answer.text or repr(answer.vectors)


async def _asked(
    budgeter: Budgeter, concurrency: int, order: random.Random | None = None
) -> dict[int, list[str]]:
    """Return what each user was answered."""
    gate = asyncio.Semaphore(concurrency)
    numbers = list(range(USERS))
    if order is not None:
        order.shuffle(numbers)

    async def one(number: int) -> tuple[int, list[str]]:
        async with gate:
            return number, await _user(budgeter, number, order)

    return dict(await asyncio.gather(*map(one, numbers)))


def _bytes(said: Mapping[int, list[str]], rows: Mapping[str, list[LedgerRow]]) -> dict[str, str]:
    """Return replies and rows of each user as text, the rows ordered as the calls are."""
    texts = {}
    for number, answers in said.items():
        name = f"user {number}"
        documents = [row.as_dict() for row in rows[name]]
        for document in documents:
            del document["sequence"]  # the order of asking, over all users
        documents.sort(key=lambda document: (document["turn"], document["key"]))
        lines = [json.dumps(document, sort_keys=True, default=str) for document in documents]
        texts[name] = json.dumps([answers, lines])
    return texts


class _ByUser(dict[str, list[LedgerRow]]):
    """A sink that keeps rows by conversation."""

    def __call__(self, row: LedgerRow) -> None:
        self.setdefault(row.conversation or "", []).append(row)


async def _record(path: Path) -> tuple[Counter[str], dict[int, list[str]], int, int]:
    """Return what happened in the run, its answers, and requests by ledger and by the logs."""
    settings = [SimulatedSettings(seed=seed, **FAULTS) for seed in (1, 2)]
    settings[0] = settings[0].model_copy(update={"error_rate_500": 0.4})
    async with running_service(settings[0]) as first, running_service(settings[1]) as second:
        clients = [OpenAIClient(service.base_url) for service in (first, second)]
        rows = _ByUser()
        with open_cassette(path, CassetteMode.NEW_EPISODES) as cassette:
            budgeter = Budgeter(
                _endpoints(*clients),
                limits=ROOMY,
                retry=RetryPolicy(first_wait_seconds=0.05, max_wait_seconds=0.5),
                recorder=cassette,
                sinks=(rows,),
                load=LOAD,
            )
            await budgeter.prepare()
            said = await _asked(budgeter, USERS)
            budgeter.ledger.check()
            statistics = budgeter.statistics()
            requests = budgeter.ledger.counts().requests
            received = len(await first.log()) + len(await second.log())
            await budgeter.aclose()
    deliveries = [row.delivery for each in rows.values() for row in each]
    happened = Counter(
        {
            "calls": len(deliveries),
            "in batches": sum(delivery.batch_size > 1 for delivery in deliveries),
            "served elsewhere": sum(bool(delivery.endpoint) for delivery in deliveries),
            "hedged": sum(delivery.hedges > 0 for delivery in deliveries),
            "trips": int(statistics["route"]["trips"]),
            "retries": int(statistics["retry"]["retries"]),
            "coalesced": int(statistics["share"]["joined"]),
            "refused by a service": int(statistics["schedule"].get("rate_refused", 0)),
        }
    )
    return happened, said, requests, received


def _endpoints(*clients: Any) -> dict[Role, Endpoint]:
    names = ("first", "second")
    chat = [Endpoint(n, MODEL, c, PRICES) for n, c in zip(names, clients, strict=True)]
    embed = [Endpoint(n, "embed", c, PRICES) for n, c in zip(names, clients, strict=True)]
    return {
        role: Endpoint("first", asked.model, asked.client, PRICES, alternatives=(other,))
        for role, (asked, other) in ((Role.MAIN, chat), (Role.EMBED, embed))
    }


async def _replay(cassette: Cassette, concurrency: int, order: random.Random | None) -> Replayed:
    rows = _ByUser()
    budgeter = Budgeter(
        _endpoints(OfflineClient(), OfflineClient()),
        clock=VirtualClock(),
        limits=ROOMY,
        recorder=cassette,
        sinks=(rows,),
        load=LOAD,
    )
    said = await _asked(budgeter, concurrency, order)
    budgeter.ledger.check()
    sent = budgeter.ledger.counts().sent
    await budgeter.aclose()
    return Replayed(_bytes(said, rows), sent)


def _replays(path: Path) -> list[Replayed]:
    """Return a replay at each concurrency, and one in each shuffled order."""
    plans: list[tuple[int, random.Random | None]] = [(each, None) for each in CONCURRENCY]
    plans += [(USERS, random.Random(seed)) for seed in range(ORDERS)]
    replays = []
    for concurrency, order in plans:
        with open_cassette(path, CassetteMode.STRICT) as cassette:
            replays.append(asyncio.run(_replay(cassette, concurrency, order)))
    return replays


def measure() -> Measured:
    """Return what happened in the run, and how far its replays differ."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.jsonl"
        happened, said, requests, received = asyncio.run(_record(path))
        replays = _replays(path)
    first = replays[0].by_user
    differing = sum(replay.by_user != first for replay in replays)
    answers = {f"user {number}": answers for number, answers in said.items()}
    replies = sum(json.loads(first[name])[0] != answers[name] for name in answers)
    facts = ", ".join(f"{count} {name}" for name, count in happened.items())
    return Measured(
        "replay",
        [
            Figure(
                f"strict replays at {', '.join(map(str, CONCURRENCY))} users and in {ORDERS} "
                "shuffled orders: requests sent; replays whose rows or replies differ",
                f"{sum(replay.sent for replay in replays)}; {differing} of {len(replays)}",
                "0; 0",
                not differing and not any(replay.sent for replay in replays),
                note=f"the run: {facts}",
            ),
            Figure(
                f"users of {USERS} whose answers differ from those of the run",
                str(replies),
                "0",
                not replies,
            ),
            Figure(
                "requests of the run in the ledger / in the servers' logs",
                f"{requests:,} / {received:,}",
                "equal",
                requests == received,
            ),
        ],
    )
