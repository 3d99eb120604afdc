"""The judge of a list: which label stands for whom, and its answer as verdicts.

Candidates are shown under `c1`, `c2`, ... by their place, and nothing else: an id or a
strategy tag could tell the judge who wrote what, and when.
"""

import re
from collections.abc import Mapping, Sequence

from lats.json_numbers import numbers_at
from lats.logprob import JsonPath, expected_scores
from lats.tree import NodeId
from lats.verdict import Verdict, Verdicts
from nodes.search_list_answers import ListEntry, ListVerdicts
from turnwise.calls.reply import Reply

__all__ = ["labelled", "verdicts_of"]


def labelled(node_ids: Sequence[NodeId]) -> dict[str, NodeId]:
    """Return candidates by the labels under which a judge sees them, in their order."""
    return {f"c{place}": node_id for place, node_id in enumerate(node_ids, start=1)}


def verdicts_of(node_ids: Sequence[NodeId], answer: ListVerdicts, reply: Reply) -> Verdicts:
    """Return what a judge said of a list.

    Entries are told by their labels, never by their places. A label that was not shown is
    ignored; of several entries with one label the first stands; what has no entry is missing.

    Args:
        node_ids: the candidates in the order in which they were shown.
        answer: what the judge answered.
        reply: the same answer as text. Where it has log-probabilities, a score becomes
            its mean over what might have been written in its place.
    """
    shown = labelled(node_ids)
    means = _means(reply)
    by_id: dict[NodeId, Verdict] = {}
    for place, entry in enumerate(answer.verdicts):
        node_id = shown.get(_label(entry.id))
        if node_id is not None and node_id not in by_id:
            by_id[node_id] = _verdict(entry, place, means)
    ranked = (shown.get(_label(label)) for label in answer.ranking)
    return Verdicts(by_id, tuple(node_id for node_id in ranked if node_id is not None))


def _label(raw: str) -> str:
    """Return a label as candidates have it: "Candidate 1" and "1" are `c1`."""
    label = raw.strip().casefold()
    number = re.fullmatch(r"(?:c|candidate|message|#)?[\s_.:-]*(\d{1,3})", label)
    return f"c{int(number[1])}" if number else label


def _means(reply: Reply) -> Mapping[JsonPath, tuple[float, float]]:
    """Return by path the number that was written and the mean of what it might have been."""
    if not any(token.alternatives for token in reply.token_logprobs):
        return {}
    tokens = [(token.token, token.alternatives) for token in reply.token_logprobs]
    means = expected_scores(reply.text, tokens, low=0.0, high=1.0)
    return {
        number.path: (float(reply.text[number.start : number.end]), mean)
        for number in numbers_at(reply.text) or ()
        if (mean := means.get(number.path)) is not None
    }


def _verdict(
    entry: ListEntry, place: int, means: Mapping[JsonPath, tuple[float, float]]
) -> Verdict:
    """Return one entry as a verdict. A score that is missing stays so, whatever was likely.

    Where a score was read on another scale than it was written on, the means are not used.
    """
    scores: dict[str, float] = {}
    for name in type(entry).model_fields:
        written = getattr(entry, name)
        if not isinstance(written, float):
            continue
        # The entries are a list, or a map by label.
        paths: tuple[JsonPath, ...] = (("verdicts", place, name), ("verdicts", entry.id, name))
        given = (means[path] for path in paths if path in means)
        scores[name] = next((mean for number, mean in given if number == written), written)
    return Verdict(score=scores.pop("score", None), attributes=scores, reason=entry.reason)
