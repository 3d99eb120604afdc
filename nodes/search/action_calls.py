"""Calls that answer the search's actions.

Every call's first message is a prompt that never changes, so that a provider's prompt cache
serves it; everything of this turn, which is untrusted, is one JSON object in the second: also
earlier answers of a model, and guidelines made of them.

A set of candidates costs one call however many it has, and so does judging them together.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import orjson

from callwise.calls.call import Call, Purpose, Role, Sampling
from lats.actions import Action, Generate, JudgeList, Refine
from lats.answers import NodeId
from lats.classic_uct import ASSISTANT_CHECK, SINGLE
from lats.policies import start_search
from lats.rule_score import ReplyContext
from lats.search_knobs import SearchKnobs
from lats.search_tree import Candidate, SearchTree
from nodes.cleaning import cleaned
from nodes.prompt import prepared
from nodes.question import AnswerForm
from nodes.search.action_answers import (
    AssistantCheck,
    CandidateSet,
    Judgement,
    RootPlan,
    Variants,
    labels_shown,
    rubric_called,
)
from nodes.turn import PROMPT_FIELDS, TurnView, chat, lines_shown, phrase_of

__all__ = [
    "REPLY_LEASE",
    "SearchMaterial",
    "call_for",
    "goal_of",
    "judging_fields",
    "reply_call",
    "writing_fields",
]

REPLY_LEASE = "reply"
"""The lease that the first call draws on, a root plan or a generation: it brings the reply."""

PLAN_TOKENS, JUDGE_TOKENS, CHECK_TOKENS = 1000, 500, 200
"""The longest answers, which is also what is reserved for them. Temperatures are left to
the endpoint, since some models refuse one."""

EXPAND_TOKENS, SET_TOKENS, TOKENS_PER_CANDIDATE = 200, 300, 500
"""Longest answer of an expansion, and of a set: so much, and so much more per candidate."""

LIST_TOKENS, LIST_TOKENS_PER_CANDIDATE = 200, 200
"""The same of a call that judges a list."""

MAX_STRATEGIES_USED = 24
"""Latest strategy tags that a prompt names."""

MAX_WEAKEST = 2
"""Lowest sub-scores of a leader that a prompt names, so that they are mended first."""


@dataclass(frozen=True)
class SearchMaterial:
    """A turn, and the larger fields of the search's prompts, made once for all its calls."""

    view: TurnView

    @cached_property
    def lasting(self) -> dict[str, orjson.Fragment]:
        """The larger fields of most prompts of a search; empty ones are left out."""
        view = self.view
        shown = ("persona", "chat", "memories", "monologue")
        fields = {
            "plan": view.plan,
            "style": phrase_of("style", view.style, view.language),
            **{name: PROMPT_FIELDS[name](view) for name in shown},
        }
        made = {
            name: value if isinstance(value, orjson.Fragment) else prepared(name, value)
            for name, value in fields.items()
        }
        return {name: value for name, value in made.items() if value is not None}


def judging_fields(material: SearchMaterial, **asked: Any) -> dict[str, Any]:
    """Return the fields that a judge reads. Not the thoughts, which no user will see.

    Args:
        asked: what this call asks for, the steadier first, after the plan and the style, which
            are the same in all calls of a turn; empty ones are left out.
    """
    lasting = material.lasting
    task = {name: lasting.get(name) for name in ("plan", "style")} | asked
    return {
        "persona": lasting.get("persona"),
        "chat": lasting["chat"],
        "stage": material.view.relationship.stage,
        "mode": material.view.mode,
        "task": {name: value for name, value in task.items() if value},
    }


def writing_fields(material: SearchMaterial, **asked: Any) -> dict[str, Any]:
    """Return the fields that the writer of a reply reads; see `judging_fields`."""
    return {
        **judging_fields(material, **asked),
        "summary": material.view.earlier,
        "memories": material.lasting.get("memories"),
        "monologue": material.lasting.get("monologue"),
    }


