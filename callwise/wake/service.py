"""The wake service: one hour of many agents in a group chat, and the messages that address them.

An hour: one intent call chooses the agents, else the fallback; then each of them is asked (see
`agent_replies`). The choice is kept in the store, so that an hour that is woken again after a
crash asks no second intent. A message that addresses agents wakes them immediately, alone.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

from callwise.budget.budgeter import Budgeter
from callwise.budget.limits import Limits
from callwise.budget.scope import Scope, ScopeKind
from callwise.calls.errors import ConfigError
from callwise.safe_text import clipped
from callwise.wake.agent_memory import AgentMemory
from callwise.wake.agent_replies import AgentReplies, Occasion
from callwise.wake.agents import MAX_NAME_CHARS, Agent, Mentions, check_agents
from callwise.wake.chat_window import ChatWindow
from callwise.wake.hours import slot_of
from callwise.wake.intent import WakeChoice, fallback_choice, intent_call, intent_form, read_intent
from callwise.wake.moments import Moment, deliver_until
from callwise.wake.rooms import RoomMessage
from callwise.wake.store import WakeStore
from callwise.wake.wake_knobs import WakeKnobs
from callwise.wake.wake_prompts import ChatLine, intent_messages
from callwise.wake.wake_report import WakeReport, one_line

__all__ = ["WakeService"]

_MESSAGE_ID = re.compile(r"[A-Za-z0-9._+-]{1,128}")
"""Ids of people's messages. Those of agents have colons, so that none can be taken before."""

_INTENT_NODE = "intent"
"""Name of the intent call's node; those of agents have a colon."""

DELIVERED_TOGETHER = 64
"""Messages that are delivered before others on the loop have their turn."""


