"""A search's record read back: the one reader of what searches write into `turns.jsonl`.

A record is read from a file, so nothing in it is trusted. Version 1 is what
`lats.result.SearchResult.record` writes; run folders of before have version 0.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

__all__ = ["SearchView", "SearchViewNode", "read_search"]

_START_ID = "start"


@dataclass(frozen=True, slots=True)
class SearchViewNode:
    """One node of a search's tree. Its texts and names are untrusted.

    Args:
        node_id: unique in the tree.
        parent_id: of a node before it; None for the top.
        depth: edges to the top. 0 for the top.
        strategy_tag: the proposer's word for what it tries; may be blank.
        reply: the whole text.
        visits: values backed up through it.
        mean_value: posterior mean of its score; of `classic_uct`, the mean of its visits.
            None where no judge gave a score.
        sd: posterior standard deviation of its score; None where it is not known.
        mean_score: mean of its own scores; None where it has none.
        scores: how many those are.
        judge_passes: judge calls that were to read it, failures included.
        calls: its share of the calls; None when not known.
        rule_score: score by rule, where the search keeps one.
        assistantness: what the assistant check said, where one was made.
        judged: scores that the judge gave, by name.
        reason: the judge's words.
        checks_passed: checks that it passed.
        checks_known: checks that were made of it.
        is_start: whether it is what candidates from scratch start from, and none itself.
        is_best: whether the search answers with it.
        is_dropped: whether the search had dropped it for better ones.
    """

    node_id: str
    parent_id: str | None
    depth: int
    strategy_tag: str
    reply: str
    visits: int = 0
    mean_value: float | None = None
    sd: float | None = None
    mean_score: float | None = None
    scores: int = 0
    judge_passes: int = 0
    calls: float | None = None
    rule_score: float | None = None
    assistantness: float | None = None
    judged: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    checks_passed: int = 0
    checks_known: int = 0
    is_start: bool = False
    is_best: bool = False
    is_dropped: bool = False


@dataclass(frozen=True, slots=True)
class SearchView:
    """A search as it is drawn.

    Args:
        policy: name of the search; blank when the record has none.
        nodes: a parent before its children, siblings in the order of their birth. The first
            is the top: a start where there is one.
        stop_reason: why the search stopped; None while it has not.
        calls: asked in all.
        rounds: of the search.
        chance_best: probability that no other candidate is better; None when not known.
    """

    policy: str
    nodes: tuple[SearchViewNode, ...]
    stop_reason: str | None
    calls: int
    rounds: int
    chance_best: float | None = None

    @property
    def candidates(self) -> tuple[SearchViewNode, ...]:
        """All nodes but a start."""
        return tuple(node for node in self.nodes if not node.is_start)

    def depth_first(self) -> Iterator[SearchViewNode]:
        """Yield the nodes, each followed by all below it. Depth may be any: no recursion."""
        below: dict[str | None, list[SearchViewNode]] = {}
        for node in self.nodes:
            below.setdefault(node.parent_id, []).append(node)
        waiting = below.get(None, [])[::-1]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += reversed(below.get(node.node_id, []))


_READ = ConfigDict(extra="ignore", allow_inf_nan=False, defer_build=True)
_Count = Annotated[int, Field(ge=0)]


class _Judged(BaseModel):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False, defer_build=True)
    __pydantic_extra__: dict[str, float]

    reason: str = ""


class _Candidate(BaseModel):
    model_config = _READ

    id: str
    parent_id: str | None
    reply: str
    strategy_tag: str = ""
    is_dropped: bool = False
    judge_passes: _Count = 0
    scores: _Count = 0
    mean_score: float | None = None
    rule_score: float | None = None
    assistantness: float | None = None
    visits: _Count = 0
    mean_value: float | None = None
    posterior_mean: float | None = None
    posterior_sd: float | None = None
    calls: float | None = None
    checks: dict[str, bool] = {}
    judged: _Judged | None = None


class _Start(BaseModel):
    model_config = _READ

    reply: str = ""
    calls: float | None = None
    visits: _Count = 0


class _Confidence(BaseModel):
    model_config = _READ

    chance_best: float


class _SearchRecord(BaseModel):
    model_config = _READ

    policy: str = ""
    stop_reason: str | None = None
    best_id: str | None = None
    rounds: _Count = 0
    asked: dict[str, _Count] = {}
    start: _Start | None = None
    confidence: _Confidence | None = None
    candidates: list[_Candidate]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _from_version_0(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a record of before version 1 in the form of version 1; what is odd stays odd.

    Its `tree` is a list of candidates below a start, or `{"nodes": {id: node}}` of
    `classic_uct`, whose values are sums.
    """
    tree = raw.get("tree")
    if isinstance(tree, list):
        renamed = [
            {**each, "judge_passes": each.get("looks", 0)} if isinstance(each, Mapping) else each
            for each in tree
        ]
        return {**raw, "start": raw.get("start") or {}, "candidates": renamed}
    if not isinstance(tree, Mapping):
        return {**raw, "candidates": tree} if "tree" in raw else raw
    nodes = tree.get("nodes")
    candidates: list[Any] = []
    for node in nodes.values() if isinstance(nodes, Mapping) else ():
        if not isinstance(node, Mapping):
            candidates.append(node)
            continue
        visits, total = node.get("visits"), node.get("value_sum")
        mean = None
        if isinstance(visits, int) and isinstance(total, int | float) and visits > 0:
            mean = total / visits
        judged, draft = _mapping(node.get("judgement")), _mapping(node.get("draft"))
        score = judged.get("score")
        candidates.append(
            {
                "id": node.get("node_id"),
                "parent_id": node.get("parent_id"),
                "reply": draft.get("reply"),
                "strategy_tag": draft.get("strategy_tag", ""),
                "judge_passes": node.get("looks", 0),
                "scores": int(score is not None),
                "mean_score": score,
                "rule_score": node.get("fast_score"),
                "assistantness": node.get("checked_assistantness"),
                "visits": visits or 0,
                "mean_value": mean,
                "judged": {k: v for k, v in judged.items() if v is not None} or None,
            }
        )
    return {**raw, "policy": "classic_uct", "candidates": candidates}


