"""Prompts of agents that begin alike, at a real model's server: what its prompt cache serves.

Nine agents of one model wake for two hours, in the order in which they are listed, and read a chat
of 26 lines; personas, chat and notes are those of shipped files. Prompts, tokens and cache are
real, replies are lines of the same files, so that each variant has the same chat. A llama.cpp
server keeps the tokens of each slot's last prompt, and earlier ones in memory: *cached* are the
tokens at the beginning of a prompt that are equal to those of a prompt that it has.

Tokens are counted with the model cut to two layers, which has the same tokenizer and cache, and are
those of the ledger. Seconds are those of the whole model. `make test-model` installs both.
"""

import asyncio
import json
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from benchmarks.figures import Figure, Measured
from benchmarks.wake.crowd import HOUR, START
from callwise.budget import Budgeter
from callwise.budget.usage import Usage
from callwise.calls import Call, Endpoint, Message, Prices, Reply, Role
from callwise.calls.errors import CallError
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.load.schedule_knobs import ScheduleKnobs
from callwise.calls.openai_http import OpenAIClient
from callwise.shipped import configs_folder
from callwise.wake import Agent, WakeKnobs, WakeService, WakeStore, read_wake_settings
from tests.model.programs import cut_model, environment_reason, model_server
from tests.model.proxy import Proxy

__all__ = ["measure"]

MODEL = "smollm2"
HOURS = 2
SLOTS = 4
CONTEXT_TOKENS = 8192
NORA = "en-0"
"""Agent of the conversation that is the chat."""

TIMED_AGENTS = 6
"""Of the whole model, which reads some 150 tokens a second on two cores."""

PRICES = Prices(0.28, 0.42, cached_usd_per_million=0.028)
"""Of an endpoint whose cached tokens cost a tenth."""

CLAIM = 0.6
"""The specification's 60-70 % begin there."""

NOTE = (
    "10: two hours of nine agents of one model, 26 lines of chat and five notes each, at a "
    "llama.cpp server with SmolLM2-135M whose cache is empty at first. Cached tokens are those of "
    "the ledger, as the server reports them, with one request at a time. *Could be* are tokens at "
    "the beginning of a prompt that an earlier prompt has, too. Four at a time, a slot cannot use "
    "what another one is still reading, and which slot a request gets depends on time. The cost is "
    "that of prompts at an endpoint whose cached tokens cost a tenth. The document's figure is of "
    "the cost of inference; it gives no source"
)

PLACES = "cafe, chandler, library, ferry office, boatyard, chapel, market, school, clinic, bakery"

WORLD = "\n".join(
    f"The {place} {side} of the harbour opens at {hour}. From there it is {3 * hour + number} "
    f"minutes to the lighthouse, and who comes after {hour + 9} finds a note on the door."
    for number, side in enumerate(("north", "east", "south", "west"))
    for hour, place in enumerate(PLACES.split(", "), start=5)
)
"""Text about a world that all agents share: some 1,500 tokens."""


class _Variant(NamedTuple):
    """A form of the prompts.

    Args:
        has_persona_in_front: put the persona before the instructions and the common text, as
            prompts that begin with "You are ..." have it.
    """

    name: str
    knobs: Mapping[str, Any]
    has_persona_in_front: bool = False


VARIANTS = (
    _Variant("`persona_first`, the default", {}),
    _Variant("`persona_first` with a common text", {"common_text": WORLD}),
    _Variant("`chat_first`", {"prompt_order": "chat_first"}),
    _Variant(
        "`chat_first` with a common text", {"prompt_order": "chat_first", "common_text": WORLD}
    ),
    _Variant("for comparison, the persona before a common text", {"common_text": WORLD}, True),
)


class _Hour(NamedTuple):
    """A wake of all agents.

    Args:
        usage: by the ledger.
        limit_tokens: most tokens of the prompts that a cache could have: those at the beginning of
            a prompt with which an earlier prompt begins, too.
    """

    usage: Usage
    limit_tokens: int

    @property
    def cached(self) -> float:
        """Cached share of the prompts' tokens."""
        return self.usage.cached_tokens / self.usage.input_tokens

    @property
    def limit(self) -> float:
        """Share that a cache could have."""
        return self.limit_tokens / self.usage.input_tokens

    @property
    def saved(self) -> float:
        """Share of the cost that cached tokens save."""
        usage = self.usage
        return 1.0 - usage.usd / PRICES.usd(usage.input_tokens, usage.output_tokens)


