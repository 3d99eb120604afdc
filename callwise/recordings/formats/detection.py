"""Every format that conversations are read from, and which one a record is in.

A format is recognised by a record's content alone, since file names are unreliable. To add one,
add an entry.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from callwise.recordings.formats import exchanges, message_lines
from callwise.recordings.formats.conversation_format import ConversationFormat, read_each
from callwise.recordings.formats.locomo import LOCOMO
from callwise.recordings.formats.memorybank import MEMORYBANK, MEMORYBANK_HISTORY
from callwise.recordings.formats.message_lines import MessageLines, is_line, is_named_line
from callwise.recordings.formats.message_list import Spot, find_list, is_exchange
from callwise.recordings.formats.messages import convert_messages
from callwise.recordings.formats.native import NATIVE
from callwise.recordings.formats.speakers import field_at, role_word
from callwise.recordings.source_records import SourceRecord
from callwise.recordings.typed_json import under_this_name

__all__ = ["FORMATS", "detect_format", "is_foreign", "pieces_of"]

_MAX_DEPTH = 3
"""Levels of a document that are searched for conversations when it is none itself."""


@dataclass(frozen=True, slots=True)
class _Dialect(ConversationFormat):
    """A format of the general reader, recognised by the place of the messages in a record."""

    fits: Callable[[Spot], bool] = bool


def _list_format(
    name: str, about: str, example: str, fits: Callable[[Spot], bool]
) -> ConversationFormat:
    def recognises(document: Any) -> bool:
        spot = find_list(document)
        return spot is not None and fits(spot)

    return _Dialect(name, about, example, recognises, read_each(convert_messages), fits=fits)


def _is_lettered(spot: Spot) -> bool:
    first = spot.first_message
    return role_word(first, "speaker") in {"A", "B"} or (
        spot.key == "messages" and set(first) <= {"message", "attrs"} and "message" in first
    )


_READ_AS_MESSAGES = (
    _list_format(
        "kdconv",
        "KdConv, as its authors publish it or with speakers A and B; A, or the first, is the user",
        '{"dialogue_id": "travel-1", "messages": [{"speaker": "A", "text": "Do you know the old '
        'bridge?"}, {"speaker": "B", "text": "Yes."}]}',
        _is_lettered,
    ),
    _list_format(
        "langsmith",
        "rows of a LangSmith data set; the output's messages end the conversation",
        '{"inputs": {"messages": [{"role": "user", "content": "Hi."}]}, "outputs": {"messages": '
        '[{"role": "assistant", "content": "Hello."}]}}',
        lambda spot: spot.outer == "inputs",
    ),
    _list_format(
        "gemini",
        "Gemini and Vertex AI: `contents` with `parts`; `systemInstruction` is the persona",
        '{"contents": [{"role": "user", "parts": [{"text": "Hi."}]}, {"role": "model", "parts": '
        '[{"text": "Hello."}]}]}',
        lambda spot: spot.key == "contents",
    ),
    _list_format(
        "discord",
        "DiscordChatExporter; the one bot is the agent, else choose with `--agent`",
        '{"channel": {"id": "2"}, "messages": [{"content": "Hi.", "author": {"name": "ana", '
        '"isBot": false}}, {"content": "Hello.", "author": {"name": "helper", "isBot": true}}]}',
        lambda spot: field_at(spot.first_message, "author.isBot") is not None,
    ),
    _list_format(
        "telegram",
        "Telegram's export; choose the agent with `--agent`",
        '{"name": "Ana", "type": "personal_chat", "messages": [{"type": "message", "from": '
        '"user", "from_id": "user1", "text": "Hi."}, {"type": "message", "from": "bot", '
        '"from_id": "user2", "text": "Hello."}]}',
        lambda spot: "from_id" in spot.first_message or "actor_id" in spot.first_message,
    ),
    _list_format(
        "langchain",
        "LangChain and LangGraph messages: `type` human or ai, also as dumped or in a state",
        '{"messages": [{"type": "human", "content": "Hi."}, {"type": "ai", "content": "Hello."}]}',
        lambda spot: (
            "role" not in spot.first_message
            and str(spot.first_message.get("type", ""))
            .lower()
            .startswith(("human", "ai", "system"))
        ),
    ),
    _list_format(
        "openai",
        "chat messages with `role` and `content`, text or parts, as OpenAI, Anthropic, LMSYS, "
        "WildChat and most data sets have them; `system` next to them is the persona, and "
        "`completion`, `chosen`, `ideal` and the like are a last reply",
        '{"messages": [{"role": "system", "content": "You are Nora."}, {"role": "user", '
        '"content": "Hi."}, {"role": "assistant", "content": "Hello."}]}',
        lambda spot: spot.key in {"messages", "conversation"} and "role" in spot.first_message,
    ),
    _list_format(
        "sharegpt",
        "ShareGPT: `from` human or gpt, under `conversations` or `items`",
        '{"id": "x1", "conversations": [{"from": "human", "value": "Hi."}, {"from": "gpt", '
        '"value": "Hello."}]}',
        lambda spot: "from" in spot.first_message,
    ),
    _list_format(
        "alternating",
        "a list of texts (UltraChat, DailyDialog): the first is the user's, and they alternate",
        '{"id": "0", "data": ["Hi.", "Hello."]}',
        lambda spot: isinstance(spot.first, str),
    ),
    _list_format(
        "exchange-list",
        "a list of exchanges: pairs of texts, or objects with both sides",
        '{"history": [["Hi.", "Hello."], ["How are you?", "Well."]]}',
        lambda spot: is_exchange(spot.first),
    ),
    _list_format(
        "messages",
        "any other list of messages whose fields are named in a usual way",
        '{"chat_messages": [{"sender": "human", "text": "Hi."}, {"sender": "assistant", "text": '
        '"Hello."}]}',
        lambda spot: bool(spot.key) or bool(spot.items),
    ),
)

FORMATS: Sequence[ConversationFormat] = (
    MEMORYBANK,
    NATIVE,
    ConversationFormat(
        "chatgpt",
        "ChatGPT's data export: the branch of `current_node`",
        '{"id": "c", "current_node": "2", "mapping": {"1": {"parent": null, "message": '
        '{"author": {"role": "user"}, "content": {"parts": ["Hi."]}}}, "2": {"parent": "1", '
        '"message": {"author": {"role": "assistant"}, "content": {"parts": ["Hello."]}}}}}',
        message_lines.is_mapping,
        read_each(message_lines.convert_mapping),
    ),
    ConversationFormat(
        "oasst",
        "OASST message trees: the best-ranked replies",
        '{"message_tree_id": "t", "prompt": {"role": "prompter", "text": "Hi.", "replies": '
        '[{"role": "assistant", "text": "Hello.", "rank": 0, "replies": []}]}}',
        message_lines.is_reply_tree,
        read_each(message_lines.convert_replies),
    ),
    MEMORYBANK_HISTORY,
    LOCOMO,
    ConversationFormat(
        "two-sided",
        "Chatbot Arena and other comparisons: choose with `--side`",
        '{"conversation_a": [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": '
        '"Hello."}], "conversation_b": [{"role": "user", "content": "Hi."}, {"role": "assistant", '
        '"content": "Yes?"}]}',
        exchanges.is_two_sided,
        read_each(exchanges.convert_side),
    ),
    ConversationFormat(
        "mt-bench",
        "MT-bench questions: turns of one user, without replies",
        '{"question_id": 81, "turns": ["Write a haiku.", "Now without vowels."]}',
        exchanges.is_question_list,
        read_each(exchanges.convert_questions),
    ),
    *_READ_AS_MESSAGES,
    ConversationFormat(
        "message-lines",
        "one message per line, or per row of a CSV table, grouped by `conversation_id` or the like "
        "where they have it; SillyTavern's chats and OASST's flat files too",
        '{"role": "user", "content": "Hi."}\n{"role": "assistant", "content": "Hello."}',
        is_line,
        MessageLines,
    ),
    ConversationFormat(
        "transcript",
        "a text with `Human:` and `Assistant:` (HH-RLHF), `### Human:` or ChatML marks; of "
        "`chosen` and `rejected` the chosen one",
        '{"chosen": "\\n\\nHuman: Hi.\\n\\nAssistant: Hello.", "rejected": "x"}',
        exchanges.is_transcript,
        read_each(exchanges.convert_transcript),
    ),
    ConversationFormat(
        "exchange",
        "one exchange a record: `prompt` and `response`, or `instruction`, `input`, `output` and "
        "`history` (Alpaca); those of one `conversation_id` or the like are its turns",
        '{"instruction": "Translate.", "input": "Hallo", "output": "Hello"}',
        exchanges.is_plain_exchange,
        exchanges.Exchanges,
    ),
    ConversationFormat(
        "text-lists",
        "a record that is a list of texts (LCCC): the first is the user's, and they alternate; "
        "or pairs of a speaker and a text; only in a file that is named outright",
        '["Hi.", "Hello."]\n["How are you?", "Well.", "Good."]',
        exchanges.is_text_list,
        exchanges.TextLists,
        is_weak=True,
    ),
    ConversationFormat(
        "question-answer",
        "`question` and `answer` and other loose pairs; only in a file that is named outright",
        '{"question": "How tall is it?", "answer": "324 m"}',
        exchanges.is_loose_exchange,
        exchanges.Exchanges,
        is_weak=True,
    ),
    ConversationFormat(
        "named-lines",
        "one message per line whose speakers have names: choose with `--agent`; only in a file "
        "that is named outright",
        '{"nick": "user", "text": "Hi."}\n{"nick": "bot", "text": "Hello."}',
        is_named_line,
        MessageLines,
        is_weak=True,
    ),
)
"""In the order they are tried: the stricter before the looser."""


def detect_format(document: Any, *, was_named: bool = True) -> ConversationFormat | None:
    """Return the format of a JSON value, or None when it is in none of them."""
    if not isinstance(document, dict | list) or is_foreign(document):
        return None
    spot = find_list(document)  # once for all dialects
    for known in FORMATS:
        if isinstance(known, _Dialect):
            if spot is not None and known.fits(spot):
                return known
        elif (was_named or not known.is_weak) and known.recognises(document):
            return known
    return None


def is_foreign(document: Any) -> bool:
    """Return whether a record is another file of ours: a recording of calls has messages too."""
    return isinstance(document, dict) and "callwise_cassette" in under_this_name(document)


def pieces_of(
    record: SourceRecord, *, was_named: bool
) -> Iterator[tuple[ConversationFormat | None, SourceRecord]]:
    """Yield the records in a JSON value that may be a whole data set, each with its format.

    A value that is no conversation itself is looked into: lists of conversations under any
    name, and conversations by their ids.
    """
    pieces = _pieces(record, was_named=was_named, depth=0)
    if pieces:
        yield from pieces
    else:
        yield None, record


_Piece = tuple[ConversationFormat | None, SourceRecord]


def _pieces(record: SourceRecord, *, was_named: bool, depth: int) -> list[_Piece]:
    """Return the records in a value; empty when none of them is in a known format."""
    document = record.document
    known = detect_format(document, was_named=was_named)
    if known is not None:
        return [(known, record)]
    if depth >= _MAX_DEPTH or not isinstance(document, dict | list) or is_foreign(document):
        return []
    found: list[_Piece] = []
    for each in _children(record):
        # Deep in a document, a similar value is more likely to be something else.
        inside = _pieces(each, was_named=False, depth=depth + 1)
        found += inside or ([(None, each)] if isinstance(document, list) else [])
    if not any(known is not None for known, _ in found):
        return []
    # Several lists in one record of many are alternatives, of which none was chosen.
    is_ambiguous = isinstance(document, dict) and len(found) > 1 and not record.is_whole_file
    return [] if is_ambiguous and depth == 0 else found


def _children(record: SourceRecord) -> Iterator[SourceRecord]:
    document = record.document
    is_root = record.is_whole_file
    if isinstance(document, list):
        for number, item in enumerate(document, start=1):
            inner = str(number) if is_root else f"{record.number}.{number}"
            yield record.inside(item, f"record {number}", inner)
    else:
        for name, value in document.items():
            if isinstance(value, dict | list) and not str(name).startswith("reject"):
                yield record.inside(value, str(name)[:40], str(name)[:80])
