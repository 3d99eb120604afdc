"""Parquet and Arrow files, and rows in memory, are read as the same records in JSON would be."""

import io
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from callwise.calls.errors import ConfigError, FormatError
from callwise.recordings.conversation_files import ReadOptions, read_conversations, read_rows
from callwise.recordings.conversation_survey import survey_conversations
from callwise.recordings.source_lines import ReadLimits

pa = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet needs pyarrow")

Rows = Sequence[Mapping[str, Any]]
TIME = datetime(2023, 4, 9, 0, 2, 53, tzinfo=UTC)


def said(*texts: str, **more: object) -> list[dict[str, object]]:
    """Return messages of user and assistant in turn."""
    roles = ("user", "assistant")
    return [{"content": text, "role": roles[place % 2], **more} for place, text in enumerate(texts)]


def flat_tree(tree: str) -> Rows:
    """Return the messages of a tree as OASST's flat files have them, each with its author."""
    return [
        {
            "message_id": f"{tree}{number}",
            "parent_id": f"{tree}{number - 1}" if number else None,
            "user_id": f"author {number}",
            "created_date": f"2023-02-05T14:2{number}:50+00:00",
            "text": f"{tree}{number}",
            "role": ("prompter", "assistant")[number % 2],
            "rank": 0.0 if number % 2 else None,
            "deleted": False,
            "message_tree_id": f"{tree}0",
            "emojis": {"name": ["+1"], "count": [2]},
            "labels": {"name": ["spam", "quality"], "value": [0.0, 1.0], "count": [3, 3]},
        }
        for number in range(2)
    ]


PUBLISHED: dict[str, tuple[Rows, str]] = {
    "lmsys-chat": (
        [
            {
                "conversation_id": "a1",
                "model": "vicuna-13b",
                "conversation": said("q", "r"),
                "turn": 1,
                "language": "English",
                "openai_moderation": [{"flagged": False, "category_scores": {"hate": 1e-4}}],
                "redacted": False,
            }
        ],
        "openai",
    ),
    "sharegpt": (
        [{"id": "x_0", "conversations": [{"from": "human", "value": "q", "weight": None},
                                         {"from": "gpt", "value": "r", "weight": 1.0}]}],
        "sharegpt",
    ),
    "ultrachat": ([{"id": "0", "data": ["q", "r"]}], "alternating"),
    "ultrachat-200k": ([{"prompt": "q", "prompt_id": "f0", "messages": said("q", "r")}], "openai"),
    "wildchat": (
        [
            {
                "conversation_hash": "h1",
                "model": "gpt-4",
                "timestamp": TIME,
                "conversation": said("q", "r", timestamp=TIME, header={"accept-language": "en"}),
                "turn": 1,
                "detoxify_moderation": [{"toxicity": 0.1}],
            }
        ],
        "openai",
    ),
    "oasst": ([*flat_tree("q"), *flat_tree("t")], "message-lines"),
    "hh-rlhf": ([{"chosen": "\n\nHuman: q\n\nAssistant: r", "rejected": "x"}], "transcript"),
    "capybara": ([{"conversation": [{"input": "q", "output": "r"}]}], "exchange-list"),
    "dolly": ([{"instruction": "q", "context": "", "response": "r"}], "exchange"),
    "preferences": (
        [{"prompt": "q", "chosen": said("q", "r"), "rejected": said("q", "x")}],
        "messages",
    ),
    "struct of lists": (
        [{"dialogue_id": "d1", "turns": {"role": ["user", "assistant"], "text": ["q", "r"]}}],
        "messages",
    ),
    "JSON in a column": (
        [{"id": "1", "messages": '[{"role": "user", "content": "q"},'
          ' {"role": "assistant", "content": "r"}]'}],
        "openai",
    ),
}  # fmt: skip


def saved(path: Path, rows: Rows, **options: Any) -> Path:
    """Write rows as Parquet, and return the path."""
    parquet.write_table(pa.Table.from_pylist(rows), path, **options)
    return path