def goal_of(tree: SearchTree, node_id: NodeId) -> str:
    """Return the goal that a candidate, or the nearest one above it, was written for."""
    goals = (node.draft.payload.get("goal") for node in tree.path_to_top(node_id))
    return next((goal for goal in goals if isinstance(goal, str) and goal), "")


def call_for(
    action: Action,
    tree: SearchTree,
    material: SearchMaterial,
    *,
    max_repairs: int = 1,
    judge_logprobs: int = 0,
) -> Call:
    """Return the call that answers an action.

    Args:
        max_repairs: times that an answer of the wrong form is asked again.
        judge_logprobs: likeliest tokens that the judge of a list is to report; 0 asks for none.

    Raises:
        ConfigError: when a list is to be judged by an unknown rubric.
    """
    match action:
        case Generate():
            call = _generate_call(action, tree, material)
        case Refine():
            call = _refine_call(action, tree, material)
        case JudgeList(rubric=rubric) if rubric == SINGLE:
            call = _judge_call(action, tree, material)
        case JudgeList(rubric=rubric) if rubric == ASSISTANT_CHECK:
            call = _check_call(action, tree, material)
        case JudgeList():
            call = _judge_list_call(action, tree, material, top_logprobs=judge_logprobs)
    return call if call.max_repairs == max_repairs else replace(call, max_repairs=max_repairs)


def reply_call(knobs: SearchKnobs, view: TurnView) -> Call:
    """Return the call that a search under these knobs begins with, to estimate its cost.

    It is the one that draws on the reply's lease. A search that may ask nothing is taken
    for one that may ask a single call.
    """
    context = ReplyContext(user_text=view.user_text, language=view.language)
    able = knobs if knobs.max_calls != 0 else knobs.model_copy(update={"max_calls": 1})
    policy = start_search(able, context)
    return call_for(policy.ask()[0], policy.tree, SearchMaterial(cleaned(view)))


def _strategies(candidates: Iterable[Candidate]) -> list[str]:
    tags = dict.fromkeys(node.draft.strategy_tag for node in candidates if node.draft.strategy_tag)
    return list(tags)[-MAX_STRATEGIES_USED:]


def _generate_call(action: Generate, tree: SearchTree, material: SearchMaterial) -> Call:
    """Return the call that writes candidates from scratch.

    The first one of a search is the call that the reply must have, and is a plan: every
    later one could be done without.
    """
    is_first = action.attempt == 0
    asked: dict[str, Any] = {}
    answer: type[AnswerForm] = RootPlan
    name, max_tokens = "lats_plan", PLAN_TOKENS
    if action.prompt != "plan":
        name, answer = "lats_generate", CandidateSet
        max_tokens = SET_TOKENS + TOKENS_PER_CANDIDATE * action.k
        asked = {
            "guidelines": action.guidelines,
            "count": action.k,
            "strategies_used": _strategies(tree.candidates),
        }
    return Call(
        role=Role.MAIN,
        purpose=Purpose.PLAN if is_first else Purpose.EXPAND,
        messages=chat(name, material.view.language, **writing_fields(material, **asked)),
        response_model=answer,
        sampling=Sampling(max_tokens=max_tokens),
        sample=action.attempt,
        lease=REPLY_LEASE if is_first else None,
    )


def _refine_call(action: Refine, tree: SearchTree, material: SearchMaterial) -> Call:
    """Return the call that improves on candidates, or writes variants of one.

    Instructions for improving are those of a generation, so that it shares all but its last
    fields with the generations of its turn. Variants are asked for without showing scores.
    """
    parents = [tree.nodes[node_id] for node_id in action.node_ids]
    asked = {"goal": goal_of(tree, action.node_ids[0]), "count": action.k}
    shown: dict[str, Any]
    if action.prompt == "expand":
        name, max_tokens = "lats_expand", EXPAND_TOKENS
        asked["strategies_used"] = action.strategies_used
        draft = parents[0].draft
        shown = {"parent": {"reply": draft.reply, "strategy_tag": draft.strategy_tag}}
    else:
        name, max_tokens = "lats_generate", SET_TOKENS
        asked = {"guidelines": action.guidelines, **asked}
        asked["strategies_used"] = _strategies(tree.candidates)
        shown = {"parents": [_parent(node) for node in parents]}
    return Call(
        role=Role.MAIN,
        purpose=Purpose.EXPAND,
        messages=chat(name, material.view.language, **writing_fields(material, **asked), **shown),
        response_model=Variants,
        sampling=Sampling(max_tokens=max_tokens + TOKENS_PER_CANDIDATE * action.k),
        sample=action.attempt,
        speculative=action.is_speculative,
    )