def read_search(raw: Mapping[str, Any]) -> SearchView:
    """Return a search's record, read.

    Raises:
        ValueError: when it is none, or of a version that is not known; it names the first
            thing that is wrong.
    """
    version = raw.get("search_record", 0)
    if version not in (0, 1) or isinstance(version, bool):
        raise ValueError(f"a search record of version {version!r}; versions 0 and 1 can be read")
    try:
        record = _SearchRecord.model_validate(raw if version else _from_version_0(raw))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise ValueError(f"no record of a search: {where}: {first['msg']}") from error
    nodes = _nodes_of(record)
    if record.best_id is not None and not any(node.is_best for node in nodes):
        raise ValueError(f"no record of a search: best_id {record.best_id!r} is not in its tree")
    return SearchView(
        policy=record.policy,
        nodes=nodes,
        stop_reason=record.stop_reason,
        calls=sum(record.asked.values()),
        rounds=record.rounds,
        chance_best=None if record.confidence is None else record.confidence.chance_best,
    )


def _nodes_of(record: _SearchRecord) -> tuple[SearchViewNode, ...]:
    nodes: dict[str, SearchViewNode] = {}
    top = record.start
    if top is not None:
        nodes[_START_ID] = SearchViewNode(
            _START_ID, None, 0, "", top.reply, visits=top.visits, calls=top.calls, is_start=True
        )
    for place, each in enumerate(record.candidates):
        above = _START_ID if each.parent_id is None and top is not None else each.parent_id
        parent = None if above is None else nodes.get(above)
        where = f"no record of a search: candidates.{place}: {each.id!r}"
        if each.id in nodes:
            raise ValueError(f"{where} is listed twice")
        if parent is None and nodes:
            raise ValueError(f"{where} comes before its parent")
        nodes[each.id] = _node_of(each, parent, is_best=each.id == record.best_id)
    return tuple(nodes.values())


def _node_of(record: _Candidate, parent: SearchViewNode | None, *, is_best: bool) -> SearchViewNode:
    judged = record.judged or _Judged()
    has_posterior = record.posterior_mean is not None
    return SearchViewNode(
        node_id=record.id,
        parent_id=None if parent is None else parent.node_id,
        depth=0 if parent is None else parent.depth + 1,
        strategy_tag=record.strategy_tag,
        reply=record.reply,
        visits=record.visits,
        mean_value=record.posterior_mean if has_posterior else record.mean_value,
        sd=record.posterior_sd,
        mean_score=record.mean_score,
        scores=record.scores,
        judge_passes=record.judge_passes,
        calls=record.calls,
        rule_score=record.rule_score,
        assistantness=record.assistantness,
        judged=dict(judged.__pydantic_extra__ or {}),
        reason=judged.reason,
        checks_passed=sum(record.checks.values()),
        checks_known=len(record.checks),
        is_best=is_best,
        is_dropped=record.is_dropped,
    )