def saved_dataset(folder: Path, rows: Rows) -> Path:
    """Write rows as `save_to_disk` of the Hugging Face library does: an Arrow stream and JSON."""
    folder.mkdir(parents=True)
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_stream(folder / "data-00000-of-00001.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    (folder / "state.json").write_text(
        '{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}'
    )
    (folder / "dataset_info.json").write_text('{"description": "", "features": {}}')
    return folder


@pytest.mark.parametrize("name", PUBLISHED)
def test_rows_of_published_data_sets_are_conversations(tmp_path: Path, name: str) -> None:
    """In Parquet, Arrow, a saved data set and in memory alike."""
    rows, form = PUBLISHED[name]
    path = saved(tmp_path / "talks.parquet", rows)
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_file(tmp_path / "talks.arrow", table.schema) as writer:
        writer.write_table(table)

    for given in (path, tmp_path / "talks.arrow", saved_dataset(tmp_path / "disk", rows)):
        result = read_conversations([given])
        assert result.format == form
        assert [(turn.user_text[:1], turn.reply) for turn in result.conversations[0].turns] == [
            ("q", "q1" if name == "oasst" else "r")
        ]
        assert len(result.conversations) == len(read_rows(rows).conversations)


def test_what_columns_are_is_read_as_json_would_be(tmp_path: Path) -> None:
    """Times of any unit and zone, dictionaries, large and binary text, decimals, and nulls."""
    kind = pa.list_(
        pa.struct(
            [
                ("role", pa.dictionary(pa.int8(), pa.string())),
                ("content", pa.large_string()),
                ("timestamp", pa.timestamp("ns", "America/New_York")),
                ("tool_calls", pa.list_(pa.string())),
            ]
        )
    )
    moment = datetime(2024, 1, 1, 15, 0, tzinfo=UTC)
    talk = [
        {"role": "user", "content": "q", "timestamp": moment, "tool_calls": None},
        {"role": "assistant", "content": "r", "timestamp": None, "tool_calls": None},
    ]
    table = pa.table(
        {
            "messages": pa.array([talk, None, talk], kind),
            "conversation_id": pa.array([b"a", b"b", b"c"], pa.binary()),
            "picture": pa.array([b"\xff\xd8", None, b"\xff"], pa.binary()),
            "price": pa.array([Decimal("1.5")] * 3),
            "embedding": pa.array([[0.5] * 3] * 3),
        }
    )
    parquet.write_table(table, tmp_path / "talks.parquet", use_dictionary=True)

    result = read_conversations([tmp_path / "talks.parquet"], skip_bad=True)

    assert [each.conversation_id for each in result.conversations] == ["a", "c"]
    assert result.conversations[0].turns[0].time == "2024-01-01T15:00:00+00:00"
    assert [error.line for error in result.skipped] == [2]


def test_a_file_without_the_columns_names_those_it_has(tmp_path: Path) -> None:
    """And the option that chooses them, which makes it readable."""
    path = saved(tmp_path / "talks.parquet", [{"pregunta": "q", "respuesta": "r", "n": 1}])

    with pytest.raises(FormatError, match=r"keys pregunta, respuesta, n\. .*--column prompt=KEY"):
        read_conversations([path])

    chosen = ReadOptions(columns={"prompt": "pregunta", "response": "respuesta"})
    [conversation] = read_conversations([path], options=chosen).conversations
    assert (conversation.turns[0].user_text, conversation.turns[0].reply) == ("q", "r")


def test_a_column_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """A choice that does nothing would be worse than none."""
    path = saved(tmp_path / "talks.parquet", PUBLISHED["dolly"][0])
    with pytest.raises(
        FormatError, match="'uid', as --column or columns= names it; there are instruction"
    ):
        read_conversations([path], options=ReadOptions(columns={"user_id": "uid"}))


