"""Answer forms of the search's calls, and their reading as the search's answers.

A bad candidate is left out by the reader of answers and costs none of the others. An answer
without any usable candidate is asked again. A score that cannot be read is missing, and is
not asked again, since a repair costs a call and the other candidates' scores are usable. Of a
judge of lists only an answer of another form altogether is repaired: no JSON object, or one
with neither `verdicts` nor `ranking`. `ranking` is not asked for, and so is in no schema.
Some models rank all the same, and then it is read.

A judge sees candidates under labels that are a digest of the call: an id or a strategy tag
could show the judge a candidate's origin and age, and a label that can be guessed could be named
in a candidate or by a user, which would then pass for a verdict.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator
from pydantic.json_schema import SkipJsonSchema

from callwise.calls.errors import CallError, CallRefused, ConfigError
from callwise.calls.payload import well_formed
from callwise.calls.reply import Reply
from lats.actions import Action, JudgeList
from lats.answers import (
    ActionAnswer,
    Draft,
    Drafts,
    NoAnswer,
    NodeId,
    Verdict,
    Verdicts,
    clean_text,
)
from lats.logprob_scores import JsonPath, expected_scores, numbers_at
from lats.search_tree import SearchTree
from nodes.prompt import own_text, words
from nodes.question import AnswerForm, FilledText
from nodes.records import Language

__all__ = [
    "MAX_DETAIL_CHARS",
    "MAX_GOAL_CHARS",
    "MAX_REASON_CHARS",
    "RUBRICS",
    "AssistantCheck",
    "CandidateSet",
    "CharacterEntry",
    "CharacterVerdicts",
    "FitEntry",
    "FitVerdicts",
    "JudgeRubric",
    "Judgement",
    "ListEntry",
    "ListVerdicts",
    "OverallEntry",
    "OverallVerdicts",
    "RootPlan",
    "Score",
    "Variant",
    "Variants",
    "answer_to",
    "candidate_labels",
    "labels_shown",
    "rubric_called",
    "verdicts_of",
]


Score = Annotated[float | None, Field(ge=0.0, le=1.0)]
"""In [0, 1], or null where the judge cannot say. Missing is missing: never 0, never average."""


class Variant(AnswerForm):
    """One variant of a reply."""

    strategy_tag: str = ""
    """A few words for the reply's strategy."""
    reply: FilledText
    bubbles: list[str] = Field(default_factory=list)
    """The same reply cut into chat bubbles; empty where the model left that to the rules."""


class RootPlan(AnswerForm):
    """The answer to the root plan: a goal and a first reply; see `Variant`."""

    goal: str = ""
    strategy_tag: str = ""
    reply: FilledText
    bubbles: list[str] = Field(default_factory=list)


class Variants(AnswerForm):
    """The answer to an expansion: variants of one reply, each with another strategy."""

    candidates: Annotated[tuple[Variant, ...], Field(min_length=1)]


class CandidateSet(AnswerForm):
    """The answer to a generation: one goal, and replies to reach it."""

    goal: str = ""
    candidates: Annotated[tuple[Variant, ...], Field(min_length=1)]


class Judgement(AnswerForm):
    """The answer of a judge: its reason, then scores of one reply."""

    reason: str = ""
    score: Score
    """The overall score. An answer that leaves it out is asked again."""
    plan_alignment: Score = None
    persona: Score = None
    relationship_fit: Score = None
    mode_fit: Score = None
    assistantness: Score = None
    immersion: Score = None


class AssistantCheck(AnswerForm):
    """The answer of an assistant check: a score of how much a reply sounds like an assistant."""

    reason: str = ""
    assistantness: Score


MAX_REASON_CHARS = 400
"""Longest reason that is kept, in characters. Longer ones are cut."""


def _reason(text: str) -> str:
    return clean_text(text, MAX_REASON_CHARS)


def _entries(raw: Any) -> Any:
    """Return a list with an empty entry in place of every value that is none.

    Entries keep their places, so that a path into the answer's text finds them again.
    """
    if not isinstance(raw, list | tuple):
        return raw
    return [entry if isinstance(entry, Mapping | BaseModel) else {} for entry in raw]


def _labels(raw: Any) -> Any:
    """Return the texts of a ranking; other values become blank."""
    labels = raw if isinstance(raw, list | tuple) else ()
    return [label if isinstance(label, str) else "" for label in labels]


