"""Actions of the search as calls.

Every call's first message is a prompt that never changes, so that a provider's prompt cache
serves it; all that is of this turn, and so untrusted, is one JSON object in the second: also
what a model wrote before, and what was learned of it (guidelines).

A set of candidates costs one call however many it has, and so does judging them together.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from callwise.calls.call import Call, Message, Purpose, Role, Sampling
from lats.actions import Action, Generate, JudgeList, Refine
from lats.answers import NodeId
from lats.classic_uct import ASSISTANT_CHECK, SINGLE
from lats.policies import start_search
from lats.rule_score import ReplyContext
from lats.search_knobs import SearchKnobs
from lats.search_tree import Candidate, SearchTree
from nodes.records import Language
from nodes.search.action_answers import (
    AssistantCheck,
    CandidateSet,
    Judgement,
    RootPlan,
    Variants,
    labels_shown,
)
from nodes.search.judge_rubrics import rubric_called
from nodes.search_material import SearchMaterial
from nodes.turn import chat, lines_shown

__all__ = ["REPLY_LEASE", "call_for", "goal_of", "judging_fields", "reply_call", "writing_fields"]

REPLY_LEASE = "reply"
"""The lease that the root plan, or the first generation, draws on: it is the call that the
reply must have."""

PLAN_TOKENS, JUDGE_TOKENS, CHECK_TOKENS = 1000, 500, 200
"""The longest answers, which is also what is reserved for them. Temperatures are left to
the endpoint, since some models refuse one."""

EXPAND_TOKENS, SET_TOKENS, TOKENS_PER_CANDIDATE = 200, 300, 500
"""Longest answer of an expansion, and of a set: so much, and so much more a candidate."""

LIST_TOKENS, LIST_TOKENS_PER_CANDIDATE = 200, 200
"""The same of a call that judges a list."""

MAX_STRATEGIES_USED = 24
"""Latest strategy tags that a prompt names."""

MAX_WEAKEST = 2
"""Lowest sub-scores of a leader that a prompt names, so that they are mended first."""


def task_fields(material: SearchMaterial, **asked: Any) -> dict[str, Any]:
    """Return what a message is to do, the same in all calls of a turn, then what one call asks.

    Args:
        material: of this turn.
        asked: what this call asks for, the steadier first; empty ones are left out.
    """
    lasting = {name: material.lasting.get(name) for name in ("plan", "style")}
    return {name: value for name, value in (lasting | asked).items() if value}


def judging_fields(material: SearchMaterial, **asked: Any) -> dict[str, Any]:
    """Return what a judge needs to see. Not the thoughts, which no user will see.

    Args:
        material: of this turn.
        asked: as in `task_fields`.
    """
    lasting = material.lasting
    return {
        "persona": lasting.get("persona"),
        "chat": lasting["chat"],
        "stage": material.stage,
        "mode": material.mode,
        "task": task_fields(material, **asked),
    }


def writing_fields(material: SearchMaterial, **asked: Any) -> dict[str, Any]:
    """Return what the writer of a reply needs to see; see `judging_fields`."""
    lasting = material.lasting
    return {
        **judging_fields(material, **asked),
        "summary": material.summary,
        "memories": lasting.get("memories"),
        "monologue": lasting.get("monologue"),
    }


def goal_of(tree: SearchTree, node_id: NodeId) -> str:
    """Return what a candidate is to reach, as it or the nearest one above it was written for."""
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
        action: what the search wants.
        tree: the search's tree, which has the action's nodes.
        material: of this turn.
        max_repairs: times that an answer of the wrong form is asked again.
        judge_logprobs: likeliest tokens that the judge of a list is to tell; 0 asks for none.

    Raises:
        ConfigError: when a list is to be judged by a rubric that there is not.
    """
    match action:
        case Generate(prompt="plan"):
            call = _plan_call(material)
        case Generate():
            call = _generate_call(action, tree, material)
        case Refine(prompt="expand"):
            call = _expand_call(action, tree, material)
        case Refine():
            call = _refine_call(action, tree, material)
        case JudgeList(rubric=rubric) if rubric == SINGLE:
            call = _judge_call(action, tree, material)
        case JudgeList(rubric=rubric) if rubric == ASSISTANT_CHECK:
            call = _check_call(action, tree, material)
        case JudgeList():
            call = _judge_list_call(action, tree, material, top_logprobs=judge_logprobs)
    return call if call.max_repairs == max_repairs else replace(call, max_repairs=max_repairs)


def reply_call(knobs: SearchKnobs, material: SearchMaterial) -> Call:
    """Return the call that a search under these knobs begins with, to see what it would take.

    It is the one that draws on the reply's lease. A search that may ask nothing is taken
    for one that may ask a single call.

    Args:
        knobs: of the search.
        material: of this turn, as far as it is known.
    """
    context = ReplyContext(user_text=material.user_text, language=material.language)
    able = knobs if knobs.max_calls != 0 else knobs.model_copy(update={"max_calls": 1})
    policy = start_search(able, context)
    return call_for(policy.ask()[0], policy.tree, material)


def _plan_call(material: SearchMaterial) -> Call:
    return Call(
        role=Role.MAIN,
        purpose=Purpose.PLAN,
        messages=chat("lats_plan", material.language, **writing_fields(material)),
        response_model=RootPlan,
        sampling=Sampling(max_tokens=PLAN_TOKENS),
        lease=REPLY_LEASE,
    )