class WakeService:
    """Wakes agents of one group chat, on the hour and when a message addresses them.

    Args:
        agents: in the order in which they are listed; may be none.
        store: shared with other processes, or not. Not owned.
        budgeter: serves the role FAST for intent calls, and each agent's `model`. Its load has
            to be that of `knobs.load()` for replies to share requests. Not owned.
        wall: returns the time in UTC epoch seconds.
        limits: of each wake, and of each message with the agents that it addresses.
        on_published: called on the running loop when a message was put into the outbox.
        moment: returns the time of a named event, after `wall` by default; see `moments`.
        memory: has the agents' notes; None for those of the store. Not owned.

    Raises:
        ConfigError: when two agents have one id, or a memory is given with
            `wake.retrieval=both`.
    """

    def __init__(
        self,
        agents: Iterable[Agent],
        store: WakeStore,
        budgeter: Budgeter,
        knobs: WakeKnobs,
        *,
        wall: Callable[[], float],
        limits: Limits | None = None,
        on_published: Callable[[], None] | None = None,
        moment: Moment | None = None,
        memory: AgentMemory | None = None,
    ) -> None:
        self._moment = moment or self._present
        self._limits = limits
        self._agents = {agent.id: agent for agent in check_agents(agents)}
        self._store, self._budgeter, self._knobs, self._wall = store, budgeter, knobs, wall
        self._mentions = Mentions(self._agents.values())
        self._chat = ChatWindow(store.rooms, knobs.room, max_lines=knobs.chat_limit)
        self._intent_form = intent_form([*self._agents])
        self._replies = AgentReplies(
            self._agents,
            store,
            budgeter,
            knobs,
            moment=self._moment,
            on_published=on_published,
            memory=memory,
        )

    async def wake(self, at: float) -> WakeReport:
        """Wake the agents of one hour, and return what came of it.

        What is due in the outbox is delivered first, so that agents read it. Clients have to read
        the log, by their last number, and not what other deliveries return.

        Args:
            at: time of the hour in UTC epoch seconds. The hour that it is in decides the ids of
                messages, so a second wake of one hour asks only for what is missing.

        Raises:
            StoreFailed: when the chat cannot be read.
        """
        # Before the event, since it takes a while, and the prompts depend on the event's time.
        await self._replies.put_waiting()
        slot = slot_of(at, self._knobs.every_seconds)
        began = await self._moment(f"wake:{slot}")
        rooms, most = self._store.rooms, DELIVERED_TOGETHER
        while deliver_until(rooms, began, limit=most) == most:
            self._chat.refresh()
            await asyncio.sleep(0)
        self._replies.release_lost(slot)
        self._chat.refresh()
        hour = datetime.fromtimestamp(at, UTC).isoformat(timespec="minutes")
        task = {"event": "hour", "now": hour}
        chat = self._chat.newest(self._knobs.chat_limit)
        occasion = Occasion(at, began, str(slot), task, chat)
        with self._scope(f"wake:{self._knobs.room}:{slot}") as scope:
            choice = await self._settled_choice(scope, slot, at, hour)
            is_together = self._knobs.variant == "server_batch"
            replies = await self._replies.ask(scope, occasion, choice, is_together=is_together)
            return WakeReport.of(at, choice, replies, scope.counts(), is_message=False)

    async def say(
        self,
        author: str,
        text: str,
        *,
        id: str,  # noqa: A002
        to: str = "",
        is_scripted: bool = False,
        on_said: Callable[[RoomMessage], None] | None = None,
    ) -> WakeReport | None:
        """Add a person's message to the chat; wake the agents that it addresses immediately.

        Args:
            author: the person. Untrusted.
            text: the message. Untrusted; of any length, clipped in prompts.
            id: distinguishes this message from all others; the same one again changes nothing,
                and asks only for replies that are missing.
            to: id or name of an agent that it is for, whether its text mentions it or not.
            is_scripted: whether it is a line of the run's own settings, whose id is one of
                `ids_of_lines`.
            on_said: called with the message in the chat, before any agent is asked.

        Returns:
            The report of the agents that it addresses; None where it addresses none.

        Raises:
            ConfigError: for an author who has an agent's name, an id with other signs than
                letters, digits and `._+-`, or a `to` that is no agent.
            StoreFailed: when the message cannot be written. Nothing was.
        """
        self._check_message(author, None if is_scripted else id, to)
        knobs = self._knobs
        now = await self._moment(f"say:{id}")
        deliver_until(self._store.rooms, now)
        said = self._store.rooms.say(knobs.room, author, text, id=id, at=now)
        if on_said is not None:
            on_said(said)
        addressed = self._mentions.agent_of(to)
        named = () if addressed is None else (addressed,)
        mentioned = dict.fromkeys((*named, *self._mentions.find(text)))
        found = tuple(mentioned)[: knobs.max_mentions]
        if not found:
            return None
        self._chat.refresh()
        name = clipped(author, MAX_NAME_CHARS)
        task = {"event": "message", "from": name, "message": text}
        chat = self._chat.newest(knobs.chat_limit, up_to=said.sequence)
        occasion = Occasion(now, now, f"@{id}", task, chat, (author, text))
        choice = WakeChoice("not asked", found, dict.fromkeys(found, "addressed"))
        with self._scope(f"say:{knobs.room}:{id}") as scope:
            replies = await self._replies.ask(scope, occasion, choice, is_together=False)
            return WakeReport.of(now, choice, replies, scope.counts(), is_message=True)

    async def _present(self, _: str) -> float:
        return self._wall()

    @contextmanager
    def _scope(self, name: str) -> Iterator[Scope]:
        with self._budgeter.scope(ScopeKind.TURN, name, limits=self._limits) as scope:
            try:
                yield scope
            finally:
                # The ledger and its sinks have the rows. A connection that is kept open has the
                # context that it was opened in, and so the scope, for longer than the wake.
                scope.take_rows()

    def _check_message(self, author: str, message_id: str | None, to: str) -> None:
        if self._mentions.is_name(author):
            raise ConfigError(f"author {author!r} is an agent. Use the name of a person")
        if message_id is not None and not _MESSAGE_ID.fullmatch(message_id):
            raise ConfigError(
                f"message id {message_id[:40]!r}: use 1 to 128 letters, digits and `._+-`"
            )
        if to and self._mentions.agent_of(to) is None:
            raise ConfigError(f"there is no agent {to[:64]!r} that a message could be for")

    # Which agents wake.

    async def _settled_choice(self, scope: Scope, slot: int, at: float, hour: str) -> WakeChoice:
        """Return the agents of an hour; those that were chosen first, where it is woken again."""
        name, claims = f"wake:{self._knobs.room}", self._store.claims
        settled = claims.settled(name, slot)
        if settled is None:
            if not self._agents or self._knobs.variant == "agents_alone":
                return self._fallback("not asked", [], {}, "everyone")
            lines = self._chat.since(at - self._knobs.every_seconds)
            tried = self._tried(claims.last_settled(name))
            last = max(self._chat.last_spoken.values(), default=0)
            # Found before the call, so that it does not depend on what is said meanwhile.
            instead = self._fallback("fallback", lines, tried)
            choice = await self._choice(scope, lines, hour, instead)
            if choice.intent != "answered" and self._knobs.fallback == "mentioned":
                tried |= dict.fromkeys(choice.agents, (last, slot))
            settled = claims.settle(name, slot, replace(choice, tried=tried).to_json())
        return WakeChoice.from_json(settled, self._agents)

    def _tried(self, settled: str | None) -> dict[str, tuple[int, int]]:
        """Return the agents that fallbacks have chosen until a choice, and that had no message."""
        if settled is None:
            return {}
        spoken = self._chat.last_spoken
        tried = WakeChoice.from_json(settled, self._agents).tried
        return {each: when for each, when in tried.items() if spoken.get(each, 0) <= when[0]}

    async def _choice(
        self, scope: Scope, lines: Sequence[ChatLine], hour: str, instead: WakeChoice
    ) -> WakeChoice:
        """Return the agents of an hour by the intent call, or those of the fallback instead."""
        knobs = self._knobs
        day = _day_of(self._wall())
        try:
            if not self._store.claims.take_quota("intent", day, knobs.intent_daily_calls):
                return replace(instead, intent="fallback: no quota")
            call = intent_call(intent_messages(self._agents, lines, hour), self._intent_form)
            with scope.open(ScopeKind.NODE, _INTENT_NODE):
                reply = await self._budgeter.ask(call)
        except Exception as error:  # noqa: BLE001 - an hour without an intent is no silent one
            return replace(instead, intent=f"fallback: {one_line(error, 'the intent call')}")
        choice = read_intent(reply.parsed, self._agents, knobs.max_awake)
        if choice.agents or not choice.dropped:
            return choice
        why, dropped = "fallback: the answer names no agent", {**instead.dropped, **choice.dropped}
        return replace(instead, intent=why, dropped=dropped)

    def _fallback(
        self,
        intent: str,
        hour: Sequence[ChatLine],
        tried: Mapping[str, tuple[int, int]],
        kind: Literal["mentioned", "everyone"] | None = None,
    ) -> WakeChoice:
        return fallback_choice(
            intent,
            self._agents,
            kind=kind or self._knobs.fallback,
            mentions=self._mentions,
            hour=hour,
            last_spoken=self._chat.last_spoken,
            max_awake=self._knobs.max_awake,
            tried=tried,
            can_pay=self._replies.can_pay,
        )


def _day_of(at: float) -> str:
    """Return the day (UTC) of a time."""
    return datetime.fromtimestamp(at, UTC).date().isoformat()