def _id(raw: Any) -> Any:
    """Return an id as a text: judges also number what they read."""
    return str(raw) if isinstance(raw, int) and not isinstance(raw, bool) else raw


class ListEntry(AnswerForm):
    """A judge's entry on one candidate of a list."""

    id: Annotated[str, BeforeValidator(_id)] = ""
    """The candidate's label, as it was shown."""
    reason: Annotated[str, AfterValidator(_reason)] = ""
    """It comes before the scores, so that they follow from it."""
    score: Score = None
    """The overall score."""


class OverallEntry(ListEntry):
    """An entry by the rubric `overall`."""

    plan_alignment: Score = None
    persona: Score = None
    relationship_fit: Score = None
    mode_fit: Score = None
    assistantness: Score = None
    immersion: Score = None


class CharacterEntry(ListEntry):
    """An entry by the rubric `character`."""

    persona: Score = None
    immersion: Score = None
    assistantness: Score = None


class FitEntry(ListEntry):
    """An entry by the rubric `fit`."""

    plan_alignment: Score = None
    relationship_fit: Score = None
    mode_fit: Score = None


class ListVerdicts(AnswerForm):
    """Base of the answers: entries in any order, more or fewer than candidates were shown."""

    entry: ClassVar[type[ListEntry]] = ListEntry
    verdicts: Annotated[tuple[ListEntry, ...], BeforeValidator(_entries)]
    ranking: SkipJsonSchema[Annotated[tuple[str, ...], BeforeValidator(_labels)]] = ()
    """Labels from best to worst, where the judge ranked."""

    @model_validator(mode="before")
    @classmethod
    def _may_only_rank(cls, raw: Any) -> Any:
        if isinstance(raw, Mapping) and raw.get("verdicts") is None and _labels(raw.get("ranking")):
            return {**raw, "verdicts": ()}
        return raw


class OverallVerdicts(ListVerdicts):
    """The answer by the rubric `overall`."""

    entry = OverallEntry
    verdicts: Annotated[tuple[OverallEntry, ...], BeforeValidator(_entries)]


class CharacterVerdicts(ListVerdicts):
    """The answer by the rubric `character`."""

    entry = CharacterEntry
    verdicts: Annotated[tuple[CharacterEntry, ...], BeforeValidator(_entries)]


class FitVerdicts(ListVerdicts):
    """The answer by the rubric `fit`."""

    entry = FitEntry
    verdicts: Annotated[tuple[FitEntry, ...], BeforeValidator(_entries)]


@dataclass(frozen=True, slots=True)
class JudgeRubric:
    """One way to judge candidates; its texts are in `words/rubrics.yaml`."""

    name: str
    answer: type[ListVerdicts]

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the sub-scores, in the order in which they are asked for."""
        asked = self.answer.entry.model_fields
        return tuple(name for name in asked if name not in ListEntry.model_fields)

    def text(self, language: Language) -> str:
        """Return the instructions of this rubric."""
        space, stop = ("", "。") if language == "zh" else (" ", ".")
        emphasis = _own_rubric(self.name, language)
        if emphasis is not None and not self.attributes:
            return emphasis
        emphasis = emphasis or words("rubrics")["emphasis"][language][self.name]
        return f"{emphasis}{space}{self.sub_scores(language)}{stop}"

    def sub_scores(self, language: Language) -> str:
        """Return the sub-scores that are asked for, and the meaning of each."""
        opening, closing, joint = ("（", "）", "、") if language == "zh" else (" (", ")", ", ")
        meanings = words("rubrics")["meanings"][language]
        return joint.join(f"{name}{opening}{meanings[name]}{closing}" for name in self.attributes)


RUBRICS: Mapping[str, JudgeRubric] = MappingProxyType(
    {
        "overall": JudgeRubric("overall", OverallVerdicts),
        "character": JudgeRubric("character", CharacterVerdicts),
        "fit": JudgeRubric("fit", FitVerdicts),
    }
)
"""All rubrics by name. Passes that alternate between rubrics have different biases rather than the
same one again; so each rubric has its own instructions. `overall` asks for every attribute."""


def _own_rubric(name: str, language: Language) -> str | None:
    """Return the settings' text of a rubric, in the other language where it has only that."""
    other: Language = "en" if language == "zh" else "zh"
    return own_text(f"rubric {name}", language) or own_text(f"rubric {name}", other)