def _strategies(candidates: Iterable[Candidate]) -> list[str]:
    tags = dict.fromkeys(node.draft.strategy_tag for node in candidates if node.draft.strategy_tag)
    return list(tags)[-MAX_STRATEGIES_USED:]


def _generate_call(action: Generate, tree: SearchTree, material: SearchMaterial) -> Call:
    """Return the call that writes candidates from scratch.

    The first one of a search is the call that the reply must have, and is a plan: every
    later one could be done without.
    """
    is_first = action.attempt == 0
    return Call(
        role=Role.MAIN,
        purpose=Purpose.PLAN if is_first else Purpose.EXPAND,
        messages=chat(
            "lats_generate",
            material.language,
            **writing_fields(
                material,
                guidelines=action.guidelines,
                count=action.k,
                strategies_used=_strategies(tree.candidates),
            ),
        ),
        response_model=CandidateSet,
        sampling=Sampling(max_tokens=SET_TOKENS + TOKENS_PER_CANDIDATE * action.k),
        sample=action.attempt,
        lease=REPLY_LEASE if is_first else None,
    )


def _expand_call(action: Refine, tree: SearchTree, material: SearchMaterial) -> Call:
    """Return the call that writes variants of one reply, shown without its scores."""
    parent = tree.nodes[action.node_ids[0]]
    return Call(
        role=Role.MAIN,
        purpose=Purpose.EXPAND,
        messages=chat(
            "lats_expand",
            material.language,
            **writing_fields(
                material,
                goal=goal_of(tree, parent.node_id),
                count=action.k,
                strategies_used=action.strategies_used,
            ),
            parent={"reply": parent.draft.reply, "strategy_tag": parent.draft.strategy_tag},
        ),
        response_model=Variants,
        sampling=Sampling(max_tokens=EXPAND_TOKENS + TOKENS_PER_CANDIDATE * action.k),
        sample=action.attempt,
        speculative=action.is_speculative,
    )


def _refine_call(action: Refine, tree: SearchTree, material: SearchMaterial) -> Call:
    """Return the call that improves on candidates.

    Its instructions are those of a generation, so that it shares all but its last fields
    with the generations of its turn.
    """
    return Call(
        role=Role.MAIN,
        purpose=Purpose.EXPAND,
        messages=chat(
            "lats_generate",
            material.language,
            **writing_fields(
                material,
                guidelines=action.guidelines,
                goal=goal_of(tree, action.node_ids[0]),
                count=action.k,
                strategies_used=_strategies(tree.candidates),
            ),
            parents=[_parent(tree.nodes[node_id]) for node_id in action.node_ids],
        ),
        response_model=Variants,
        sampling=Sampling(max_tokens=SET_TOKENS + TOKENS_PER_CANDIDATE * action.k),
        sample=action.attempt,
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
    return Call(
        role=Role.JUDGE,
        purpose=Purpose.JUDGE,
        messages=_judging_messages(
            "lats_judge",
            rubric_called("overall").sub_scores(material.language),
            material.language,
            **judging_fields(material, goal=goal_of(tree, node_id)),
            reply=tree.nodes[node_id].draft.reply,
        ),
        response_model=Judgement,
        sampling=Sampling(max_tokens=JUDGE_TOKENS),
        sample=action.sample_index,
    )


def _check_call(action: JudgeList, tree: SearchTree, material: SearchMaterial) -> Call:
    """Return the call that reads how much one reply sounds like an assistant."""
    return Call(
        role=Role.JUDGE,
        purpose=Purpose.CHECK,
        messages=chat(
            "lats_check",
            material.language,
            persona=material.lasting.get("persona"),
            chat=lines_shown((), material.user_text),
            reply=tree.nodes[action.node_ids[0]].draft.reply,
        ),
        response_model=AssistantCheck,
        sampling=Sampling(max_tokens=CHECK_TOKENS),
        sample=action.sample_index,
    )


def _judge_list_call(
    action: JudgeList, tree: SearchTree, material: SearchMaterial, *, top_logprobs: int
) -> Call:
    """Return the call that judges candidates together."""
    rubric = rubric_called(action.rubric)
    replies = [tree.nodes[node_id].draft.reply for node_id in action.node_ids]
    shown = dict(zip(labels_shown(action, tree, material), replies, strict=True))
    return Call(
        role=Role.JUDGE,
        purpose=Purpose.JUDGE,
        messages=_judging_messages(
            "lats_judge_list",
            rubric.text(material.language),
            material.language,
            **judging_fields(material),
            candidates=shown,
        ),
        response_model=rubric.answer,
        sampling=Sampling(
            max_tokens=LIST_TOKENS + LIST_TOKENS_PER_CANDIDATE * len(shown),
            top_logprobs=top_logprobs or None,
        ),
        sample=action.sample_index,
    )


def _judging_messages(
    name: str, rubric: str, language: Language, /, **fields: Any
) -> tuple[Message, ...]:
    """Return a judge's messages; the rubric is ours, so it is part of the instructions.

    Args:
        name: name of the prompt.
        rubric: what each score means, and what decides the overall one.
        language: language of the prompt.
        fields: the material.
    """
    system, user = chat(name, language, **fields)
    return replace(system, content=f"{system.content}\n{rubric}"), user