def damaged(data: bytes, at: int) -> bytes:
    """Return bytes with some of them changed."""
    return data[:at] + bytes(255 - each for each in data[at : at + 40]) + data[at + 40 :]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data[: len(data) // 2], "expected a whole Parquet file"),
        (lambda data: data[:9], "expected a whole Parquet file"),
        (lambda data: b"PARE" + data[4:], "is encrypted Parquet; decrypt it"),
        (lambda data: damaged(data, len(data) - 60), "expected a whole Parquet file"),
        (lambda data: damaged(data, 20), r"rows 1 to 3 cannot be read"),
    ],
)
def test_a_broken_file_is_an_error_of_one_line(tmp_path: Path, change: Any, words: str) -> None:
    """A file that is cut off, damaged or encrypted, with what could not be read."""
    path = saved(tmp_path / "talks.parquet", PUBLISHED["dolly"][0] * 6, row_group_size=3)
    path.write_bytes(change(path.read_bytes()))

    with pytest.raises(FormatError, match=words) as caught:
        read_conversations([path])
    assert "\n" not in str(caught.value)


def test_a_damaged_group_of_rows_is_skipped_alone(tmp_path: Path) -> None:
    """With skip_bad the other groups of a file are read."""
    path = saved(tmp_path / "talks.parquet", PUBLISHED["dolly"][0] * 6, row_group_size=3)
    path.write_bytes(damaged(path.read_bytes(), 20))

    result = read_conversations([path], skip_bad=True)

    assert len(result.conversations) == 3
    assert len(result.skipped) == 1


@pytest.mark.parametrize("cut", [20, 400])
def test_a_cut_arrow_stream_is_an_error(tmp_path: Path, cut: int) -> None:
    """As a copy that was broken off leaves it."""
    folder = saved_dataset(tmp_path / "disk", PUBLISHED["dolly"][0] * 9)
    path = folder / "data-00000-of-00001.arrow"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(FormatError, match="expected a whole Arrow file"):
        read_conversations([path])


