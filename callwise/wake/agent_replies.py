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
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from callwise.budget.budgeter import Budgeter
from callwise.budget.scope import Scope, ScopeKind
from callwise.calls.call import Call, Priority, Purpose, Role, Sampling
from callwise.calls.errors import CallwiseError, ConfigError
from callwise.wake.agent_memory import AgentMemory
from callwise.wake.agents import Agent
from callwise.wake.intent import WakeChoice
from callwise.wake.moments import Moment, share_of
from callwise.wake.recall import STARTS_TOGETHER, Embedded, Recall, Recalled, note_of
from callwise.wake.rooms import OutgoingMessage
from callwise.wake.store import WakeStore
from callwise.wake.wake_knobs import WakeKnobs
from callwise.wake.wake_prompts import ChatLine, agent_messages, message_text
from callwise.wake.wake_report import AgentReply, ReplyOutcome, one_line

__all__ = ["AgentReplies", "Occasion"]

_LOGGER = logging.getLogger(__name__)

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

    @property
    def priority(self) -> Priority | None:
        """Class of its calls where a person waits; None for the usual one."""
        return None if self.cause is None else Priority.CRITICAL


@dataclass(frozen=True, slots=True)
class _Prepared:
    agent: Agent
    message_id: str
    call: Call
    why: str
    recall_problem: str

    def failed(self, reason: str) -> AgentReply:
        """Return that it has no message."""
        problem = self.recall_problem
        return AgentReply(self.agent.id, "failed", "", self.message_id, reason, problem)


