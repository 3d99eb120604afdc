"""LoCoMo: very long talks of two people, in sessions with a date.

`{"sample_id", "conversation": {"speaker_a", "speaker_b", "session_1_date_time",
"session_1": [{"speaker", "dia_id", "text"}, …], …}}`. The sessions may also be in
the record itself. Speaker A is read as the user, B as the agent, unless a person has chosen;
a turn bears the time of its session, and no reply answers a message of another session.

Source: Maharana et al., LoCoMo (ACL 2024).
"""

import re
from collections.abc import Mapping
from typing import Any

from callwise.recordings.conversation import Conversation, Utterance, pair_conversation
from callwise.recordings.formats.conversation_format import ConversationFormat, Reading, read_each
from callwise.recordings.source_records import SourceRecord, iso_time

__all__ = ["LOCOMO"]

_SESSION = re.compile(r"session_(\d+)")


def _sessions(document: Mapping[str, Any]) -> list[tuple[int, str]]:
    """Return the sessions with messages, by number."""
    matches = ((_SESSION.fullmatch(str(name)), name) for name in document)
    return sorted(
        (int(match[1]), name)
        for match, name in matches
        if match and isinstance(document[name], list) and document[name]
    )


def _session_time(talk: SourceRecord, session: str) -> str | None:
    stated = talk.optional_text(f"{session}_date_time")
    if stated is None:
        return None
    time = iso_time(stated)
    if time is None:
        raise talk.problem(
            f"expected `{session}_date_time` such as '1:56 pm on 8 May, 2023', got {stated[:40]!r}"
        )
    return time


def _convert(record: SourceRecord, reading: Reading) -> Conversation:
    nested = record.fields.get("conversation")
    talk = record if nested is None else record.inside(nested, "conversation")
    user, agent = talk.text("speaker_a"), talk.text("speaker_b")
    if reading.agent not in {None, user, agent}:
        raise talk.problem(
            f"expected --agent {user!r} or {agent!r}, who speak here; got {reading.agent!r}"
        )
    if reading.agent == user:
        user, agent = agent, user
    notes = reading.problems.notes
    utterances: list[Utterance] = []
    for number, session in _sessions(talk.fields):
        time = _session_time(talk, session)
        for message in talk.items(session, f"{session} message"):
            speaker = message.text("speaker")
            if speaker not in {user, agent}:
                raise message.problem(f"expected `speaker` {user!r} or {agent!r}, got {speaker!r}")
            is_user = speaker == user
            reading.problems.roles[speaker, "user" if is_user else "agent"] += 1
            is_first = not utterances or utterances[-1].session != number
            if is_first and not is_user and any(each.is_user for each in utterances):
                notes["message of the agent that opens a later session"] += 1
            utterances.append(Utterance(is_user, message.text("text"), time, number))
            if message.fields.get("img_url"):
                notes["image"] += 1
    conversation_id = record.identifier("sample_id") or reading.default_id(record)
    return pair_conversation(
        record, conversation_id, utterances, user_id=user, persona={"name": agent}
    )


def _recognises(document: Any) -> bool:
    if not isinstance(document, dict):
        return False
    nested = document.get("conversation")
    return bool(_sessions(nested if isinstance(nested, dict) else document))


LOCOMO = ConversationFormat(
    name="locomo",
    about="LoCoMo: two people in dated sessions; speaker A is the user, or choose with `--agent`",
    example=(
        '{"sample_id": "conv-1", "conversation": {"speaker_a": "Ana", "speaker_b": "Ben", '
        '"session_1_date_time": "1:56 pm on 8 May, 2023", "session_1": [{"speaker": "Ana", '
        '"dia_id": "D1:1", "text": "Hi."}, {"speaker": "Ben", "dia_id": "D1:2", "text": "Hey."}]}}'
    ),
    recognises=_recognises,
    open=read_each(_convert),
)