def _parent(node: Candidate) -> dict[str, Any]:
    """Return a leader as a prompt shows it: the reply, and what the judge found wrong with it."""
    shown: dict[str, Any] = {"reply": node.draft.reply, "strategy_tag": node.draft.strategy_tag}
    verdict = node.verdict
    if verdict is not None:
        shown["weakest"] = _weakest(verdict.attributes)
        shown["critique"] = verdict.reason
    return {name: value for name, value in shown.items() if value}


def _weakest(attributes: Mapping[str, float]) -> list[str]:
    """Return the lowest sub-scores' names, the worst first; of assistantness, less is better."""
    goodness = {
        name: 1 - value if name == "assistantness" else value for name, value in attributes.items()
    }
    return sorted(goodness, key=goodness.__getitem__)[:MAX_WEAKEST]


def _judge_call(action: JudgeList, tree: SearchTree, material: SearchMaterial) -> Call:
    """Return the call that judges one reply."""
    node_id = action.node_ids[0]
    goal, reply = goal_of(tree, node_id), tree.nodes[node_id].draft.reply
    return _judging(
        "lats_judge",
        action,
        material,
        {**judging_fields(material, goal=goal), "reply": reply},
        answer=Judgement,
        sampling=Sampling(max_tokens=JUDGE_TOKENS),
        rubric=rubric_called("overall").sub_scores(material.view.language),
    )


def _check_call(action: JudgeList, tree: SearchTree, material: SearchMaterial) -> Call:
    """Return the call that judges how much one reply sounds like an assistant."""
    fields = {
        "persona": material.lasting.get("persona"),
        "chat": lines_shown((), material.view.user_text),
        "reply": tree.nodes[action.node_ids[0]].draft.reply,
    }
    sampling = Sampling(max_tokens=CHECK_TOKENS)
    call = _judging(
        "lats_check", action, material, fields, answer=AssistantCheck, sampling=sampling
    )
    return replace(call, purpose=Purpose.CHECK)


def _judge_list_call(
    action: JudgeList, tree: SearchTree, material: SearchMaterial, *, top_logprobs: int
) -> Call:
    """Return the call that judges candidates together."""
    rubric = rubric_called(action.rubric)
    replies = [tree.nodes[node_id].draft.reply for node_id in action.node_ids]
    labels = labels_shown(action, tree, material.view.user_text)
    return _judging(
        "lats_judge_list",
        action,
        material,
        {**judging_fields(material), "candidates": dict(zip(labels, replies, strict=True))},
        answer=rubric.answer,
        sampling=Sampling(
            max_tokens=LIST_TOKENS + LIST_TOKENS_PER_CANDIDATE * len(replies),
            top_logprobs=top_logprobs or None,
        ),
        rubric=rubric.text(material.view.language),
    )


def _judging(
    prompt: str,
    action: JudgeList,
    material: SearchMaterial,
    fields: Mapping[str, Any],
    *,
    answer: type[AnswerForm],
    sampling: Sampling,
    rubric: str = "",
) -> Call:
    """Return a judge's call; the rubric is ours, so it is part of the instructions."""
    system, user = chat(prompt, material.view.language, **fields)
    if rubric:
        system = replace(system, content=f"{system.content}\n{rubric}")
    return Call(
        role=Role.JUDGE,
        purpose=Purpose.JUDGE,
        messages=(system, user),
        response_model=answer,
        sampling=sampling,
        sample=action.sample_index,
    )
