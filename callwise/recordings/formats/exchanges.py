"""Records of one exchange each, transcripts in one text, and two conversations in one record."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from callwise.recordings.conversation import (
    Conversation,
    Utterance,
    in_order_of_time,
    pair_conversation,
)
from callwise.recordings.formats.conversation_format import (
    Collector,
    DetectedRecord,
    Pending,
    Reading,
)
from callwise.recordings.formats.message_list import (
    are_by_speaker,
    conversation_of,
    is_exchange,
    merged,
    messages_of,
    sides_of,
)
from callwise.recordings.formats.messages import (
    background,
    convert_messages,
    instructions_in,
    known_id,
    note_rejected,
    note_unread,
    said_in,
    time_of,
    without_thoughts,
)
from callwise.recordings.formats.vocabulary import AGENT_SIDE_KEYS, USER_SIDE_KEYS
from callwise.recordings.source_records import SourceRecord

__all__ = [
    "Exchanges",
    "TextLists",
    "convert_questions",
    "convert_side",
    "convert_transcript",
    "is_loose_exchange",
    "is_plain_exchange",
    "is_question_list",
    "is_text_list",
    "is_transcript",
    "is_two_sided",
]

_HISTORY_KEYS = ("history", "chat_history", "conversation_history", "previous")
_CLEAR_PAIRS = (
    {"prompt", "instruction", "human", "user", "user_text", "text_input"},
    {"response", "completion", "output", "assistant", "gpt", "bot", "bot_text", "chosen", "reply"},
)
_SIDES = ("a", "b")
_SIDED_KEYS = ("conversation", "messages", "conversations", "response", "chat")
_SPEAKER = "(Human|User|Assistant|AI|Bot|System)"
_STYLES = tuple(
    re.compile(mark)
    for mark in (
        r"<\|im_start\|>(\w+)\n?",
        rf"#{{2,3}} ?{_SPEAKER}: ?",
        rf"(?:\A|\n\n){_SPEAKER}: ?",
        rf"(?:\A|\n){_SPEAKER}: ?",
    )
)
"""Marks that begin a message in a transcript. The first style that fits is that of all."""

_ENDS = ("<|im_end|>", "<|end|>", "</s>")
_TRANSCRIPT_KEYS = ("chosen", "text", "transcript", "dialogue", "dialog", "conversation", "chat")


def is_loose_exchange(document: Any) -> bool:
    """Return whether a record has the two sides of an exchange under any of their names."""
    return isinstance(document, dict) and is_exchange(merged(document))


def is_plain_exchange(document: Any) -> bool:
    """Return whether a record has them under names that only exchanges have."""
    if not is_loose_exchange(document) or is_two_sided(document):
        return False
    if isinstance(document.get("inputs"), dict) and isinstance(document.get("outputs"), dict):
        return True
    keys = {str(key).lower() for key in document}
    return all(keys & names for names in _CLEAR_PAIRS)


def _convert_exchange(record: SourceRecord, reading: Reading) -> Conversation:
    """Return a conversation of one exchange and, where it has one, its history.

    An `input` or `context` next to the user's words belongs to them, on a separate line.

    Raises:
        FormatError: when a side is missing.
    """
    whole = record.inside(merged(record.fields), "")
    fields: Mapping[str, Any] = whole.fields
    sides = sides_of(fields)
    if sides is None:
        keys = ", ".join(map(str, list(fields)[:8])) or "none"
        raise record.problem(
            f"expected a field with the user's words ({', '.join(USER_SIDE_KEYS[:6])}) and one "
            f"with the agent's ({', '.join(AGENT_SIDE_KEYS[:6])}); keys are: {keys}"
        )
    user, agent = sides
    for key in ("input", "context"):
        extra = fields.get(key)
        if extra != user and isinstance(extra, str) and extra.strip():
            user = f"{user}\n{extra}"
    history: Any = next((fields[key] for key in _HISTORY_KEYS if fields.get(key)), [])
    if not isinstance(history, list):
        raise record.problem("expected `history` to be a list")
    messages = messages_of(whole, history, is_history=True) if history else []
    utterances, said = said_in(messages, reading)
    reply = without_thoughts(agent, reading)
    time = time_of(record, reading)
    utterances += [
        Utterance(is_user=True, text=user, time=time),
        Utterance(is_user=False, text=reply),
    ]
    note_rejected(fields, reading)
    note_unread(fields, reading, *_HISTORY_KEYS)
    others = {name: value for name, value in fields.items() if name != "context"}
    instructions = instructions_in(record, others) + said
    return pair_conversation(
        record,
        known_id(fields) or reading.default_id(record),
        utterances,
        user_id=known_id(fields, ("user_id",)),
        persona=background(instructions),
    )


class Exchanges(Collector):
    """The exchanges of one file; those that name the same conversation are its turns."""

    def __init__(self, reading: Reading) -> None:
        super().__init__(reading)
        self._found: dict[str, list[DetectedRecord]] = {}

    def add(self, record: SourceRecord) -> Iterable[Pending]:
        """Take one exchange; it is a conversation unless it names one, or has its history."""
        whole = _convert_exchange(record, self._reading)
        found = DetectedRecord(whole, record, may_be_renamed=True)
        name = conversation_of(record.fields)
        if name is None or len(whole.turns) > 1:
            return [lambda: found]
        self._found.setdefault(name, []).append(found)
        return ()

    def finish(self) -> Iterable[Pending]:
        """Return the conversations, in the order in which they begin."""
        return [partial(self._joined, name, found) for name, found in self._found.items()]

    def _joined(self, name: str, all_found: Sequence[DetectedRecord]) -> DetectedRecord:
        first = all_found[0]
        if len(all_found) == 1:
            return first
        users = {found.conversation.user_id for found in all_found}
        if len(users) > 1:
            shown = ", ".join(sorted(str(user) for user in users)[:4])
            raise first.record.problem(f"expected one user per conversation, got `user_id` {shown}")
        turns = in_order_of_time(
            [turn for found in all_found for turn in found.conversation.turns],
            self._reading.problems,
        )
        return DetectedRecord(
            replace(
                first.conversation,
                conversation_id=name,
                turns=tuple(
                    replace(turn, conversation_id=name, turn=number)
                    for number, turn in enumerate(turns)
                ),
            ),
            first.record,
            may_be_renamed=True,
        )


def _transcript(document: Any) -> str | None:
    """Return the text of a record in which speakers take turns; None where there is none."""
    if isinstance(document, dict):
        for key in _TRANSCRIPT_KEYS:
            text = document.get(key)
            if isinstance(text, str) and _pieces(text):
                return text
        sides = sides_of(document)
        if sides is not None and _pieces(sides[0]):
            return f"{sides[0]} {sides[1]}"
    return None


def _pieces(text: str) -> list[tuple[str, str]]:
    """Return the speakers' words and texts of a transcript; empty where it is none."""
    for style in _STYLES:
        parts = style.split(text.strip())
        if len(parts) > 3 and not parts[0].strip():
            return list(zip(parts[1::2], map(_without_end, parts[2::2]), strict=True))
    return []


