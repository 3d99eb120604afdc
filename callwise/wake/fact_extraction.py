"""Facts that agents remember of their messages, extracted by calls after these are published.

Problem: a message is a poor memory. What was promised or said of a person in it is found by its
words only, among many that mean nothing later.
Choice: once all replies of a wake have ended, one call per agent answers with a few facts of the
chat and the agent's own message, and each becomes a note of that agent. No message waits for it:
each was published before, with its note of what was said, in one transaction. The calls of a wake
have one batch key, so that they share requests as replies do.
Rejected: one call for several agents, which mixes their personas; a call as soon as a reply has
come, which is a request per model and more; a repetition of extractions that a crash has cut off,
since what was said is in the agent's notes already.

Invariant: an agent's prompt has its own persona and message and the public chat, and what is read
from its answer becomes a note of this agent only. A failure costs one agent its facts. Credits are
not touched.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, WithJsonSchema

from callwise.budget.budgeter import Budgeter
from callwise.budget.scope import Scope, ScopeKind
from callwise.calls.call import Call, Priority, Purpose, Role, Sampling
from callwise.safe_text import shown
from callwise.wake.agents import Agent
from callwise.wake.moments import Moment
from callwise.wake.recall import STARTS_TOGETHER, Recall
from callwise.wake.wake_prompts import MAX_FACT_CHARS, MAX_FACTS, ChatLine, fact_messages
from callwise.wake.wake_report import AgentReply, one_line

__all__ = ["FactAnswer", "FactExtraction", "read_facts"]

FACT_TOKENS = 300
"""Most tokens of an answer; a model that repeats itself ends soon."""

_LIST = WithJsonSchema({"type": "array", "items": {"type": "string"}, "maxItems": MAX_FACTS})
"""Schema of the facts. It does not limit their length: a longer one is left out and not cut."""


class FactAnswer(BaseModel):
    """The answer of an extraction. Values in the list may be anything."""

    facts: Annotated[list[Any], _LIST]


def read_facts(answer: BaseModel | None) -> tuple[tuple[str, ...], str]:
    """Return the facts of an answer, and what of it is left out and why, in one line.

    Of the first `MAX_FACTS` entries, texts in one line, of at most `MAX_FACT_CHARS`; equal ones
    are one.
    """
    facts: dict[str, None] = {}
    dropped: Counter[str] = Counter()
    for entry in answer.facts[:MAX_FACTS] if isinstance(answer, FactAnswer) else ():
        text = " ".join(entry.split()) if isinstance(entry, str) else ""
        if not isinstance(entry, str):
            dropped["not a text"] += 1
        elif len(text) > MAX_FACT_CHARS:
            dropped["too long"] += 1
        elif not any(map(str.isalnum, text)):
            dropped["empty"] += 1
        else:
            facts[shown(text)] = None
    reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
    return tuple(facts), f"left out: {reasons}" if reasons else ""


class FactExtraction:
    """Extracts facts of published messages, and adds them to their agents' notes.

    Args:
        agents: all of them, by id.
        budgeter: serves the role FAST. Not owned.
        recall: embeds facts, and adds them to the agents' notes.
        is_together: whether the calls of a wake share requests.
        moment: returns the time of a named event; see `moments`.
    """

    def __init__(
        self,
        agents: Mapping[str, Agent],
        budgeter: Budgeter,
        recall: Recall,
        *,
        is_together: bool,
        moment: Moment,
    ) -> None:
        self._agents, self._budgeter = agents, budgeter
        self._recall, self._is_together, self._moment = recall, is_together, moment
        self._adding = asyncio.Lock()

    async def remembered(
        self, scope: Scope, key: str, chat: Sequence[ChatLine], replies: Iterable[AgentReply]
    ) -> dict[str, AgentReply]:
        """Return the replies that were published, by agent, with what is remembered of them.

        Args:
            scope: of the wake.
            key: that of the occasion.
            chat: lines of the group that the replies have read, oldest first.
            replies: all of the wake, whatever came of them.
        """
        published = [each for each in replies if each.outcome == "published"]
        async with asyncio.TaskGroup() as group:
            tasks = []
            for number, reply in enumerate(published, 1):
                tasks.append(group.create_task(self._remembered(scope, key, chat, reply)))
                if number % STARTS_TOGETHER == 0:
                    await asyncio.sleep(0)
        return {
            reply.agent: replace(reply, memory_problem="it was cancelled")
            if task.cancelled()
            else task.result()
            for reply, task in zip(published, tasks, strict=True)
        }

    async def _remembered(
        self, scope: Scope, key: str, chat: Sequence[ChatLine], reply: AgentReply
    ) -> AgentReply:
        agent, added = self._agents[reply.agent], list[str]()
        problem, recall_problem = "", reply.recall_problem
        try:
            with scope.open(ScopeKind.NODE, f"facts:{agent.id}"):
                answer = await self._budgeter.ask(self._call(agent, key, chat, reply.text))
            facts, problem = read_facts(answer.parsed)
            embedded = await asyncio.gather(
                *(self._recall.embedded(scope, agent.id, fact, Priority.LOW) for fact in facts)
            )
            recall_problem = next(
                filter(None, (recall_problem, *(each.problem for each in embedded))), ""
            )
            if embedded:
                # A request answers many agents in one step, and others have their turn between.
                async with self._adding:
                    await asyncio.sleep(0)
                at = await self._moment(f"facts:{reply.message_id}")
                new = [each for each in embedded if not _is_own(agent, each.text)]
                added, waits = await self._recall.add_facts(
                    agent.id, new, message_id=reply.message_id, at=at
                )
                recall_problem = recall_problem or waits
        except Exception as error:  # noqa: BLE001 - one agent's failure is no other's
            problem = one_line(error, f"the memory of {agent.id}")
        return replace(
            reply, facts=tuple(added), memory_problem=problem, recall_problem=recall_problem
        )

    def _call(self, agent: Agent, key: str, chat: Sequence[ChatLine], text: str) -> Call:
        """Return an agent's call. It is asked once, in the class of urgency of its purpose."""
        return Call(
            Role.FAST,
            Purpose.REMEMBER,
            fact_messages(agent, text, chat=chat, agents=self._agents),
            response_model=FactAnswer,
            sampling=Sampling(temperature=0.0, max_tokens=FACT_TOKENS),
            # Two agents of one name and persona have two answers, in a replay as well.
            share=False,
            max_repairs=0,
            batch_key=f"facts:{key}" if self._is_together else None,
        )


def _is_own(agent: Agent, fact: str) -> bool:
    """Return whether a fact is in what the agent's prompt has anyway."""
    return any(fact in own for own in (agent.persona, *agent.memory))
