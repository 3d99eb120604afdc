"""The wake service: one hour of many agents in a group chat, and the messages that address them.

Problem: many agents wake together, each on a prompt that no other may see, and any of them may
fail, or the process may end, at any moment.
Choice: one call per agent, all asked concurrently, so that the layer `batch` makes one request
per model of them: a batch is transport alone. Credits are held before a call is asked and spent
in the transaction that publishes the reply.
Rejected: one call that answers for several agents, which mixes personas; a charge after the
reply, which a crash in between would forget or repeat.

Invariant: an agent's call is made of its persona, memory and notes and of the public chat. Every
hold of a wake is spent or released when it ends; after a crash the same wake, asked again, asks
only for messages that are not there.
"""

import asyncio
import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel

from callwise.budget.budgeter import Budgeter
from callwise.budget.limits import Limits
from callwise.budget.scope import Scope, ScopeKind
from callwise.calls.call import Call, Priority, Purpose, Role, Sampling
from callwise.calls.errors import CallwiseError, ConfigError
from callwise.safe_text import clipped
from callwise.wake.agents import Agent, Mentions, check_agents
from callwise.wake.chat_window import ChatWindow
from callwise.wake.intent import WakeChoice, fallback_choice, intent_call, intent_form, read_intent
from callwise.wake.rooms import OutgoingMessage, RoomMessage
from callwise.wake.store import WakeStore
from callwise.wake.wake_knobs import WakeKnobs
from callwise.wake.wake_prompts import ChatLine, agent_messages, intent_messages
from callwise.wake.wake_report import AgentReply, ReplyOutcome, WakeReport, reason_of

__all__ = ["WakeService"]

_LOGGER = logging.getLogger(__name__)

MAX_REPLY_CHARS = 8_000
"""Longest message of an agent, in characters; a longer one is clipped."""

MAX_NOTE_CHARS = 500
"""Longest line in a note, in characters."""

MAX_QUERY_CHARS = 2_000
"""Longest query to an agent's notes, in characters."""

STARTS_TOGETHER = 32
"""Agents that are prepared or asked before others on the loop have their turn."""

_MESSAGE_ID = re.compile(r"[A-Za-z0-9._+-]{1,128}")
"""Ids of people's messages. Those of agents have colons, so that none can be taken before."""
_INTENT_NODE = "intent"


class _ReplyOrSilence(BaseModel):
    speaks: bool
    reply: str = ""


@dataclass(frozen=True, slots=True)
class _Wake:
    """One occasion at which agents are asked.

    Args:
        began: time at which it began, in UTC epoch seconds.
        key: part of the ids of its messages, between chat and agent.
        task: the last field of the prompts.
        cause: author and text of the message that addresses the agents; None for an hour.
    """

    at: float
    began: float
    key: str
    task: Mapping[str, str]
    chat: Sequence[ChatLine]
    cause: ChatLine | None = None


