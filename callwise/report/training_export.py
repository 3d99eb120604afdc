"""Feedback as training data: SFT and DPO in JSON Lines, and ratings as a table of labels.

    sft      {"messages": [{"role", "content"}, ...]}, the last one the assistant's
    dpo      {"prompt": [...], "chosen": [...], "rejected": [...]}, messages each
    labels   CSV of conversation, turn, reply, value, rater, scale; `callwise tune --labels`

SFT has the shape of OpenAI's chat fine-tuning, which is TRL's conversational language modelling;
DPO is TRL's conversational preference with an explicit prompt. Feedback on a reply becomes the
conversation up to it, as it was; feedback on a call becomes that call's prompt, from the recording.
Texts stay text: they are JSON strings, and keys of known shapes in them are replaced.
"""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

import orjson

from callwise.calls.payload import well_formed
from callwise.calls.redaction import redact
from callwise.report.feedback import Feedback, candidates_of, read_feedback
from callwise.report.page.recorded_calls import RecordedCall, recorded_calls
from callwise.report.run_record import RawLine, RunRecord, TurnKey
from callwise.report.search_view import read_search
from callwise.report.table import guarded
from callwise.text_layout import counted

__all__ = ["ExportForm", "TrainingExport", "export_training"]

ExportForm = Literal["sft", "dpo", "labels"]
Message = Mapping[str, str]

GOOD_SCORE = 4.0
"""Least mean rating of a reply that is an example; a thumb counts as 5 or 1."""

_CHAT_ROLES = frozenset({"system", "developer", "user", "assistant"})


@dataclass(frozen=True, slots=True)
class TrainingExport:
    """A file of training data, and what is in it.

    Args:
        data: the whole file, in UTF-8.
        count: its examples.
        notices: what was left out, for the user.
    """

    data: bytes
    count: int
    notices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Judged:
    """A prompt, the text that was answered, its feedback, and other texts of the same turn."""

    prompt: tuple[Message, ...]
    answer: str
    feedback: Sequence[Feedback]
    others: tuple[str, ...] = ()


def _message(role: str, text: str) -> Message:
    return {"role": role, "content": redact(well_formed(text))}


def _conversation_prompts(turns: Sequence[RawLine]) -> dict[TurnKey, tuple[Message, ...]]:
    """Return the conversation up to the reply of each turn: what was said before, as it was."""
    found: dict[TurnKey, tuple[Message, ...]] = {}
    said: dict[str, list[Message]] = defaultdict(list)
    ordered = sorted(turns, key=lambda turn: int(turn["turn"]))
    for turn in ordered:
        name = str(turn["conversation_id"])
        so_far = said[name]
        so_far.append(_message("user", str(turn.get("user_text") or "")))
        found[name, int(turn["turn"])] = tuple(so_far)
        if reply := str(turn.get("reply") or ""):
            so_far.append(_message("assistant", reply))
    return found


def _judged_turns(run: RunRecord, feedback: Iterable[Feedback]) -> Iterator[_Judged]:
    prompts = _conversation_prompts(run.raw_turns)
    by_turn: dict[TurnKey, list[Feedback]] = defaultdict(list)
    for each in feedback:
        if each.call is None:
            by_turn[each.conversation, each.turn].append(each)
    for turn in run.raw_turns:
        key = str(turn["conversation_id"]), int(turn["turn"])
        reply = str(turn.get("reply") or "")
        others = tuple(dict.fromkeys(candidates_of(turn).values()))
        yield _Judged(prompts[key], reply, by_turn.get(key, []), others)


def _judged_calls(
    run: RunRecord, feedback: Iterable[Feedback], notices: list[str]
) -> Iterator[_Judged]:
    by_call: dict[tuple[str, str, str], list[Feedback]] = defaultdict(list)
    for each in feedback:
        if each.call is not None:
            by_call[each.conversation, str(each.turn), each.key].append(each)
    if not by_call:
        return
    calls = recorded_calls(run)
    left_out = 0
    for row in run.raw_rows:
        # Each is asked for, since equal calls of a scope are handed out in order. A call is found
        # by its key: a run that goes on may number its calls again.
        found = calls.of(row)
        place = str(row.get("conversation")), str(row.get("turn")), str(row.get("key") or "")
        number = int(row.get("sequence") or 0)
        records = [each for each in by_call.get(place, ()) if each.call == number]
        records = records or by_call.get(place, [])
        if not records:
            continue
        by_call[place] = [each for each in by_call[place] if each not in records]
        if found is None or not _is_chat(found):
            left_out += len(records)
            continue
        prompt = tuple(_message(role, text) for role, text in found.messages)
        yield _Judged(prompt, found.answer, records)
    if calls.notice:
        notices.append(calls.notice)
    elif left_out:
        notices.append(
            f"{counted(left_out, 'record')} about calls with tools, embeddings or no recording "
            "left out"
        )


