"""Whatever JSON a file holds, it is read or an error says why not."""

import json
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from callwise.calls.errors import FormatError
from callwise.recordings.conversation_files import ReadOptions, read_conversations
from callwise.recordings.formats import FORMATS
from callwise.recordings.formats import vocabulary as words

KEYS = st.sampled_from(
    sorted(
        {
            *words.LIST_KEYS, *words.ROLE_KEYS, *words.TEXT_KEYS, *words.TIME_KEYS,
            *words.FINAL_KEYS, *words.SYSTEM_KEYS, *words.NESTING_KEYS, *words.USER_SIDE_KEYS,
            *words.AGENT_SIDE_KEYS, *words.CONVERSATION_ID_KEYS, "id", "mapping", "current_node",
            "replies", "rank", "parent", "session_1", "speaker_a", "conversation_a",
            "conversation_b", "tool_calls", "persona", "turn", "user_text", "bot_text", "metadata",
            "character_name", "create_date", "user_name", "question_id", "kwargs", "lc",
        }
    )
)  # fmt: skip
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2_000_000_000_000)
    | st.floats()
    | st.sampled_from(sorted(words.ROLE_OF_WORD))
    | st.text(max_size=5)
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
EXAMPLES = [json.loads(line) for each in FORMATS for line in each.example.splitlines()]


def read(path: Path, text: str, options: ReadOptions) -> None:
    """Read a text; any error but a FormatError fails the test."""
    path.write_text(text, encoding="utf-8")
    try:
        result = read_conversations([path], options=options)
    except FormatError as error:
        assert str(path) in str(error)  # noqa: PT017 - either way is right
    else:
        for each in result.conversations:
            assert each.turns
            assert all(turn.user_text.strip() for turn in each.turns)
            assert all(turn.reply is None or turn.reply.strip() for turn in each.turns)


@settings(suppress_health_check=list(HealthCheck))
@given(documents=st.lists(JSON, min_size=1, max_size=3), skip_bad=st.booleans())
def test_no_json_surprises_the_reader(
    tmp_path: Path, documents: list[object], skip_bad: bool
) -> None:
    """Values of any type under the names that formats use."""
    options = ReadOptions(skip_bad=skip_bad, agent="model", side="a")
    read(tmp_path / "a.jsonl", "\n".join(json.dumps(each) for each in documents), options)


@settings(suppress_health_check=list(HealthCheck))
@given(data=st.data(), skip_bad=st.booleans())
def test_no_damaged_example_surprises_the_reader(
    tmp_path: Path, data: st.DataObject, skip_bad: bool
) -> None:
    """Examples of every format in which one value is another."""
    document = json.loads(json.dumps(data.draw(st.sampled_from(EXAMPLES))))
    holder: object = document
    while True:
        if isinstance(holder, dict):
            key: object = data.draw(st.sampled_from(sorted(holder)))
        else:
            assert isinstance(holder, list)
            key = data.draw(st.integers(0, len(holder) - 1))
        inner = holder[key]  # type: ignore[index]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            holder[key] = data.draw(JSON)  # type: ignore[index]
            break
        holder = inner
    options = ReadOptions(skip_bad=skip_bad, side="b")
    read(tmp_path / "a.jsonl", json.dumps(document), options)
