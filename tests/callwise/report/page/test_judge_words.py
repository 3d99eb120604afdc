"""The judge's words out of a recording."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from callwise.recordings.cassette_header import seal_line
from callwise.report.page.page_data import gather
from callwise.report.page.page_html import document_of
from callwise.report.page.turn_search import MAX_WORDS_CHARS, spoken

RunMaker = Callable[..., Path]

WORDLESS = {"search": {"tree": [{"id": "a", "reply": "One."}]}}


def _exchange(turn: int, place: int, text: str) -> str:
    line = {
        "key": f"{turn:032x}{place:032x}",
        "scope": f"run/conv:one/turn:{turn}/node:lats_search",
        "role": "judge",
        "reply": {"text": text},
    }
    return json.dumps(line, separators=(",", ":")) + "\n"


def _words(folder: Path) -> list[list[str]]:
    document = document_of(gather(folder))
    place = document["call_columns"].index("words")
    return [[call[place] for call in turn["calls"]] for turn in document["runs"][0]["turns"]]


def test_words_come_from_the_recording_where_the_turn_has_none(make_run: RunMaker) -> None:
    """A turn with reasons in its tree needs none; the other gets those of its judge call."""
    folder = make_run(turns=[WORDLESS, {}])
    lines = [_exchange(0, 2, '{"verdicts":[{"reason":"warm"},{"reason":"sharp"}]}')]
    lines += [_exchange(1, 2, '{"reason":"not asked for"}'), '{"role":"judge", cut']
    (folder / "cassette.jsonl").write_text("".join(lines), encoding="utf-8")
    assert _words(folder) == [["", "", "warm\nsharp"], ["", "", ""]]


def test_a_recording_elsewhere_is_found_by_the_manifest(make_run: RunMaker, tmp_path: Path) -> None:
    """The manifest names the recording; one that is gone is no error."""
    cassette = tmp_path / "calls.jsonl"
    folder = make_run(turns=[WORDLESS], manifest={"identity": {"cassette": str(cassette)}})
    assert _words(folder) == [["", "", ""]]
    cassette.write_text(_exchange(0, 2, "plain words"), encoding="utf-8")
    assert _words(folder) == [["", "", "plain words"]]


def test_a_recording_that_is_none_gives_no_words(make_run: RunMaker, tmp_path: Path) -> None:
    """A folder, a device or a nonsense name in its place leaves the words out."""
    for number, name in enumerate([str(tmp_path), "/dev/zero", "a\0b", "x" * 5000]):
        identity = {"identity": {"cassette": name}}
        folder = make_run(f"run{number}", turns=[WORDLESS], manifest=identity)
        assert _words(folder) == [["", "", ""]]


def test_long_answers_are_cut() -> None:
    """An answer without reasons is given whole, up to a length, however it is nested."""
    assert spoken("{}") == "{}"
    assert len(spoken("x" * 10_000)) == MAX_WORDS_CHARS
    nested: Any = "[" * 50_000 + "]" * 50_000
    assert spoken(nested).startswith("[[[")


def test_a_damaged_line_gives_no_words(make_run: RunMaker) -> None:
    """A bit that flipped in a judge's answer is not shown as what the judge said."""
    folder = make_run(turns=[WORDLESS])
    plain = json.loads(_exchange(0, 2, "warm"))
    document = {"key": plain.pop("key"), "lane": "0" * 16, **plain}
    line = seal_line(json.dumps(document, separators=(",", ":")).encode() + b"\n")
    (folder / "cassette.jsonl").write_bytes(line)
    assert _words(folder) == [["", "", "warm"]]
    (folder / "cassette.jsonl").write_bytes(line.replace(b"warm", b"warl"))
    assert _words(folder) == [["", "", ""]]
