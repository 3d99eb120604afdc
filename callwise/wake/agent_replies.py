"""Replies of agents: credits held, calls asked, messages published.

Problem: many agents are asked together, each on a prompt that no other may see, and any of them
may fail, or the process may end, at any moment.
Choice: one call per agent, all asked concurrently, so that the layer `batch` makes one request
per model of them: a batch is transport alone. Credits are held before a call is asked and spent
in the transaction that publishes the reply.
Rejected: one call that answers for several agents, which mixes personas; a charge after the
reply, which a crash in between would forget or repeat.

Invariant: an agent's call is made of its persona, memory and notes and of the public chat. Every
hold is spent or released when `ask` ends, or after a crash by `release_lost`. The same occasion,
asked again, asks only for messages that are not there.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from callwise.budget.budgeter import Budgeter
from callwise.budget.scope import Scope, ScopeKind
from callwise.calls.call import Call, Priority, Purpose, Role, Sampling
from callwise.calls.errors import CallwiseError, ConfigError
from callwise.safe_text import clipped
from callwise.wake.agents import MAX_NAME_CHARS, Agent
from callwise.wake.intent import WakeChoice
from callwise.wake.rooms import OutgoingMessage
from callwise.wake.store import WakeStore
from callwise.wake.wake_knobs import WakeKnobs
from callwise.wake.wake_prompts import ChatLine, agent_messages, message_text
from callwise.wake.wake_report import AgentReply, ReplyOutcome, one_line

__all__ = ["AgentReplies", "Occasion"]

_LOGGER = logging.getLogger(__name__)

MAX_NOTE_CHARS = 500
"""Longest line in a note, in characters."""

MAX_QUERY_CHARS = 2_000
"""Longest query to an agent's notes, in characters."""

STARTS_TOGETHER = 8
"""Agents that are prepared or asked before others on the loop have their turn."""

STEPS_TO_BATCH = 3
"""Steps of the loop after which a call that was asked waits for others in its batch."""


class _ReplyOrSilence(BaseModel):
    speaks: bool
    reply: str = ""