@pytest.mark.parametrize("kind", ["talks.parquet", "data-00000-of-00001.arrow"])
def test_damage_anywhere_is_at_most_an_error(tmp_path: Path, kind: str) -> None:
    """Never a crash: sizes and positions that a file states are checked before they are used."""
    rows = PUBLISHED["ultrachat-200k"][0] * 7
    saved(saved_dataset(tmp_path / "disk", rows) / "talks.parquet", rows, row_group_size=3)
    path = tmp_path / "disk" / kind
    data = path.read_bytes()
    errors = 0
    for at in range(8, len(data), len(data) // 60):
        path.write_bytes(data[:at] + b"\x7f\xff" + data[at + 2 :])
        try:
            read_conversations([path])
        except FormatError as error:
            errors += "\n" not in str(error)
    assert errors > 10


def test_a_row_that_cannot_be_read_is_skipped_alone(tmp_path: Path) -> None:
    """Text that is not UTF-8, and a time that no calendar has."""
    texts = pa.StringArray.from_buffers(
        3, pa.array([0, 1, 2, 3], pa.int32()).buffers()[1], pa.py_buffer(b"a\xffc")
    )
    times = pa.array([0, 0, 2**62], pa.timestamp("us"))
    table = pa.table({"prompt": texts, "response": ["r"] * 3, "timestamp": times})
    parquet.write_table(table, tmp_path / "talks.parquet")

    result = read_conversations([tmp_path / "talks.parquet"], skip_bad=True)

    assert [each.turns[0].user_text for each in result.conversations] == ["a"]
    assert [error.line for error in result.skipped] == [2, 3]


def test_limits_are_those_of_other_files(tmp_path: Path) -> None:
    """A row that is too long is skipped alone; a file that unpacks to too much is an error."""
    rows = [{"prompt": text, "response": "r"} for text in ("q", "x" * 5_000, "q")]
    path = saved(tmp_path / "talks.parquet", rows)

    short = ReadOptions(skip_bad=True, limits=ReadLimits(max_document_bytes=2_000))
    result = read_conversations([path], options=short)
    assert len(result.conversations) == 2
    assert [error.line for error in result.skipped] == [2]

    # One long text that a dictionary repeats: small on disk, large in memory.
    bomb = saved(tmp_path / "bomb.parquet", [{"prompt": "x" * 5_000, "response": "r"}] * 200)
    assert bomb.stat().st_size < 20_000
    small = ReadOptions(limits=ReadLimits(max_file_bytes=100_000))
    with pytest.raises(FormatError, match=r"is larger than .* unpacked"):
        read_conversations([bomb], options=small)


def test_a_folder_is_read_with_what_is_in_it(tmp_path: Path) -> None:
    """Splits in order of names; what the library computed and files of scores are left out."""
    rows = [{"id": str(number), "messages": said("q", "r")} for number in range(7)]
    saved_dataset(tmp_path / "data" / "train", rows)
    saved_dataset(tmp_path / "data" / "test", rows[:2])
    (tmp_path / "data" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    train = tmp_path / "data" / "train"
    (train / "cache-0123.arrow").write_bytes((train / "data-00000-of-00001.arrow").read_bytes())
    saved(tmp_path / "data" / "scores.parquet", [{"id": "1", "score": 0.5}])

    survey = survey_conversations([tmp_path / "data"], ReadOptions())

    assert (survey.conversations, dict(survey.formats)) == (9, {"openai": 9})
    assert "scores.parquet" in {path.name for path in survey.ignored}


def test_without_pyarrow_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with skip_bad: nothing is wrong with the file."""
    path = saved(tmp_path / "talks.parquet", PUBLISHED["dolly"][0])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[parquet\]'"):
        read_conversations([path], skip_bad=True)


def test_reading_ends_after_the_first_conversations(tmp_path: Path) -> None:
    """So that damage behind them is not met."""
    path = saved(tmp_path / "talks.parquet", PUBLISHED["dolly"][0] * 200, row_group_size=100)
    data = path.read_bytes()
    group = parquet.ParquetFile(path).metadata.row_group(1)
    path.write_bytes(damaged(data, group.column(0).data_page_offset))
    first = ReadOptions(max_conversations=90)
    assert len(read_conversations([path], options=first).conversations) == 90
    with pytest.raises(FormatError, match="rows 101 to 200"):
        read_conversations([path])
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        ReadOptions(max_conversations=0)


@pytest.mark.parametrize("rows", [["prompt", "response"], [["q", "r"]]])
def test_rows_in_memory_are_mappings(rows: Any) -> None:
    """A data frame gives its columns, and a data set with splits their names: neither is a row."""
    with pytest.raises(FormatError, match=r"got (str|list)\. Give one split") as caught:
        read_rows(rows, name="mine")
    assert (str(caught.value.path), caught.value.line) == ("mine", 1)


def test_progress_is_told_in_bytes_of_the_file(tmp_path: Path) -> None:
    """As for files of lines."""
    path = saved(tmp_path / "talks.parquet", PUBLISHED["dolly"][0] * 200)
    seen: list[tuple[int, int]] = []
    read_conversations([path], options=ReadOptions(progress=lambda *each: seen.append(each)))
    assert seen[-1][0] <= seen[-1][1] == path.stat().st_size


def test_a_packed_file_is_named_as_such(tmp_path: Path) -> None:
    """Parquet in gzip is unpacked by its owner: it is read by position."""
    import gzip

    data = io.BytesIO()
    parquet.write_table(pa.table({"prompt": ["q"]}), data)
    path = tmp_path / "talks.parquet.gz"
    path.write_bytes(gzip.compress(data.getvalue(), mtime=0))
    with pytest.raises(FormatError, match="is Parquet, packed with gzip; unpack it"):
        read_conversations([path])
