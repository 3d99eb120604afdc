"""Replies of agents: credits held, calls asked, messages published.

Problem: many agents are asked together, each on a prompt that no other may see, and any of them
may fail, or the process may end, at any moment.
Choice: one call per agent, asked concurrently, so that the layer `batch` makes one request per
model of them: a batch is transport alone. Credits are held before a call is asked and spent in
the transaction that publishes the reply. Of very many agents, only those of a few requests of
each model have a prompt at a time: with all that carries it, a prompt takes some 20 KB.
Rejected: one call that answers for several agents, which mixes personas; a charge after the
reply, which a crash in between would forget or repeat.

Invariant: an agent's call is made of its persona, memory and notes and of the public chat. Every
hold is spent or released when `ask` ends, or after a crash by `release_lost`. The same occasion,
asked again, asks only for messages that are not there.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel

from callwise.budget.budgeter import Budgeter
from callwise.budget.scope import Scope, ScopeKind
from callwise.calls.call import Call, Priority, Purpose, Role, Sampling
from callwise.calls.errors import CallwiseError, ConfigError
from callwise.wake.agent_memory import AgentMemory
from callwise.wake.agents import Agent
from callwise.wake.fact_extraction import FactExtraction
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
class _Chosen:
    """An agent whose credits are held, and what its prompt is made of.

    Args:
        recalled: its notes, as they were when those of all were searched.
    """

    agent: Agent
    message_id: str
    why: str
    recalled: Recalled

    def failed(self, reason: str) -> AgentReply:
        """Return that it has no message."""
        problem = self.recalled.problem
        return AgentReply(self.agent.id, "failed", "", self.message_id, reason, problem)


@dataclass(frozen=True, slots=True)
class _Asking:
    """Agents that are being asked at one occasion.

    Args:
        held: ids of messages whose credits are held.
        ended: the reply of each agent that has ended, by its id.
        starting: held while the calls of one request are made and begin.
    """

    scope: Scope
    occasion: Occasion
    is_together: bool
    held: set[str] = field(default_factory=set)
    ended: dict[str, AgentReply] = field(default_factory=dict)
    starting: asyncio.Lock = field(default_factory=asyncio.Lock)


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
        self._facts = FactExtraction(
            agents,
            budgeter,
            self._recall,
            is_together=knobs.variant == "server_batch",
            moment=moment,
        )
        self._store, self._budgeter, self._knobs, self._moment = store, budgeter, knobs, moment
        self._sampling = Sampling(max_tokens=knobs.reply_tokens)
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

    def can_pay(self, agent: str) -> bool:
        """Return whether an agent has the credits of a message; also where that cannot be read."""
        try:
            self._grant(agent)
            return self._store.credits.balance(agent) >= self._knobs.credits_per_reply
        except CallwiseError:
            _LOGGER.exception("the credits of %s cannot be read before it is asked", agent)
            return True

    async def put_waiting(self) -> None:
        """Put notes that wait into a memory that was brought; see `Recall.put_waiting`."""
        await self._recall.put_waiting()

    async def ask(
        self, scope: Scope, occasion: Occasion, choice: WakeChoice, *, is_together: bool
    ) -> tuple[AgentReply, ...]:
        """Return the reply of each agent, in the order of the choice.

        The notes of all are searched before the first is asked. Then the prompts of one request
        after the other are made and its calls are asked, one after the other, so that requests
        are full; no more than `max_asked` have a prompt at a time. Others on the loop have their
        turn in between. What agents remember of their messages comes after the last of these was
        published.
        """
        asking = _Asking(scope, occasion, is_together)
        await self._moment(f"ask:{occasion.key}")
        try:
            chosen = await self._chosen(asking, choice)
            size = self._knobs.batch_size if is_together else 1
            by_model: dict[str, deque[_Chosen]] = {}
            for each in chosen:
                by_model.setdefault(each.agent.model, deque()).append(each)
            models = [by_model[name] for name in sorted(by_model)]
            most = max(self._knobs.max_asked // (size * max(len(models), 1)), 1)
            lists = max((math.ceil(len(waiting) / size) for waiting in models), default=0)
            async with asyncio.TaskGroup() as group:
                for number in range(min(lists, most)):
                    for waiting in models:
                        if number * size < len(waiting):
                            group.create_task(self._ask_lists(asking, waiting, size))
        finally:
            for message_id in asking.held:
                self._release(message_id)
            self._held.difference_update(
                self.message_id(occasion.key, agent_id) for agent_id in choice.agents
            )
        if self._knobs.memory == "extracted":
            replies = [asking.ended[agent_id] for agent_id in choice.agents]
            remembered = await self._facts.remembered(scope, occasion.key, occasion.chat, replies)
            asking.ended.update(remembered)
        await self._moment(f"end:{occasion.key}")
        return tuple(asking.ended[agent_id] for agent_id in choice.agents)

    async def _chosen(self, asking: _Asking, choice: WakeChoice) -> list[_Chosen]:
        """Return the agents that are asked, their notes found; others are put into `ended`."""
        occasion, ended = asking.occasion, asking.ended
        for number, agent_id in enumerate(choice.agents, 1):
            why = choice.reasons.get(agent_id, "")
            end = self._not_asked(occasion, agent_id, why, asking.held)
            if end is not None:
                ended[agent_id] = end
            if number % STARTS_TOGETHER == 0:
                await asyncio.sleep(0)
        asked = [agent_id for agent_id in choice.agents if agent_id not in ended]
        queries = await self._recall.queries(asking.scope, asked, occasion.chat, occasion.priority)
        await self._moment(f"recall:{occasion.key}")
        chosen: list[_Chosen] = []
        limit = self._knobs.notes_limit
        async for recalled in self._recall.found(queries.items(), limit=limit):
            agent = self._agents[recalled.agent]
            why = choice.reasons.get(agent.id, "")
            each = _Chosen(agent, self.message_id(occasion.key, agent.id), why, recalled)
            if recalled.error is None:
                chosen.append(each)
            else:
                self._end(asking, each, recalled.error)
        return chosen

    async def _ask_lists(self, asking: _Asking, waiting: deque[_Chosen], size: int) -> None:
        """Ask agents of one model, a request of them after the other, until none waits."""
        while waiting:
            async with asyncio.TaskGroup() as group:
                tasks = []
                async with asking.starting:
                    calls = await self._next_calls(asking, waiting, size)
                    for number, (chosen, call) in enumerate(calls, 1):
                        task = group.create_task(self._reply(asking, chosen, call))
                        tasks.append((chosen, task))
                        if number % STARTS_TOGETHER == 0:
                            await asyncio.sleep(0)
                    if asking.is_together:
                        # All wait for each other before others start, so the wait is short.
                        for _ in range(STEPS_TO_BATCH):
                            await asyncio.sleep(0)
            for chosen, task in tasks:
                asking.ended[chosen.agent.id] = (
                    chosen.failed("it was cancelled") if task.cancelled() else task.result()
                )

    async def _next_calls(
        self, asking: _Asking, waiting: deque[_Chosen], size: int
    ) -> list[tuple[_Chosen, Call]]:
        """Take agents until there are calls for one request; those without a call end."""
        calls: list[tuple[_Chosen, Call]] = []
        while waiting and len(calls) < size:
            chosen = waiting.popleft()
            try:
                calls.append((chosen, self._call(asking, chosen)))
            except Exception as error:  # noqa: BLE001 - one agent's failure is no other's
                self._end(asking, chosen, error)
            if len(calls) % STARTS_TOGETHER == 0:
                await asyncio.sleep(0)
        return calls

    def _end(self, asking: _Asking, chosen: _Chosen, error: Exception) -> None:
        """End an agent's part before it is asked."""
        asking.ended[chosen.agent.id] = chosen.failed(one_line(error, chosen.agent.id))
        self._give_back(chosen.message_id, asking.held)

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

    def _call(self, asking: _Asking, chosen: _Chosen) -> Call:
        """Return an agent's call."""
        knobs, occasion, agent = self._knobs, asking.occasion, chosen.agent
        is_alone = occasion.cause is None and knobs.variant == "agents_alone"
        return Call(
            Role.MAIN,
            Purpose.OTHER,
            agent_messages(
                agent,
                notes=self._recall.texts(chosen.recalled),
                chat=occasion.chat,
                agents=self._agents,
                task=occasion.task,
                may_be_silent=is_alone,
                order=knobs.prompt_order,
                common_text=knobs.common_text,
            ),
            response_model=_ReplyOrSilence if is_alone else None,
            sampling=self._sampling,
            model=agent.model,
            priority=occasion.priority,
            batch_key="" if asking.is_together else None,
        )

    async def _reply(self, asking: _Asking, chosen: _Chosen, call: Call) -> AgentReply:
        """Ask an agent, and publish what it answers."""
        scope, occasion, held = asking.scope, asking.occasion, asking.held
        agent, message_id = chosen.agent, chosen.message_id
        outcome: ReplyOutcome = "failed"
        text, why, problem = "", chosen.why, chosen.recalled.problem
        try:
            with scope.open(ScopeKind.NODE, f"agent:{agent.id}"):
                reply = await self._budgeter.ask(call)
            answer = reply.parsed
            is_silent = isinstance(answer, _ReplyOrSilence) and not answer.speaks
            is_thought = bool(reply.text) and reply.text == reply.reasoning_text
            said = "" if is_thought else reply.text
            given = answer.reply if isinstance(answer, _ReplyOrSilence) else said
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
                outcome = self._publish(chosen, text, noted, due_at)
                held.discard(message_id)
                if outcome == "published":
                    key = message_id
                    waits = await self._recall.put(agent.id, [noted.text], key=key, at=due_at)
                    problem = problem or waits
        except Exception as error:  # noqa: BLE001 - one agent's failure is no other's
            text, why = "", one_line(error, agent.id)
        self._give_back(message_id, held)
        return AgentReply(agent.id, outcome, text, message_id, why, problem)

    def _publish(self, chosen: _Chosen, text: str, noted: Embedded, due_at: float) -> ReplyOutcome:
        """Put a message into the outbox, pay for it and note it, in one transaction."""
        agent, knobs = chosen.agent, self._knobs
        message = OutgoingMessage(chosen.message_id, knobs.room, agent.id, text, due_at)
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
