"""LoCoMo: very long talks of two people, in sessions with a date.

`{"sample_id", "conversation": {"speaker_a", "speaker_b", "session_1_date_time",
"session_1": [{"speaker", "dia_id", "text"}, …], …}}`. The sessions may also stand in
the record itself. Speaker A is read as the user, B as the agent; a turn bears the time
of its session.

Source: Maharana et al., LoCoMo (ACL 2024).
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from turnwise.replay.conversation import Conversation
from turnwise.replay.formats.format import ConversationFormat, read_each
from turnwise.replay.pairing import Utterance, pair_conversation
from turnwise.replay.record import SourceRecord

__all__ = ["LOCOMO"]

_SESSION = re.compile(r"session_(\d+)")
_TIME = re.compile(r"(\d{1,2}):(\d{2}) ([ap]m) on (\d{1,2}) ([A-Z][a-z]+), (\d{4})")
# Spelled out, because strptime reads month names in the machine's own language.
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July",
    "August", "September", "October", "November", "December",
)  # fmt: skip


def _sessions(document: Mapping[str, Any]) -> list[tuple[int, str]]:
    """Return the sessions that hold messages, by number."""
    matches = ((_SESSION.fullmatch(str(name)), name) for name in document)
    return sorted(
        (int(match[1]), name)
        for match, name in matches
        if match and isinstance(document[name], list) and document[name]
    )


def _iso_time(stated: str) -> str:
    match = _TIME.fullmatch(stated)
    if match is None:
        raise ValueError(stated)
    hour = int(match[1]) % 12 + (12 if match[3] == "pm" else 0)
    month = _MONTHS.index(match[5]) + 1
    # A wall clock without a zone: the data set states none.
    moment = datetime(int(match[6]), month, int(match[4]), hour, int(match[2]))  # noqa: DTZ001 - see above
    return moment.isoformat()


def _session_time(talk: SourceRecord, session: str) -> str | None:
    stated = talk.optional_text(f"{session}_date_time")
    if stated is None:
        return None
    try:
        return _iso_time(stated.strip())
    except ValueError:
        raise talk.problem(
            f"expected `{session}_date_time` such as '1:56 pm on 8 May, 2023', got {stated[:40]!r}"
        ) from None


def _convert(record: SourceRecord, default_id: str) -> Conversation:
    nested = record.fields.get("conversation")
    talk = record if nested is None else record.inside(nested, "conversation")
    user, agent = talk.text("speaker_a"), talk.text("speaker_b")
    utterances = []
    for _, session in _sessions(talk.fields):
        time = _session_time(talk, session)
        for message in talk.items(session, f"{session} message"):
            speaker = message.text("speaker")
            if speaker not in {user, agent}:
                raise message.problem(f"expected `speaker` {user!r} or {agent!r}, got {speaker!r}")
            utterances.append(Utterance(speaker == user, message.text("text"), time))
    conversation_id = record.identifier("sample_id") or default_id
    return pair_conversation(
        record, conversation_id, utterances, user_id=user, persona={"name": agent}
    )


def _recognises(document: Mapping[str, Any]) -> bool:
    nested = document.get("conversation")
    return bool(_sessions(nested if isinstance(nested, dict) else document))


LOCOMO = ConversationFormat(
    name="locomo",
    shape='{"conversation": {"speaker_a": …, "speaker_b": …, "session_1": [{"speaker", "text"}]}}',
    recognises=_recognises,
    read=read_each(_convert),
)
