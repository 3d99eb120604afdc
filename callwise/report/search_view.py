"""A search's record read back: the one reader of the records of searches in `turns.jsonl`.

A record is read from a file, so nothing in it is trusted. Version 1 is written by
`lats.result.SearchResult.record`; older run folders have version 0.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

__all__ = ["SearchView", "SearchViewNode", "read_search"]

_START_ID = "start"
_OLD_PASSES = "looks"
"""Name of `judge_passes` in version 0."""
_READ = ConfigDict(extra="ignore", allow_inf_nan=False, defer_build=True)
_Count = Annotated[int, Field(ge=0)]


class _Judged(BaseModel):
    """A judge's scores by name, as extra fields, and its reason."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, defer_build=True)
    __pydantic_extra__: dict[str, float]

    reason: str = ""


class SearchViewNode(BaseModel):
    """One node of a search's tree. Its texts and names are untrusted.

    Fields have the names of the record; `depth`, `is_start` and `is_best` are found by the
    reader. None is a figure that is not known.
    """

    model_config = _READ | {"frozen": True}

    id: str
    parent_id: str | None
    """Id of a node before it; None for the top."""
    reply: str
    strategy_tag: str = ""
    """The proposer's word for what it tries; may be blank."""
    judge_passes: _Count = 0
    """Judge calls that were to read it, failures included."""
    scores: _Count = 0
    """Number of scores whose mean is `mean_score`."""
    mean_score: float | None = None
    rule_score: float | None = None
    assistantness: float | None = None
    visits: _Count = 0
    """Values backed up through it; their mean is `mean_value` in `classic_uct`."""
    mean_value: float | None = None
    posterior_mean: float | None = None
    posterior_sd: float | None = None
    calls: float | None = None
    """Its share of the calls."""
    checks: dict[str, bool] = {}
    judged: _Judged | None = None
    is_dropped: bool = False
    """Whether the search had dropped it for better ones."""
    depth: int = 0
    """Edges to the top. 0 for the top."""
    is_start: bool = False
    """Whether it is the start of candidates from scratch, and no candidate itself."""
    is_best: bool = False
    """Whether the search answers with it."""

    @property
    def value(self) -> float | None:
        """Posterior mean of its score; of `classic_uct`, the mean of its visits."""
        return self.mean_value if self.posterior_mean is None else self.posterior_mean

    @property
    def judge_scores(self) -> dict[str, float]:
        """Scores that the judge gave, by name."""
        return {} if self.judged is None else dict(self.judged.__pydantic_extra__ or {})

    @property
    def reason(self) -> str:
        """The judge's reason; may be empty."""
        return "" if self.judged is None else self.judged.reason


@dataclass(frozen=True, slots=True)
class SearchView:
    """A search as it is drawn.

    Args:
        policy: name of the search; blank when the record has none.
        nodes: a parent before its children, siblings in the order of their birth. The first
            is the top: a start where there is one.
        stop_reason: None while the search has not stopped.
        calls: asked in all.
        rounds: of the search.
        chance_best: probability that no other candidate is better; None when not known.
        chance_right: probability that the answer is right, by labels; None when not known.
    """

    policy: str
    nodes: tuple[SearchViewNode, ...]
    stop_reason: str | None
    calls: int
    rounds: int
    chance_best: float | None = None
    chance_right: float | None = None

    @property
    def candidates(self) -> tuple[SearchViewNode, ...]:
        """All nodes but a start."""
        return tuple(node for node in self.nodes if not node.is_start)

    def depth_first(self) -> Iterator[SearchViewNode]:
        """Yield the nodes, each followed by all below it. Depth is not limited: no recursion."""
        below: dict[str | None, list[SearchViewNode]] = {}
        for node in self.nodes:
            below.setdefault(node.parent_id, []).append(node)
        waiting = below.get(None, [])[::-1]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += reversed(below.get(node.id, []))


class _Start(BaseModel):
    model_config = _READ

    reply: str = ""
    calls: float | None = None
    visits: _Count = 0


class _Confidence(BaseModel):
    model_config = _READ

    chance_best: float
    chance_right: float | None = None


class _SearchRecord(BaseModel):
    model_config = _READ

    policy: str = ""
    stop_reason: str | None = None
    best_id: str | None = None
    rounds: _Count = 0
    asked: dict[str, _Count] = {}
    start: _Start | None = None
    confidence: _Confidence | None = None
    candidates: list[SearchViewNode]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _from_version_0(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a record of before version 1 in the form of version 1; nothing is checked.

    Its `tree` is a list of candidates below a start, or `{"nodes": {id: node}}` of
    `classic_uct`, whose values are sums.
    """
    tree = raw.get("tree")
    if isinstance(tree, list):
        renamed = [
            {**each, "judge_passes": each.get(_OLD_PASSES, 0)}
            if isinstance(each, Mapping)
            else each
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
                "judge_passes": node.get(_OLD_PASSES, 0),
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
            field that is wrong.
    """
    if not isinstance(raw, Mapping):
        raise ValueError(f"no record of a search: expected an object, got {raw!r:.80}")  # noqa: TRY004
    version = raw.get("search_record", 0)
    if version not in (0, 1) or isinstance(version, bool):
        raise ValueError(f"a search record of version {version!r}; versions 0 and 1 can be read")
    try:
        record = _SearchRecord.model_validate(raw if version else _from_version_0(raw))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"])) or "the whole"
        raise ValueError(f"no record of a search: {field}: {first['msg']}") from error
    nodes, confidence = _nodes_of(record), record.confidence
    if record.best_id is not None and not any(node.is_best for node in nodes):
        raise ValueError(f"no record of a search: best_id {record.best_id!r} is not in its tree")
    return SearchView(
        policy=record.policy,
        nodes=nodes,
        stop_reason=record.stop_reason,
        calls=sum(record.asked.values()),
        rounds=record.rounds,
        chance_best=None if confidence is None else confidence.chance_best,
        chance_right=None if confidence is None else confidence.chance_right,
    )


def _nodes_of(record: _SearchRecord) -> tuple[SearchViewNode, ...]:
    nodes: dict[str, SearchViewNode] = {}
    top = record.start
    if top is not None:
        nodes[_START_ID] = SearchViewNode(
            id=_START_ID,
            parent_id=None,
            reply=top.reply,
            visits=top.visits,
            calls=top.calls,
            is_start=True,
        )
    for place, each in enumerate(record.candidates):
        parent_id = _START_ID if each.parent_id is None and top is not None else each.parent_id
        parent = None if parent_id is None else nodes.get(parent_id)
        candidate = f"no record of a search: candidates.{place}: {each.id!r}"
        if each.id in nodes:
            raise ValueError(f"{candidate} is listed twice")
        if parent is None and nodes:
            raise ValueError(f"{candidate} comes before its parent")
        found = {
            "parent_id": None if parent is None else parent.id,
            "depth": 0 if parent is None else parent.depth + 1,
            "is_start": False,
            "is_best": each.id == record.best_id,
        }
        nodes[each.id] = each.model_copy(update=found)
    return tuple(nodes.values())