class _PersonaInFront(OpenAIClient):
    """A client that puts each agent's persona before the instructions."""

    async def answer(
        self, calls: Sequence[Call], *, model: str, on_sent: Callable[[int], None] | None = None
    ) -> Sequence[Reply | CallError]:
        """Answer each call."""
        return await super().answer([*map(_in_front, calls)], model=model, on_sent=on_sent)


def _in_front(call: Call) -> Call:
    system, user = call.messages
    material = orjson.loads(user.content)
    text = f"You are {material.pop('name')}. {material.pop('persona')}\n\n{system.content}"
    return replace(
        call, messages=(Message("system", text), Message("user", orjson.dumps(material).decode()))
    )


def _turns(name: str) -> list[dict[str, Any]]:
    path = configs_folder() / "conversations" / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def agents_of_files() -> list[Agent]:
    """Return the agents of the shipped files, of one model."""
    path = configs_folder() / "wake" / "five_agents.yaml"
    agents = [*read_wake_settings(path, environ={}, is_shipped=True).agents]
    for name in ("en_moving_city", "zh_night_shift", "mixed_hostile_and_vague"):
        for number, persona in enumerate(t["persona"] for t in _turns(name) if t.get("persona")):
            who = f"{persona['background']} {persona['speaking_style']}"
            key = f"{name[:2]}-{number}"
            agents.append(Agent(id=key, name=persona["name"], persona=who, model=MODEL))
    return [agent.model_copy(update={"model": MODEL}) for agent in agents]