class AgentReplies:
    """Asks agents for their replies, and publishes them.

    Args:
        agents: all of them, by id.
        moment: returns the time of a named event; see `moments`.
        on_published: called when a message was put into the outbox.
        memory: has the agents' notes; None for those of the store.

    Raises:
        ConfigError: when the memory does not fit to the knobs.
    """

    def __init__(
        self,
        agents: Mapping[str, Agent],
        store: WakeStore,
        budgeter: Budgeter,
        knobs: WakeKnobs,
        *,
        moment: Moment,
        on_published: Callable[[], None] | None = None,
        memory: AgentMemory | None = None,
    ) -> None:
        self._agents, self._on_published = agents, on_published
        self._recall = Recall(store, budgeter, embeds=knobs.retrieval == "both", memory=memory)
        self._store, self._budgeter, self._knobs, self._moment = store, budgeter, knobs, moment
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

    async def put_waiting(self) -> None:
        """Put notes that wait into a memory that was brought; see `Recall.put_waiting`."""
        await self._recall.put_waiting()

    async def ask(
        self, scope: Scope, occasion: Occasion, choice: WakeChoice, *, is_together: bool
    ) -> tuple[AgentReply, ...]:
        """Return the reply of each agent, in the order of the choice.

        All are prepared before the first is asked, and those of one model are asked one after the
        other, so that requests are full. Others on the loop have their turn in between.
        """
        held: set[str] = set()
        ended: dict[str, AgentReply] = {}
        await self._moment(f"ask:{occasion.key}")
        try:
            prepared = await self._all_prepared(
                scope, occasion, choice, held, ended, is_together=is_together
            )
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
            self._held.difference_update(
                self.message_id(occasion.key, agent_id) for agent_id in choice.agents
            )
        await self._moment(f"end:{occasion.key}")
        return tuple(ended[agent_id] for agent_id in choice.agents)

    async def _all_prepared(
        self,
        scope: Scope,
        occasion: Occasion,
        choice: WakeChoice,
        held: set[str],
        ended: dict[str, AgentReply],
        *,
        is_together: bool,
    ) -> list[_Prepared]:
        """Return the calls of the agents that are asked, by model; others are put in `ended`."""
        prepared: list[_Prepared] = []
        for number, agent_id in enumerate(choice.agents, 1):
            end = self._not_asked(occasion, agent_id, choice.reasons.get(agent_id, ""), held)
            if end is not None:
                ended[agent_id] = end
            if number % STARTS_TOGETHER == 0:
                await asyncio.sleep(0)
        asked = [agent_id for agent_id in choice.agents if agent_id not in ended]
        queries = await self._recall.queries(scope, asked, occasion.chat, occasion.priority)
        await self._moment(f"recall:{occasion.key}")
        limit = self._knobs.notes_limit
        async for recalled in self._recall.found(queries.items(), limit=limit):
            why = choice.reasons.get(recalled.agent, "")
            found = self._prepared(occasion, recalled, why, is_together=is_together)
            if isinstance(found, AgentReply):
                ended[found.agent] = found
                self._give_back(found.message_id, held)
            else:
                prepared.append(found)
        return sorted(prepared, key=lambda each: each.agent.model)

    def message_id(self, key: str, agent_id: str) -> str:
        """Return the id of an agent's message at an occasion."""
        return f"{self._knobs.room}:{key}:{agent_id}"

    def _not_asked(
        self, occasion: Occasion, agent_id: str, why: str, held: set[str]
    ) -> AgentReply | None:
        """Hold an agent's credits; return why it is not asked, or None."""
        message_id, cost = self.message_id(occasion.key, agent_id), self._knobs.credits_per_reply
        try:
            if self._store.rooms.has_message(message_id):
                return AgentReply(agent_id, "published before", "", message_id, why)
            self._grant(agent_id)
            if not self._store.credits.hold(message_id, agent_id, cost):
                left = self._store.credits.balance(agent_id)
                why = f"it has {left} credits, and a message costs {cost}"
                return AgentReply(agent_id, "no credits", "", message_id, why)
        except Exception as error:  # noqa: BLE001 - one agent's failure is no other's
            return AgentReply(agent_id, "failed", "", message_id, one_line(error, agent_id))
        held.add(message_id)
        self._held.add(message_id)
        return None

    def _prepared(
        self, occasion: Occasion, recalled: Recalled, why: str, *, is_together: bool
    ) -> "_Prepared | AgentReply":
        """Return an agent's call, or why it is not asked."""
        knobs, agent = self._knobs, self._agents[recalled.agent]
        message_id = self.message_id(occasion.key, agent.id)
        if recalled.error is not None:
            reason = one_line(recalled.error, agent.id)
            return AgentReply(agent.id, "failed", "", message_id, reason, recalled.problem)
        try:
            is_alone = occasion.cause is None and knobs.variant == "agents_alone"
            call = Call(
                Role.MAIN,
                Purpose.OTHER,
                agent_messages(
                    agent,
                    notes=recalled.notes,
                    chat=occasion.chat,
                    agents=self._agents,
                    task=occasion.task,
                    may_be_silent=is_alone,
                ),
                response_model=_ReplyOrSilence if is_alone else None,
                sampling=Sampling(max_tokens=knobs.reply_tokens),
                model=agent.model,
                priority=occasion.priority,
                batch_key="" if is_together else None,
            )
        except Exception as error:  # noqa: BLE001 - one agent's failure is no other's
            reason = one_line(error, agent.id)
            return AgentReply(agent.id, "failed", "", message_id, reason, recalled.problem)
        return _Prepared(agent, message_id, call, why, recalled.problem)

    async def _reply(
        self, scope: Scope, occasion: Occasion, prepared: _Prepared, held: set[str]
    ) -> AgentReply:
        """Ask an agent, and publish what it answers."""
        agent, message_id = prepared.agent, prepared.message_id
        outcome: ReplyOutcome = "failed"
        text, why, problem = "", prepared.why, prepared.recall_problem
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
                note = note_of(text, occasion.cause, occasion.chat, self._agents)
                noted = await self._recall.embedded(scope, agent.id, note, occasion.priority)
                problem = problem or noted.problem
                if occasion.cause is None:
                    # A request answers many agents in one step, and others have their turn between.
                    async with self._publishing:
                        await asyncio.sleep(0)
                now = await self._moment(f"reply:{message_id}")
                due_at = self._due_at(occasion, message_id, now)
                outcome = self._publish(prepared, text, noted, due_at)
                held.discard(message_id)
                if outcome == "published":
                    key = message_id
                    waits = await self._recall.put(agent.id, noted.text, key=key, at=due_at)
                    problem = problem or waits
        except Exception as error:  # noqa: BLE001 - one agent's failure is no other's
            text, why = "", one_line(error, agent.id)
        self._give_back(message_id, held)
        return AgentReply(agent.id, outcome, text, message_id, why, problem)

    def _publish(
        self, prepared: _Prepared, text: str, noted: Embedded, due_at: float
    ) -> ReplyOutcome:
        """Put a message into the outbox, pay for it and note it, in one transaction."""
        agent, knobs = prepared.agent, self._knobs
        message = OutgoingMessage(prepared.message_id, knobs.room, agent.id, text, due_at)
        is_new = self._store.publish(
            message,
            notes=[noted.text],
            embeddings=[noted.embedding],
            payment=(agent.id, knobs.credits_per_reply),
            do_notes_wait=self._recall.is_brought,
        )
        if self._on_published is not None:
            self._on_published()
        return "published" if is_new else "published before"

    def _due_at(self, occasion: Occasion, message_id: str, now: float) -> float:
        """Return when a message appears.

        It is counted from the beginning of the wake, so that the order of the messages does not
        depend on how fast models answer.
        """
        if occasion.cause is not None:
            return now
        low, high = self._knobs.delay_seconds
        later = (high - low) * share_of(self._knobs.seed, message_id)
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
