"""The search's proposals as calls, and the calls' answers as what the search is told.

Every call's first message is a prompt that never changes, so that a provider's prompt
cache serves it; all that is of this turn, and so untrusted, is one JSON object in the
second.
"""

from dataclasses import replace
from typing import Any

from lats.draft import Draft
from lats.judgement import Judgement as SearchJudgement
from lats.proposal import (
    CheckAssistant,
    Drafts,
    ExpandNode,
    Failure,
    FinalJudge,
    JudgeCandidate,
    PlanRoot,
    Proposal,
    TopUp,
)
from lats.tree import Tree
from nodes.prompt import chat
from nodes.search_answers import AssistantCheck, Judgement, RootPlan, Variants
from nodes.search_material import SearchMaterial
from turnwise.calls.call import Call, Sampling
from turnwise.calls.errors import CallError, CallRefused
from turnwise.calls.reply import Reply
from turnwise.calls.vocabulary import Purpose, Role

__all__ = ["REPLY_LEASE", "answer_to", "call_for"]

REPLY_LEASE = "reply"
"""The lease that the root plan draws on: it is the call that the reply must have."""

PLAN_SAMPLING = Sampling(max_tokens=1000)
JUDGE_SAMPLING = Sampling(max_tokens=500)
CHECK_SAMPLING = Sampling(max_tokens=200)
"""The longest answers, which is also what is reserved for them. Temperatures are left to
the endpoint, since some models refuse one."""

EXPAND_TOKENS, EXPAND_TOKENS_PER_CANDIDATE = 200, 500
"""Longest answer of an expansion: so much, and so much more for each candidate."""

MAX_DETAIL_CHARS = 200
"""Longest account of a failure that a search keeps, in characters."""


def _judging_fields(material: SearchMaterial, tree: Tree) -> dict[str, Any]:
    """Return what a judge needs to see. Not the thoughts, which no user will see."""
    lasting = material.lasting
    return {
        "user_text": material.user_text,
        "persona": lasting["persona"],
        "history": lasting["history"],
        "plan": lasting["plan"],
        "style": lasting["style"],
        "mode": material.mode,
        "stage": material.stage,
        "goal": tree.root.draft.payload.get("goal") if len(tree) else None,
    }


def _writing_fields(material: SearchMaterial, tree: Tree) -> dict[str, Any]:
    """Return what whoever writes a reply needs to see."""
    lasting = material.lasting
    return {
        **_judging_fields(material, tree),
        "memories": lasting["memories"],
        "monologue": lasting["monologue"],
        "summary": material.summary,
    }


def call_for(
    proposal: Proposal, tree: Tree, material: SearchMaterial, *, max_repairs: int = 1
) -> Call:
    """Return the call that answers a proposal.

    Args:
        proposal: what the search wants.
        tree: the search's tree, where the proposal's node stands.
        material: of this turn.
        max_repairs: times that an answer of the wrong form is asked again.
    """
    match proposal:
        case PlanRoot():
            call = _plan_call(material, tree)
        case ExpandNode() | TopUp():
            call = _expand_call(proposal, material, tree)
        case JudgeCandidate() | FinalJudge():
            call = _judge_call(proposal, material, tree)
        case CheckAssistant():
            call = _check_call(proposal, material, tree)
    return call if call.max_repairs == max_repairs else replace(call, max_repairs=max_repairs)


def _plan_call(material: SearchMaterial, tree: Tree) -> Call:
    return Call(
        role=Role.MAIN,
        purpose=Purpose.PLAN,
        messages=chat("lats_plan", material.language, **_writing_fields(material, tree)),
        response_model=RootPlan,
        sampling=PLAN_SAMPLING,
        lease=REPLY_LEASE,
    )


def _expand_call(proposal: ExpandNode | TopUp, material: SearchMaterial, tree: Tree) -> Call:
    parent = tree.nodes[proposal.node_id].draft
    messages = chat(
        "lats_expand",
        material.language,
        **_writing_fields(material, tree),
        parent={"reply": parent.reply, "strategy_tag": parent.strategy_tag},
        count=proposal.k,
        strategies_used=proposal.strategies_used,
    )
    return Call(
        role=Role.MAIN,
        purpose=Purpose.EXPAND,
        messages=messages,
        response_model=Variants,
        sampling=Sampling(max_tokens=EXPAND_TOKENS + EXPAND_TOKENS_PER_CANDIDATE * proposal.k),
        sample=proposal.attempt,
        speculative=isinstance(proposal, ExpandNode) and proposal.is_speculative,
    )


def _judge_call(
    proposal: JudgeCandidate | FinalJudge, material: SearchMaterial, tree: Tree
) -> Call:
    messages = chat(
        "lats_judge",
        material.language,
        **_judging_fields(material, tree),
        reply=tree.nodes[proposal.node_id].draft.reply,
    )
    return Call(
        role=Role.JUDGE,
        purpose=Purpose.JUDGE,
        messages=messages,
        response_model=Judgement,
        sampling=JUDGE_SAMPLING,
        sample=proposal.look,
    )


def _check_call(proposal: CheckAssistant, material: SearchMaterial, tree: Tree) -> Call:
    messages = chat(
        "lats_check",
        material.language,
        user_text=material.user_text,
        persona=material.lasting["persona"],
        reply=tree.nodes[proposal.node_id].draft.reply,
    )
    return Call(
        role=Role.JUDGE,
        purpose=Purpose.CHECK,
        messages=messages,
        response_model=AssistantCheck,
        sampling=CHECK_SAMPLING,
    )


def _draft(answer: Any) -> Draft:
    payload = answer.model_dump(mode="json", exclude={"reply", "strategy_tag"})
    return Draft(reply=answer.reply, strategy_tag=answer.strategy_tag, payload=payload)


def answer_to(answer: Reply | CallError) -> Drafts | SearchJudgement | Failure:
    """Return what the search is told of a call's end.

    Raises:
        CallError: when going on makes no sense (`is_fatal`).
        TypeError: when whoever answered did not read the answer as its model.
    """
    if isinstance(answer, CallError):
        if answer.is_fatal:
            raise answer
        detail = f"{type(answer).__name__}: {answer}"[:MAX_DETAIL_CHARS]
        return Failure(is_refused=isinstance(answer, CallRefused), detail=detail)
    match answer.parsed:
        case RootPlan() as plan:
            return Drafts(drafts=(_draft(plan),))
        case Variants(candidates=candidates):
            return Drafts(drafts=tuple(_draft(variant) for variant in candidates))
        case Judgement() as judgement:
            return SearchJudgement(**judgement.model_dump())
        case AssistantCheck() as check:
            return SearchJudgement(**check.model_dump())
        case other:
            raise TypeError(f"expected a parsed answer of the search, got {type(other).__name__}")