def _is_chat(call: RecordedCall) -> bool:
    is_plain = not call.tool_calls and {role for role, _ in call.messages} <= _CHAT_ROLES
    return bool(call.messages) and is_plain


def _good_texts(judged: _Judged) -> list[str]:
    """Return the texts to learn: corrections, else preferred replies, else a good reply."""
    for name in ("correction", "preferred"):
        found = [getattr(each, name) for each in judged.feedback if getattr(each, name)]
        if found:
            return list(dict.fromkeys(found))
    scores = [each.score for each in judged.feedback if each.score is not None]
    is_good = bool(scores) and fmean(scores) >= GOOD_SCORE
    return [judged.answer] if is_good and judged.answer else []


def _pairs(judged: _Judged) -> list[tuple[str, str]]:
    """Return chosen and rejected texts: a correction before the reply, a preference before all."""
    pairs = [(each.correction, judged.answer) for each in judged.feedback if each.correction]
    preferred = [each.preferred for each in judged.feedback if each.preferred]
    if not pairs and len(set(preferred)) == 1:  # of raters who disagree nothing is learned
        pairs = [(preferred[0], other) for other in (judged.answer, *judged.others)]
    return _distinct(pairs)


def _distinct(pairs: Iterable[tuple[str | None, str]]) -> list[tuple[str, str]]:
    kept = ((one, other) for one, other in pairs if one and other and one != other)
    return list(dict.fromkeys(kept))


def _search_pairs(turn: RawLine) -> list[tuple[str, str]]:
    """Return the search's answer before each other candidate that was judged lower."""
    try:
        view = read_search(turn.get("search") or {})
    except ValueError:
        return []
    best = next((node for node in view.candidates if node.is_best), None)
    if best is None or best.value is None:
        return []
    value = best.value
    losers = [
        node.reply for node in view.candidates if node.value is not None and node.value < value
    ]
    return _distinct((best.reply, loser) for loser in losers)


def _lines(documents: Iterable[Mapping[str, Any]]) -> tuple[bytes, int]:
    lines = list(dict.fromkeys(orjson.dumps(each) for each in documents))
    return b"".join(line + b"\n" for line in lines), len(lines)


def _labels(run: RunRecord, feedback: Iterable[Feedback]) -> tuple[bytes, int]:
    replies = {turn.key: turn.reply for turn in run.turns}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("conversation", "turn", "reply", "value", "rater", "scale"))
    rows = [
        (each.conversation, each.turn, replies[each.conversation, each.turn], each.score, each.by)
        for each in feedback
        if each.call is None and each.score is not None and replies[each.conversation, each.turn]
    ]
    for conversation, turn, reply, score, rater in rows:
        cells = (guarded(conversation), turn, guarded(reply), f"{score:g}", guarded(rater), "1-5")
        writer.writerow(cells)
    return text.getvalue().encode("utf-8", "backslashreplace"), len(rows)


def export_training(
    run: RunRecord, form: ExportForm, *, with_candidates: bool = False
) -> TrainingExport:
    """Return a run's feedback as training data.

    Args:
        run: from `load_run` with `keep_raw`.
        with_candidates: also pairs of the search's own candidates, its answer before each one
            that its judge put lower, of turns without feedback. They repeat the judge's opinion.

    Raises:
        FormatError: when the feedback cannot be read.
    """
    feedback, noticed = read_feedback(run)
    notices = list(noticed)
    if form == "labels":
        data, count = _labels(run, feedback)
        return TrainingExport(data, count, tuple(notices))
    turns = list(_judged_turns(run, feedback))
    judged = [*turns, *_judged_calls(run, feedback, notices)]
    documents: list[Mapping[str, Any]] = []
    if form == "sft":
        documents = [
            {"messages": [*each.prompt, _message("assistant", text)]}
            for each in judged
            for text in _good_texts(each)
        ]
    else:
        documents = [_pair(each.prompt, *pair) for each in judged for pair in _pairs(each)]
        if with_candidates:
            of_search = [
                _pair(each.prompt, *pair)
                for turn, each in zip(run.raw_turns, turns, strict=True)
                if not each.feedback
                for pair in _search_pairs(turn)
            ]
            documents += of_search
            pairs = counted(len(of_search), "pair")
            notices.append(f"{pairs} are the opinion of the search's judge, not of people")
    data, count = _lines(documents)
    return TrainingExport(data, count, tuple(notices))


def _pair(prompt: Sequence[Message], chosen: str, rejected: str) -> Mapping[str, Any]:
    return {
        "prompt": list(prompt),
        "chosen": [_message("assistant", chosen)],
        "rejected": [_message("assistant", rejected)],
    }