@dataclass(frozen=True, slots=True)
class _Prepared:
    agent: Agent
    message_id: str
    call: Call
    why: str


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

    Raises:
        ConfigError: when two agents have one id.
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
    ) -> None:
        self._limits, self._on_published = limits, on_published
        self._agents = {agent.id: agent for agent in check_agents(agents)}
        self._store, self._budgeter, self._knobs, self._wall = store, budgeter, knobs, wall
        self._mentions = Mentions(self._agents.values())
        self._chat = ChatWindow(store.rooms, knobs.room, max_lines=knobs.chat_limit)
        self._intent_form = intent_form([*self._agents])
        self._granted: set[str] = set()

    async def wake(self, at: float) -> WakeReport:
        """Wake the agents of one hour, and return what came of it.

        Args:
            at: time of the hour in UTC epoch seconds. The hour that it is in decides the ids of
                messages, so a second wake of one hour asks only for what is missing.

        Raises:
            StoreFailed: when the chat cannot be read.
        """
        slot = int(at // self._knobs.every_seconds)
        began = self._wall()
        self._store.rooms.deliver_due(began)
        self._chat.refresh()
        hour = datetime.fromtimestamp(at, UTC).isoformat(timespec="minutes")
        task = {"event": "hour", "now": hour}
        chat = self._chat.newest(self._knobs.chat_limit)
        wake = _Wake(at, began, str(slot), task, chat)
        with self._scope(f"wake:{self._knobs.room}:{slot}") as scope:
            choice = await self._settled_choice(scope, slot, at, hour)
            is_together = self._knobs.variant == "server_batch"
            replies = await self._ask_agents(scope, wake, choice, is_together=is_together)
            return _report(wake, choice, replies, scope)

    async def say(
        self,
        author: str,
        text: str,
        *,
        id: str,  # noqa: A002
        to: str = "",
        on_said: Callable[[RoomMessage], None] | None = None,
    ) -> WakeReport | None:
        """Add a person's message to the chat; wake the agents that it addresses immediately.

        Args:
            author: the person. Untrusted.
            text: the message. Untrusted; of any length, clipped in prompts.
            id: distinguishes this message from all others; the same one again changes nothing,
                and asks only for replies that are missing.
            to: id or name of an agent that it is for, whether its text mentions it or not.
            on_said: called with the message in the chat, before any agent is asked.

        Returns:
            The report of the agents that it addresses; None where it addresses none.

        Raises:
            ConfigError: for an author who has an agent's name, an id with other signs than
                letters, digits and `._+-`, or a `to` that is no agent.
            StoreFailed: when the message cannot be written. Nothing was.
        """
        self._check_message(author, id, to)
        knobs = self._knobs
        now = self._wall()
        said = self._store.rooms.say(knobs.room, author, text, id=id, at=now)
        if on_said is not None:
            on_said(said)
        found = self._mentions.find(f"@{to} {text}" if to else text)[: knobs.max_mentions]
        if not found:
            return None
        self._chat.refresh()
        task = {"event": "message", "from": author, "message": text}
        chat = self._chat.newest(knobs.chat_limit, up_to=said.sequence)
        wake = _Wake(now, now, f"@{id}", task, chat, (author, text))
        choice = WakeChoice("not asked", found, dict.fromkeys(found, "addressed"))
        with self._scope(f"say:{knobs.room}:{id}") as scope:
            replies = await self._ask_agents(scope, wake, choice, is_together=False)
            return _report(wake, choice, replies, scope)

    def _scope(self, name: str) -> Scope:
        return self._budgeter.scope(ScopeKind.TURN, name, limits=self._limits)

    def _check_message(self, author: str, message_id: str, to: str) -> None:
        if self._mentions.is_name(author):
            raise ConfigError(f"author {author!r} is an agent. Use the name of a person")
        if not _MESSAGE_ID.fullmatch(message_id):
            raise ConfigError(
                f"message id {message_id[:40]!r}: use 1 to 128 letters, digits and `._+-`"
            )
        if to and not self._mentions.is_name(to):
            raise ConfigError(f"there is no agent {to[:64]!r} that a message could be for")

    # Which agents wake.

    async def _settled_choice(self, scope: Scope, slot: int, at: float, hour: str) -> WakeChoice:
        """Return the agents of an hour; those that were chosen first, where it is woken again."""
        name, claims = f"wake:{self._knobs.room}", self._store.claims
        settled = claims.settled(name, slot)
        if settled is None:
            choice = await self._choice(scope, at, hour)
            if choice.intent == "not asked":
                return choice
            settled = claims.settle(name, slot, choice.to_json())
        return WakeChoice.from_json(settled, self._agents)

    async def _choice(self, scope: Scope, at: float, hour: str) -> WakeChoice:
        """Return the agents of an hour, by the intent call or by the fallback."""
        knobs = self._knobs
        if not self._agents or knobs.variant == "agents_alone":
            return self._fallback("not asked", [], "everyone")
        lines = self._chat.since(at - knobs.every_seconds)
        day = datetime.fromtimestamp(self._wall(), UTC).date().isoformat()
        try:
            if not self._store.claims.take_quota("intent", day, knobs.intent_daily_calls):
                return self._fallback("fallback: no quota", lines)
            call = intent_call(intent_messages(self._agents, lines, hour), self._intent_form)
            with scope.open(ScopeKind.NODE, _INTENT_NODE):
                reply = await self._budgeter.ask(call)
        except Exception as error:  # noqa: BLE001 - an hour without an intent is no silent one
            return self._fallback(f"fallback: {reason_of(error, 'the intent call')}", lines)
        choice = read_intent(reply.parsed, self._agents, knobs.max_awake)
        return choice or self._fallback("fallback: the answer names no agent", lines)

    def _fallback(
        self,
        intent: str,
        hour: Sequence[ChatLine],
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
        )

    # Their replies.

    async def _ask_agents(
        self, scope: Scope, wake: _Wake, choice: WakeChoice, *, is_together: bool
    ) -> tuple[AgentReply, ...]:
        """Return the reply of each agent, in the order of the choice.

        All are prepared before the first is asked, and those of one model are asked one after the
        other, so that requests are full. Others on the loop have their turn in between.
        """
        held: set[str] = set()
        ended: dict[str, AgentReply] = {}
        prepared: list[_Prepared] = []
        try:
            for number, agent_id in enumerate(choice.agents, 1):
                agent, why = self._agents[agent_id], choice.reasons.get(agent_id, "")
                found = self._prepared(wake, agent, why, held, is_together=is_together)
                if isinstance(found, AgentReply):
                    ended[agent_id] = found
                else:
                    prepared.append(found)
                if number % STARTS_TOGETHER == 0:
                    await asyncio.sleep(0)
            prepared.sort(key=lambda each: each.agent.model)
            async with asyncio.TaskGroup() as group:
                tasks = []
                for number, each in enumerate(prepared, 1):
                    tasks.append(group.create_task(self._reply(scope, wake, each, held)))
                    if number % STARTS_TOGETHER == 0:
                        await asyncio.sleep(0)
            ended.update((task.result().agent, task.result()) for task in tasks)
        finally:
            for message_id in held:
                self._release(message_id)
        return tuple(ended[agent_id] for agent_id in choice.agents)

    def _prepared(
        self, wake: _Wake, agent: Agent, why: str, held: set[str], *, is_together: bool
    ) -> "_Prepared | AgentReply":
        """Return an agent's call with its credits held, or why it is not asked."""
        knobs, store = self._knobs, self._store
        message_id = f"{knobs.room}:{wake.key}:{agent.id}"
        account = f"agent:{agent.id}"
        try:
            if store.rooms.has_message(message_id):
                return AgentReply(agent.id, "published before", "", message_id, why)
            self._grant(account)
            if not store.credits.hold(message_id, account, knobs.credits_per_reply):
                return AgentReply(agent.id, "no credits", "", message_id, "")
            held.add(message_id)
            query = "\n".join(clipped(text, MAX_NOTE_CHARS) for _, text in wake.chat[-4:])
            notes = store.notes.search(agent.id, query[:MAX_QUERY_CHARS], limit=knobs.notes_limit)
            is_alone = wake.cause is None and knobs.variant == "agents_alone"
            call = Call(
                Role.MAIN,
                Purpose.OTHER,
                agent_messages(
                    agent,
                    notes=notes,
                    chat=wake.chat,
                    agents=self._agents,
                    task=wake.task,
                    may_be_silent=is_alone,
                ),
                response_model=_ReplyOrSilence if is_alone else None,
                sampling=Sampling(max_tokens=knobs.reply_tokens),
                model=agent.model,
                priority=None if wake.cause is None else Priority.CRITICAL,
                batch_key="" if is_together else None,
            )
        except Exception as error:  # noqa: BLE001 - one agent's failure is no other's
            self._give_back(message_id, held)
            return AgentReply(agent.id, "failed", "", message_id, reason_of(error, agent.id))
        return _Prepared(agent, message_id, call, why)

    async def _reply(
        self, scope: Scope, wake: _Wake, prepared: _Prepared, held: set[str]
    ) -> AgentReply:
        """Ask an agent, and publish what it answers."""
        agent, message_id = prepared.agent, prepared.message_id
        outcome: ReplyOutcome = "failed"
        text, why = "", prepared.why
        try:
            with scope.open(ScopeKind.NODE, f"agent:{agent.id}"):
                reply = await self._budgeter.ask(prepared.call)
            answer = reply.parsed
            is_silent = isinstance(answer, _ReplyOrSilence) and not answer.speaks
            text = _message_text(
                answer.reply if isinstance(answer, _ReplyOrSilence) else reply.text, agent
            )
            if is_silent or not text:
                outcome, text, why = "silent", "", "it has nothing to say"
            else:
                outcome = self._publish(wake, prepared, text)
                held.discard(message_id)
        except Exception as error:  # noqa: BLE001 - one agent's failure is no other's
            text, why = "", reason_of(error, agent.id)
        self._give_back(message_id, held)
        return AgentReply(agent.id, outcome, text, message_id, why)

    def _publish(self, wake: _Wake, prepared: _Prepared, text: str) -> ReplyOutcome:
        """Put a message into the outbox, pay for it and note it, in one transaction."""
        agent, knobs = prepared.agent, self._knobs
        note = f"I wrote: {clipped(text, MAX_NOTE_CHARS)}"
        cause = wake.cause or next(
            (line for line in reversed(wake.chat) if line[0] not in self._agents), None
        )
        if cause is not None:
            note = f"{cause[0]} wrote: {clipped(cause[1], MAX_NOTE_CHARS)}\n{note}"
        due_at = self._due_at(wake, prepared.message_id)
        message = OutgoingMessage(prepared.message_id, knobs.room, agent.id, text, due_at)
        is_new = self._store.publish(message, notes=[note])
        if self._on_published is not None:
            self._on_published()
        return "published" if is_new else "published before"

    def _due_at(self, wake: _Wake, message_id: str) -> float:
        """Return when a message appears.

        It is counted from the beginning of the wake, so that the order of the messages does not
        depend on how fast models answer.
        """
        now = self._wall()
        if wake.cause is not None:
            return now
        low, high = self._knobs.delay_seconds
        later = (high - low) * _share(self._knobs.seed, message_id)
        due_at = wake.began + low + later
        return due_at if due_at >= now else now + later

    # Credits.

    def _grant(self, account: str) -> None:
        """Grant an account its first credits, once in the life of a store."""
        if account in self._granted:
            return
        try:
            self._store.credits.grant(
                account, self._knobs.start_credits, transfer_id=f"start:{account}"
            )
        except ConfigError:
            _LOGGER.info("%s keeps the credits that it was granted before", account)
        self._granted.add(account)

    def _give_back(self, message_id: str, held: set[str]) -> None:
        if message_id in held:
            held.discard(message_id)
            self._release(message_id)

    def _release(self, message_id: str) -> None:
        try:
            self._store.credits.release(message_id)
        except CallwiseError:
            _LOGGER.exception("the credits of message %s stay held", message_id)


def _share(seed: int, message_id: str) -> float:
    """Return a number in [0, 1) that the seed and the id decide."""
    digest = hashlib.blake2b(f"{seed}\n{message_id}".encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48


def _message_text(text: str, agent: Agent) -> str:
    """Return an answer as a message: clipped, and without the author's name before it."""
    text = text.strip()
    for name in (agent.name, agent.id):
        if text[: len(name) + 1].casefold() == f"{name.casefold()}:":
            text = text[len(name) + 1 :].strip()
            break
    return clipped(text, MAX_REPLY_CHARS)


def _report(
    wake: _Wake, choice: WakeChoice, replies: tuple[AgentReply, ...], scope: Scope
) -> WakeReport:
    counts = scope.counts()
    usage = counts.usage
    return WakeReport(
        wake.at,
        choice.intent,
        choice.agents,
        choice.dropped,
        replies,
        calls=counts.asked,
        requests=usage.requests,
        tokens=usage.tokens,
        usd=None if usage.unknown_usd else usage.usd,
        is_message=wake.cause is not None,
    )