def _without_end(text: str) -> str:
    text = text.strip()
    for end in _ENDS:
        text = text.removesuffix(end).strip()
    return text


def is_transcript(document: Any) -> bool:
    """Return whether a record is a text in which `Human:` and `Assistant:` take turns."""
    return _transcript(document) is not None


def convert_transcript(record: SourceRecord, reading: Reading) -> Conversation:
    """Return the conversation of a text in which `Human:` and `Assistant:` take turns.

    Raises:
        FormatError: when there is none.
    """
    found = _transcript(record.document)
    if found is None:
        raise record.problem(
            "expected a text with `Human:` and `Assistant:` at the beginning of lines"
        )
    messages = [
        record.inside({"role": word, "content": text}, f"message {number}")
        for number, (word, text) in enumerate(_pieces(found), start=1)
    ]
    utterances, instructions = said_in(messages, replace(reading, agent=None))
    note_rejected(record.fields, reading)
    return pair_conversation(
        record,
        known_id(record.fields) or reading.default_id(record),
        utterances,
        persona=background(instructions),
    )


def _sided(document: Any) -> str | None:
    if isinstance(document, dict):
        for key in _SIDED_KEYS:
            if all(document.get(f"{key}_{side}") for side in _SIDES):
                return key
    return None


def is_two_sided(document: Any) -> bool:
    """Return whether a record has two conversations, or two replies, to be compared."""
    return _sided(document) is not None