def rubric_called(name: str) -> JudgeRubric:
    """Return a rubric; one that only the settings have asks for a score alone.

    Raises:
        ConfigError: when there is none of this name.
    """
    if name not in RUBRICS and _own_rubric(name, "en") is not None:
        return JudgeRubric(name, ListVerdicts)
    if name not in RUBRICS:
        raise ConfigError(
            f"search.rubrics: there is no rubric {name!r}; there are {', '.join(sorted(RUBRICS))}, "
            "and those of the knob `rubrics`"
        )
    return RUBRICS[name]


_LETTERS, _DIGITS = "bcdfghjkmnpqrstvwxyz", "23456789"
"""The characters of labels. No vowels, so that none is a word, and no two of them alike."""

MAX_LABELS = 10_000
"""Labels that are tried before one may be in a text: more than there are different ones."""

_LABEL = re.compile(rf"(?<![a-z0-9])[{_LETTERS}]{{2}}[{_DIGITS}](?![a-z0-9])")


def candidate_labels(replies: Sequence[str], *call: str) -> tuple[str, ...]:
    """Return the label of each candidate: all different, and none that a reply names.

    Args:
        replies: the candidates, in the order in which a judge sees them.
        call: texts that distinguish this call from others; equal ones give equal labels.
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
    """Return a judge's answer to a list as verdicts by candidate.

    Entries are matched by their labels, never by their places. A label that was not shown is
    ignored; of several entries with one label the first counts; a candidate without an entry
    has no verdict.

    Args:
        node_ids: the candidates in the order in which they were shown.
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
    """Return by path the number that was written and its mean by the log-probabilities."""
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


MAX_GOAL_CHARS = 300
"""Longest goal of a set that is kept with its candidates, in characters. Longer ones are cut."""

MAX_DETAIL_CHARS = 200
"""Longest description of a failure that a search keeps, in characters."""


def labels_shown(action: JudgeList, tree: SearchTree, user_text: str) -> tuple[str, ...]:
    """Return the labels under which a judge sees the candidates of a list, in their order.

    Two calls with one order have the same, so that they are one prompt.
    """
    replies = [tree.nodes[node_id].draft.reply for node_id in action.node_ids]
    return candidate_labels(replies, user_text, action.rubric)


def _draft(answer: RootPlan | Variant, *, goal: str | None = None) -> Draft:
    payload = answer.model_dump(mode="json", exclude={"reply", "strategy_tag"})
    if goal is not None:
        payload["goal"] = goal
    return Draft(reply=answer.reply, strategy_tag=answer.strategy_tag, payload=payload)


def _verdict_of(answer: Judgement | AssistantCheck) -> Verdict:
    scores = answer.model_dump(exclude={"reason"}, exclude_none=True)
    return Verdict(score=scores.pop("score", None), attributes=scores, reason=answer.reason)


def answer_to(
    action: Action, answer: Reply | CallError, tree: SearchTree, user_text: str
) -> ActionAnswer:
    """Return the end of a call as the search reads it.

    Raises:
        CallError: when going on makes no sense (`is_fatal`).
        TypeError: when the answer was not parsed as its call's response model.
    """
    if isinstance(answer, CallError):
        if answer.is_fatal:
            raise answer
        detail = f"{type(answer).__name__}: {answer}"[:MAX_DETAIL_CHARS]
        return NoAnswer(is_refused=isinstance(answer, CallRefused), detail=detail)
    match answer.parsed:
        case RootPlan() as plan:
            return Drafts((_draft(plan),))
        case Variants(candidates=candidates):
            return Drafts(tuple(_draft(variant) for variant in candidates))
        case CandidateSet(goal=raw, candidates=candidates):
            goal = clean_text(raw, MAX_GOAL_CHARS)
            return Drafts(tuple(_draft(each, goal=goal) for each in candidates))
        case Judgement() | AssistantCheck() as said if isinstance(action, JudgeList):
            return Verdicts({action.node_ids[0]: _verdict_of(said)})
        case ListVerdicts() as verdicts if isinstance(action, JudgeList):
            labels = labels_shown(action, tree, user_text)
            return verdicts_of(action.node_ids, labels, verdicts, answer)
        case other:
            raise TypeError(f"expected a parsed answer of the search, got {type(other).__name__}")