@dataclass(frozen=True, slots=True)
class Occasion:
    """An hour, or a message, at which agents are asked.

    Args:
        at: its time in UTC epoch seconds; of an hour, that of its beginning.
        began: time at which its wake began, in UTC epoch seconds.
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

    def failed(self, reason: str) -> AgentReply:
        """Return that it has no message."""
        return AgentReply(self.agent.id, "failed", "", self.message_id, reason)


class AgentReplies:
    """Asks agents for their replies, and publishes them.

    Args:
        agents: all of them, by id.
        wall: returns the time in UTC epoch seconds.
        on_published: called when a message was put into the outbox.
    """

    def __init__(
        self,
        agents: Mapping[str, Agent],
        store: WakeStore,
        budgeter: Budgeter,
        knobs: WakeKnobs,
        *,
        wall: Callable[[], float],
        on_published: Callable[[], None] | None = None,
    ) -> None:
        self._agents, self._on_published = agents, on_published
        self._store, self._budgeter, self._knobs, self._wall = store, budgeter, knobs, wall
        self._granted: set[str] = set()
        self._held: set[str] = set()
        self._publishing = asyncio.Lock()

    def release_lost(self, slot: int) -> int:
        """Release what other processes have held before an hour and not spent; return how many.

        They have ended in the middle of a wake, or of a message, that was not repeated. The reply
        of one that is only slow is paid again when it is published.

        Raises:
            StoreFailed: when the store cannot be read or written.
        """
        lost = 0
        for message_id in self._store.credits.open_holds():
            room, _, rest = message_id.partition(":")
            hour = rest.partition(":")[0]
            is_earlier = hour.startswith("@") or (hour.isdecimal() and int(hour) < slot)
            if room == self._knobs.room and is_earlier and message_id not in self._held:
                lost += self._store.credits.release(message_id)
        if lost:
            _LOGGER.warning("released the credits of %d messages that were cut off", lost)
        return lost

    async def ask(
        self, scope: Scope, occasion: Occasion, choice: WakeChoice, *, is_together: bool
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
                found = self._prepared(occasion, agent, why, held, is_together=is_together)
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
                    tasks.append(group.create_task(self._reply(scope, occasion, each, held)))
                    following = prepared[number].agent if number < len(prepared) else None
                    if following is None or following.model != each.agent.model:
                        # All wait for each other before others start, so the wait is short.
                        for _ in range(STEPS_TO_BATCH):
                            await asyncio.sleep(0)
                    elif number % STARTS_TOGETHER == 0:
                        await asyncio.sleep(0)
            for each, task in zip(prepared, tasks, strict=True):
                ended[each.agent.id] = (
                    each.failed("it was cancelled") if task.cancelled() else task.result()
                )
        finally:
            for message_id in held:
                self._release(message_id)
            self._held.difference_update(each.message_id for each in prepared)
        return tuple(ended[agent_id] for agent_id in choice.agents)

    def _prepared(
        self, occasion: Occasion, agent: Agent, why: str, held: set[str], *, is_together: bool
    ) -> "_Prepared | AgentReply":
        """Return an agent's call with its credits held, or why it is not asked."""
        knobs, store = self._knobs, self._store
        message_id = f"{knobs.room}:{occasion.key}:{agent.id}"
        try:
            if store.rooms.has_message(message_id):
                return AgentReply(agent.id, "published before", "", message_id, why)
            self._grant(agent.id)
            if not store.credits.hold(message_id, agent.id, knobs.credits_per_reply):
                left = store.credits.balance(agent.id)
                why = f"it has {left} credits, and a message costs {knobs.credits_per_reply}"
                return AgentReply(agent.id, "no credits", "", message_id, why)
            held.add(message_id)
            self._held.add(message_id)
            query = "\n".join(clipped(text, MAX_NOTE_CHARS) for _, text in occasion.chat[-4:])
            notes = store.notes.search(agent.id, query[:MAX_QUERY_CHARS], limit=knobs.notes_limit)
            is_alone = occasion.cause is None and knobs.variant == "agents_alone"
            call = Call(
                Role.MAIN,
                Purpose.OTHER,
                agent_messages(
                    agent,
                    notes=notes,
                    chat=occasion.chat,
                    agents=self._agents,
                    task=occasion.task,
                    may_be_silent=is_alone,
                ),
                response_model=_ReplyOrSilence if is_alone else None,
                sampling=Sampling(max_tokens=knobs.reply_tokens),
                model=agent.model,
                priority=None if occasion.cause is None else Priority.CRITICAL,
                batch_key="" if is_together else None,
            )
        except Exception as error:  # noqa: BLE001 - one agent's failure is no other's
            self._give_back(message_id, held)
            return AgentReply(agent.id, "failed", "", message_id, one_line(error, agent.id))
        return _Prepared(agent, message_id, call, why)

    async def _reply(
        self, scope: Scope, occasion: Occasion, prepared: _Prepared, held: set[str]
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
            given = answer.reply if isinstance(answer, _ReplyOrSilence) else reply.text
            text = message_text(given, agent)
            if is_silent or not text:
                outcome, text, why = "silent", "", "it has nothing to say"
            else:
                if occasion.cause is None:
                    # A request answers many agents in one step, and others have their turn between.
                    async with self._publishing:
                        await asyncio.sleep(0)
                outcome = self._publish(occasion, prepared, text)
                held.discard(message_id)
        except Exception as error:  # noqa: BLE001 - one agent's failure is no other's
            text, why = "", one_line(error, agent.id)
        self._give_back(message_id, held)
        return AgentReply(agent.id, outcome, text, message_id, why)

    def _publish(self, occasion: Occasion, prepared: _Prepared, text: str) -> ReplyOutcome:
        """Put a message into the outbox, pay for it and note it, in one transaction."""
        agent, knobs = prepared.agent, self._knobs
        note = f"I wrote: {clipped(text, MAX_NOTE_CHARS)}"
        cause = occasion.cause or next(
            (line for line in reversed(occasion.chat) if line[0] not in self._agents), None
        )
        if cause is not None:
            author = clipped(cause[0], MAX_NAME_CHARS)
            note = f"{author} wrote: {clipped(cause[1], MAX_NOTE_CHARS)}\n{note}"
        due_at = self._due_at(occasion, prepared.message_id)
        message = OutgoingMessage(prepared.message_id, knobs.room, agent.id, text, due_at)
        payment = (agent.id, knobs.credits_per_reply)
        is_new = self._store.publish(message, notes=[note], payment=payment)
        if self._on_published is not None:
            self._on_published()
        return "published" if is_new else "published before"

    def _due_at(self, occasion: Occasion, message_id: str) -> float:
        """Return when a message appears.

        It is counted from the beginning of the wake, so that the order of the messages does not
        depend on how fast models answer.
        """
        now = self._wall()
        if occasion.cause is not None:
            return now
        low, high = self._knobs.delay_seconds
        later = (high - low) * _share(self._knobs.seed, message_id)
        due_at = occasion.began + low + later
        return due_at if due_at >= now else now + later

    # Credits.

    def _grant(self, agent: str) -> None:
        """Grant an agent its first credits, once in the life of a store."""
        if agent in self._granted:
            return
        first = self._knobs.start_credits
        try:
            self._store.credits.grant(agent, first, transfer_id=f"start:{agent}")
        except ConfigError:
            _LOGGER.info("%s keeps the credits that it was granted before", agent)
        self._granted.add(agent)

    def _give_back(self, message_id: str, held: set[str]) -> None:
        if message_id in held:
            held.discard(message_id)
            self._held.discard(message_id)
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