def convert_side(record: SourceRecord, reading: Reading) -> Conversation:
    """Return the side of a comparison that a person has chosen.

    Raises:
        FormatError: when nothing was chosen, or the side cannot be read.
    """
    key = _sided(record.document)
    if key is None:
        raise record.problem("expected two conversations, such as `conversation_a` and `_b`")
    if reading.side is None:
        raise record.problem(
            f"has two sides, `{key}_a` and `{key}_b`; give --side a or --side b to choose which "
            "is read"
        )
    fields = {
        name: value for name, value in record.fields.items() if name not in {f"{key}_a", f"{key}_b"}
    }
    chosen = record.fields[f"{key}_{reading.side}"]
    reading.problems.notes["side that was not chosen"] += 1
    if key == "response":
        return _convert_exchange(record.inside({**fields, "response": chosen}, ""), reading)
    return convert_messages(record.inside({**fields, "messages": chosen}, ""), reading)


def is_question_list(document: Any) -> bool:
    """Return whether a record is a list of questions of one user, as MT-bench asks."""
    return (
        isinstance(document, dict)
        and "question_id" in document
        and isinstance(document.get("turns"), list)
        and bool(document["turns"])
        and all(isinstance(each, str) and each.strip() for each in document["turns"])
    )


def convert_questions(record: SourceRecord, reading: Reading) -> Conversation:
    """Return a conversation whose turns have no replies.

    Raises:
        FormatError: when it has none.
    """
    utterances = []
    for turn in record.items("turns", "turn"):
        if not isinstance(turn.document, str) or not turn.document.strip():
            raise turn.problem("expected a text")
        utterances += [
            Utterance(is_user=True, text=turn.document),
            Utterance(is_user=False, text=""),
        ]
    return pair_conversation(
        record, known_id(record.fields) or reading.default_id(record), utterances
    )


def is_text_list(document: Any) -> bool:
    """Return whether a record is a list of at least two texts."""
    return (
        isinstance(document, list)
        and len(document) > 1
        and all(isinstance(each, str) and each.strip() for each in document)
    )


def _convert_texts(record: SourceRecord, reading: Reading) -> Conversation:
    """Return a conversation of texts that alternate, the user's first.

    Raises:
        FormatError: when the record is no list of texts.
    """
    if not is_text_list(record.document):
        raise record.problem("expected a list of texts")
    messages = messages_of(record, record.document)
    utterances, _ = said_in(messages, replace(reading, agent=None))
    return pair_conversation(record, reading.default_id(record), utterances)


class TextLists(Collector):
    """The records of a file that are lists of texts: conversations, or a speaker and a text each.

    The latter are the messages of one conversation.
    """

    _MAX_PAIRS = 10_000
    """Most pairs of one conversation; a longer file is no such list."""

    def __init__(self, reading: Reading) -> None:
        super().__init__(reading)
        self._pairs: list[SourceRecord] | None = []

    def add(self, record: SourceRecord) -> Iterable[Pending]:
        """Take one list; pairs are kept until it is known what they are."""
        is_pair = isinstance(record.document, list) and len(record.document) == 2
        if self._pairs is not None and is_pair and len(self._pairs) < self._MAX_PAIRS:
            self._pairs.append(record)
            return ()
        kept, self._pairs = self._pairs or [], None
        return [partial(self._of_texts, each) for each in (*kept, record)]

    def finish(self) -> Iterable[Pending]:
        """Return what was kept."""
        pairs = self._pairs or []
        if are_by_speaker([pair.document for pair in pairs]):
            return [partial(self._of_pairs, pairs)]
        return [partial(self._of_texts, each) for each in pairs]

    def _of_pairs(self, pairs: Sequence[SourceRecord]) -> DetectedRecord:
        first, name = pairs[0], self._reading.default_id(pairs[0])
        whole = {"id": name, "messages": [pair.document for pair in pairs]}
        conversation = convert_messages(first.inside(whole, ""), self._reading)
        return DetectedRecord(conversation, first, may_be_renamed=True)

    def _of_texts(self, record: SourceRecord) -> DetectedRecord:
        return DetectedRecord(_convert_texts(record, self._reading), record, may_be_renamed=True)