def _tokens(upstream: str, body: Mapping[str, Any]) -> list[int]:
    """Return the prompt of a request as the server's tokens."""

    def posted(path: str, document: Mapping[str, Any]) -> Any:
        request = urllib.request.Request(  # noqa: S310 - loopback
            upstream.removesuffix("/v1") + path,
            data=orjson.dumps(document),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as response:  # noqa: S310
            return json.load(response)

    prompt = posted("/apply-template", {"messages": body["messages"]})["prompt"]
    return list(posted("/tokenize", {"content": prompt, "parse_special": True})["tokens"])


def _limits(prompts: Sequence[Sequence[int]]) -> list[int]:
    """Return how many tokens at its beginning each prompt has in common with an earlier one."""

    def common(pair: tuple[Sequence[int], Sequence[int]]) -> int:
        return len([*takewhile(lambda each: each[0] == each[1], zip(*pair, strict=False))])

    return [
        max((common((tokens, other)) for other in prompts[:number]), default=0)
        for number, tokens in enumerate(prompts)
    ]


class _Replies:
    """A stand-in for the model's text: lines of a shipped conversation, by the asked agent."""

    def __init__(self, agents: Sequence[Agent]) -> None:
        self._lines = [turn["reply"] for turn in _turns("en_moving_city")]
        self._numbers = {agent.persona: number for number, agent in enumerate(agents)}

    async def __call__(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the choice of an answer."""
        text = "\n".join(message["content"] for message in body["messages"])
        number = next(n for persona, n in self._numbers.items() if persona in text)
        return {
            "message": {"role": "assistant", "content": self._lines[number]},
            "finish_reason": "stop",
        }


def _filled(store: WakeStore, agents: Sequence[Agent]) -> None:
    """Write a chat of 26 lines, and five notes of each agent."""
    turns = _turns("en_moving_city")
    lines = [(turn["user_text"], turn["reply"]) for turn in turns]
    for number, (said, reply) in enumerate(lines):
        at = START - HOUR + 60.0 * number
        store.rooms.say("main", "Sam", said, id=f"said-{number}", at=at)
        store.rooms.say("main", NORA, reply, id=f"reply-{number}", at=at + 30.0)
    for first, agent in enumerate(agents):
        for number in range(first, first + 5):
            said, reply = lines[number % len(lines)]
            store.notes.add(agent.id, f"Sam wrote: {said}\nI wrote: {reply}", at=START - HOUR)


async def _woken(
    variant: _Variant, agents: Sequence[Agent], base_url: str, *, hours: int, in_flight: int
) -> list[Usage]:
    """Return the usage of each hour, by the ledger."""
    # Without an intent call, and without the route for lists, which this server does not have.
    knobs = WakeKnobs(chat_path=None, intent_daily_calls=0, fallback="everyone", **variant.knobs)
    kind = _PersonaInFront if variant.has_persona_in_front else OpenAIClient
    endpoint = Endpoint(MODEL, MODEL, kind(base_url, api_key=None), PRICES)
    load = knobs.load(LoadKnobs(schedule=ScheduleKnobs(max_concurrency=in_flight)))
    budgeter = Budgeter({Role.MAIN: endpoint, MODEL: endpoint}, load=load)
    now, usages = [START], []
    try:
        with WakeStore(":memory:") as store:
            _filled(store, agents)
            service = WakeService(agents, store, budgeter, knobs, wall=lambda: now[0])
            for hour in range(hours):
                now[0] = START + hour * HOUR
                report = await service.wake(now[0])
                if {each.outcome for each in report.replies} != {"published"}:
                    raise RuntimeError(f"not all agents were answered: {report.replies}")
                budgeter.ledger.check()
                usages.append(sum((row.usage for row in budgeter.ledger.drain()), Usage()))
    finally:
        await budgeter.aclose()
    return usages


def _run(
    variant: _Variant,
    agents: Sequence[Agent],
    *server: str | Path,
    hours: int = HOURS,
    in_flight: int = 1,
    has_cache: bool = True,
) -> list[_Hour]:
    """Return the hours of a variant, at a server whose cache is empty at first.

    Args:
        server: options of `tests/model/server.py`.
        in_flight: most requests under way.
    """
    with (
        model_server("--context", str(CONTEXT_TOKENS), *server) as upstream,
        Proxy(
            upstream,
            stand_in=_Replies(agents),
            max_output_tokens=1,
            fixed={"cache_prompt": has_cache},
        ) as proxy,
    ):
        asked = _woken(variant, agents, proxy.base_url, hours=hours, in_flight=in_flight)
        usages = asyncio.run(asked)
        prompts = [_tokens(upstream, each.body) for each in proxy.log]
    received = [(each.input_tokens, each.cached_tokens) for each in proxy.log]
    if [len(prompt) for prompt in prompts] != [tokens for tokens, _ in received]:
        raise RuntimeError("the server has counted other prompts than were sent")
    if sum(usage.cached_tokens for usage in usages) != sum(cached for _, cached in received):
        raise RuntimeError("the ledger has other cached tokens than the server")
    limits, count = _limits(prompts), len(agents)
    return [
        _Hour(usage, sum(limits[hour * count : (hour + 1) * count]))
        for hour, usage in enumerate(usages)
    ]


def _percent(shares: Iterable[float]) -> str:
    return " and ".join(f"{100 * share:.0f} %" for share in shares)


def _figure(variant: _Variant) -> Figure:
    agents = agents_of_files()
    options = ("--model", cut_model(), "--slots", str(SLOTS))
    alone, together = (
        _run(variant, agents, *options, in_flight=in_flight) for in_flight in (1, SLOTS)
    )
    tokens = " and ".join(f"{hour.usage.input_tokens:,}" for hour in alone)
    return Figure(
        f"{variant.name}: prompt tokens, cached (could be), cached {SLOTS} at a time, saved cost",
        f"{tokens}; **{_percent(hour.cached for hour in alone)}** "
        f"({_percent(hour.limit for hour in alone)}); "
        f"{_percent(hour.cached for hour in together)}; {_percent(hour.saved for hour in alone)}",
        "the document's 60-70 %",
        min(hour.cached for hour in alone) >= CLAIM,
        NOTE,
    )


def _seconds(variant: _Variant, *, has_cache: bool) -> float:
    agents = agents_of_files()[:TIMED_AGENTS]
    (hour,) = _run(variant, agents, "--slots", "1", hours=1, has_cache=has_cache)
    return hour.usage.work_microseconds / 1e6


def _timed_figures() -> Iterator[Figure]:
    for variant in (VARIANTS[0], VARIANTS[2]):
        without, with_cache = (_seconds(variant, has_cache=has) for has in (False, True))
        yield Figure(
            f"{variant.name}: seconds of {TIMED_AGENTS} answers of one token by the whole model, "
            "one request at a time, without and with its cache",
            f"{without:.0f}, {with_cache:.0f}: {with_cache / without:.2f} times",
        )


def measure() -> Measured:
    """Return the cached share of each variant; skipped where there is no real model."""
    if reason := environment_reason():
        return Measured("prefix", skipped=reason)
    return Measured("prefix", [*map(_figure, VARIANTS), *_timed_figures()])
