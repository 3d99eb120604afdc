"""The judge of a list: which label stands for whom, and its answer as verdicts.

Candidates are shown under labels that are a digest of the call, and nothing else: an id or a
strategy tag could tell the judge who wrote what, and when, and a label that can be guessed
could be named by a candidate or a user, who would then write a verdict of their own.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence

import orjson

from lats.answers import NodeId, Verdict, Verdicts
from lats.logprob_scores import JsonPath, expected_scores, numbers_at
from nodes.search_list_answers import ListEntry, ListVerdicts
from turnwise.calls.payload import well_formed
from turnwise.calls.reply import Reply

__all__ = ["candidate_labels", "verdicts_of"]

_LETTERS, _DIGITS = "bcdfghjkmnpqrstvwxyz", "23456789"
"""What labels are made of. No vowels, so that none is a word, and nothing that looks alike."""

MAX_LABELS = 10_000
"""Labels that are tried before one may be in a text: more than there are different ones."""

_LABEL = re.compile(rf"(?<![a-z0-9])[{_LETTERS}]{{2}}[{_DIGITS}](?![a-z0-9])")


def candidate_labels(replies: Sequence[str], *call: str) -> tuple[str, ...]:
    """Return the label of each candidate: all different, and none that a reply names.

    Args:
        replies: the candidates, in the order in which a judge sees them.
        call: what tells this call from others; the same gives the same labels.
    """
    texts = [well_formed(text) for text in (*replies, *call)]
    seed = orjson.dumps([len(replies), *texts])
    named = set(_LABEL.findall(" ".join(texts).casefold()))
    labels: dict[str, None] = {}
    attempt = 0
    while len(labels) < len(replies):
        first, second, third = hashlib.sha256(seed + attempt.to_bytes(8)).digest()[:3]
        label = _LETTERS[first % 20] + _LETTERS[second % 20] + _DIGITS[third % 8]
        if label not in named or attempt > MAX_LABELS:
            labels[label] = None
        attempt += 1
    return tuple(labels)


def verdicts_of(
    node_ids: Sequence[NodeId], labels: Sequence[str], answer: ListVerdicts, reply: Reply
) -> Verdicts:
    """Return what a judge said of a list.

    Entries are told by their labels, never by their places. A label that was not shown is
    ignored; of several entries with one label the first stands; what has no entry is missing.

    Args:
        node_ids: the candidates in the order in which they were shown.
        labels: of each of them.
        answer: what the judge answered.
        reply: the same answer as text. Where it has log-probabilities, a score becomes
            its mean over what might have been written in its place.
    """
    shown = dict(zip(labels, node_ids, strict=True))
    means = _means(reply)
    by_id: dict[NodeId, Verdict] = {}
    for place, entry in enumerate(answer.verdicts):
        node_id = shown.get(_label(entry.id))
        if node_id is not None and node_id not in by_id:
            by_id[node_id] = _verdict(entry, place, means)
    ranked = (shown.get(_label(label)) for label in answer.ranking)
    return Verdicts(by_id, tuple(node_id for node_id in ranked if node_id is not None))


def _label(raw: str) -> str:
    """Return the one label in a text such as "Candidate KW7"; blank where there is none."""
    found = set(_LABEL.findall(raw.casefold()))
    return found.pop() if len(found) == 1 else ""


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
