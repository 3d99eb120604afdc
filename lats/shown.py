"""A search's tree as plain records to draw from: the same from a live search and from JSON.

Whatever draws (`render`, `render_mermaid`, `render_svg`) reads these records alone, so a
search that ended long ago on another machine is drawn like one under way.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from lats.actions import Kind
from lats.judgement import Judgement
from lats.result import SearchResult, StopReason
from lats.search_tree import Forest
from lats.shown_nodes import nodes_of_forest, nodes_of_tree
from lats.shown_tree import ShownNode, ShownTree, plain_line
from lats.tree import Tree

__all__ = [
    "ShownNode",
    "ShownTree",
    "candidate_records",
    "plain_line",
    "shown_from_json",
    "shown_tree",
    "tree_as_json",
]

DIGITS = 4
"""Digits after the point of the figures that are written of a candidate."""

_START_ID = "start"


def shown_tree(result: SearchResult | ShownTree) -> ShownTree:
    """Return the records of a search, at its end or before; those given, where they are some."""
    if isinstance(result, ShownTree):
        return result
    tree, best, final, sure = result.tree, result.best, result.final_judgement, result.confidence
    if isinstance(tree, Forest):
        nodes = nodes_of_forest(tree, result)
    else:
        nodes = nodes_of_tree(tree, None if best is None else best.node_id)
    return ShownTree(
        kind="posterior" if isinstance(tree, Forest) else "classic",
        nodes=nodes,
        stop_reason=result.stop_reason,
        calls=result.calls,
        rounds=result.rounds,
        chance_best=None if sure is None else sure.chance_best,
        was_judged_again=final is not None,
        final_score=None if final is None else final.score,
    )


def tree_as_json(result: SearchResult) -> dict[str, Any]:
    """Return a search as plain JSON that `shown_from_json` reads; its payloads are left out.

    Keys: `kind` (`classic` or `posterior`), `stop_reason`, `best_id`, `rounds`, `asked` (calls
    by kind), `final_judgement`, `confidence` and `tree`: of a classic search the whole tree
    as `lats` writes it, of any other `candidate_records`. A posterior one has a `start`, too.
    """
    best, final, sure = result.best, result.final_judgement, result.confidence
    found: dict[str, Any] = {
        "kind": "posterior" if isinstance(result.tree, Forest) else "classic",
        "stop_reason": None if result.stop_reason is None else result.stop_reason.value,
        "best_id": None if best is None else best.node_id,
        "rounds": result.rounds,
        "asked": {kind.value: count for kind, count in result.asked.items()},
        "final_judgement": None if final is None else final.model_dump(mode="json"),
        "confidence": None if sure is None else asdict(sure),
    }
    if not isinstance(result.tree, Forest):
        return {**found, "tree": result.tree.model_dump(mode="json")}
    start = shown_tree(result).nodes[0]
    about = {"reply": start.reply, "calls": _figure(start.calls), "visits": start.visits}
    return {**found, "start": about, "tree": candidate_records(result)}


def candidate_records(result: SearchResult) -> list[dict[str, Any]]:
    """Return what is drawn of a posterior search's candidates, as plain JSON.

    One record a candidate in the order of birth, so a parent stands before its children;
    `parent_id` is null for one from scratch, missing figures are null. `posterior_mean` and
    `posterior_sd` are what is believed of it, `mean_score` the mean of its `scores` scores,
    drift removed; `calls` its share of the calls; `judged` the last verdict: the
    scores that it gave, and its words.

    Raises:
        TypeError: for a classic search, whose tree is its own record.
    """
    forest = result.tree
    if not isinstance(forest, Forest):
        raise TypeError("a classic search has no candidate records; write its tree")
    nodes = [node for node in nodes_of_forest(forest, result) if not node.is_start]
    return [
        {
            "id": node.node_id,
            "parent_id": None if node.depth == 1 else node.parent_id,
            "depth": node.depth,
            "strategy_tag": node.strategy_tag,
            "reply": node.reply,
            "is_step": candidate.draft.is_step,
            "is_dropped": node.is_dropped,
            "looks": node.looks,
            "scores": node.scores,
            "mean_score": _figure(candidate.mean_score),
            "posterior_mean": _figure(node.mean_value),
            "posterior_sd": _figure(node.sd),
            "visits": node.visits,
            "best_value": _figure(candidate.best_value),
            "calls": _figure(node.calls),
            "checks": dict(candidate.checks),
            "judged": _judged(node) if candidate.verdict is not None else None,
        }
        for node, candidate in zip(nodes, forest.candidates, strict=True)
    ]


def _figure(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS)


def _judged(node: ShownNode) -> dict[str, Any]:
    given = {"score": node.judge_score, **node.attributes}
    figures = {name: _figure(value) for name, value in given.items() if value is not None}
    return {**figures, "reason": node.reason}


_READ = ConfigDict(extra="ignore", allow_inf_nan=False, defer_build=True)
_Count = Annotated[int, Field(ge=0)]


class _Judged(BaseModel):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False, defer_build=True)
    __pydantic_extra__: dict[str, float]

    reason: str = ""
    score: float | None = None


class _Candidate(BaseModel):
    """One of `candidate_records`; what a writer may not know is optional."""

    model_config = _READ

    id: str
    parent_id: str | None
    reply: str
    strategy_tag: str = ""
    is_dropped: bool = False
    looks: _Count = 0
    scores: _Count = 0
    posterior_mean: float | None = None
    posterior_sd: float | None = None
    visits: _Count = 0
    calls: float | None = None
    checks: dict[str, bool] = {}
    judged: _Judged | None = None


class _Start(BaseModel):
    model_config = _READ

    reply: str = ""
    calls: float | None = None
    visits: _Count = 0


class _Sure(BaseModel):
    model_config = _READ

    chance_best: float


def _form_of(tree: Any) -> str:
    return "posterior" if isinstance(tree, list) else "classic"


_SavedTree = Annotated[
    Annotated[Tree, Tag("classic")] | Annotated[list[_Candidate], Tag("posterior")],
    Discriminator(_form_of),
]


class _Summary(BaseModel):
    model_config = _READ

    stop_reason: StopReason | None
    best_id: str | None
    rounds: _Count
    asked: dict[Kind, _Count]
    tree: _SavedTree
    start: _Start = _Start()
    confidence: _Sure | None = None
    final_judgement: Judgement | None = None


def shown_from_json(raw: Mapping[str, Any]) -> ShownTree:
    """Return the records of a search that `tree_as_json` wrote, or that a turn's record holds.

    Raises:
        ValueError: when it is not that; it names the first thing that is wrong.
    """
    try:
        summary = _Summary.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise ValueError(f"no record of a search: {where}: {first['msg']}") from error
    tree, final = summary.tree, summary.final_judgement
    if isinstance(tree, Tree):
        nodes = nodes_of_tree(tree, summary.best_id)
    else:
        nodes = _nodes_of_records(tree, summary)
    if summary.best_id is not None and not any(node.is_best for node in nodes):
        raise ValueError(f"no record of a search: best_id {summary.best_id!r} is not in its tree")
    return ShownTree(
        kind="classic" if isinstance(tree, Tree) else "posterior",
        nodes=nodes,
        stop_reason=summary.stop_reason,
        calls=sum(summary.asked.values()),
        rounds=summary.rounds,
        chance_best=None if summary.confidence is None else summary.confidence.chance_best,
        was_judged_again=final is not None,
        final_score=None if final is None else final.score,
    )


def _nodes_of_records(records: list[_Candidate], summary: _Summary) -> tuple[ShownNode, ...]:
    top = summary.start
    start = ShownNode(
        _START_ID, None, 0, "", top.reply, visits=top.visits, calls=top.calls, is_start=True
    )
    nodes = {_START_ID: start}
    for place, record in enumerate(records):
        parent = nodes.get(_START_ID if record.parent_id is None else record.parent_id)
        if record.id in nodes or parent is None:
            what = "stands there twice" if parent is not None else "comes before its parent"
            raise ValueError(f"no record of a search: tree.{place}: {record.id!r} {what}")
        nodes[record.id] = _node_of(record, parent, is_best=record.id == summary.best_id)
    return tuple(nodes.values())


def _node_of(record: _Candidate, parent: ShownNode, *, is_best: bool) -> ShownNode:
    judged = record.judged or _Judged()
    return ShownNode(
        node_id=record.id,
        parent_id=parent.node_id,
        depth=parent.depth + 1,
        strategy_tag=record.strategy_tag,
        reply=record.reply,
        visits=record.visits,
        mean_value=record.posterior_mean,
        sd=record.posterior_sd,
        scores=record.scores,
        looks=record.looks,
        calls=record.calls,
        judge_score=judged.score,
        attributes=dict(judged.__pydantic_extra__ or {}),
        checks_passed=sum(record.checks.values()),
        checks_known=len(record.checks),
        reason=judged.reason,
        is_best=is_best,
        is_dropped=record.is_dropped,
    )
