"""Prompts and answers of a run's calls, from its recording."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callwise.recordings.cassette_sharing import Sharing
from callwise.report.page.page_data import gather
from callwise.report.page.page_html import document_of, page_of
from callwise.report.page.recorded_calls import NOTHING_RECORDED, RecordedCall, cassette_of

RunMaker = Callable[..., Path]

KEY = "sk-" + "a1B2" * 8


def exchange(turn: int, place: int, **fields: Any) -> str:
    """Return a line of a recording for a call of `make_run`."""
    node = ("detection", "lats_search", "lats_search")[place % 3]
    line = {
        "key": f"{turn:032x}{place:032x}",
        "scope": f"run/conv:one/turn:{turn}/node:{node}",
        "role": "main",
        "purpose": ("detect", "expand", "judge")[place % 3],
        "messages": [{"role": "user", "content": f"Turn {turn}?"}],
        "reply": {"text": f'{{"answer": {turn}}}', "finish_reason": "stop"},
        **fields,
    }
    return json.dumps(line, separators=(",", ":")) + "\n"


def _calls(folder: Path) -> list[dict[str, Any]]:
    document = document_of(gather(folder))
    names = document["call_columns"]
    return [
        dict(zip(names, row, strict=True))
        for turn in document["runs"][0]["turns"]
        for row in turn["calls"]
    ]


def test_a_call_has_its_prompt_and_its_answer(make_run: RunMaker) -> None:
    """They come from the recording in the run's folder, by key and scope."""
    folder = make_run(turns=[{}, {}])
    tools = [{"id": "1", "name": "look"}]
    lines = [
        exchange(0, 0, settings={"temperature": 0.5, "response_model": "Detection"}),
        exchange(1, 1, messages=[{"role": "system", "content": "Be kind."}], reply={
            "text": "Well", "tool_calls": tools, "finish_reason": "length"}),
    ]  # fmt: skip
    (folder / "cassette.jsonl").write_text("".join(lines), encoding="utf-8")
    calls = _calls(folder)
    assert (calls[0]["prompt"], calls[0]["answer"]) == ([["user", "Turn 0?"]], '{"answer": 0}')
    assert calls[0]["settings"] == [("temperature", 0.5), ("response_model", "Detection")]
    assert calls[0]["parsed"] is None
    assert calls[4]["prompt"] == [["system", "Be kind."]]
    assert json.loads(calls[4]["tool_calls"]) == tools
    assert calls[4]["finish_reason"] == "length"
    assert calls[1]["prompt"] == []


def test_a_packed_recording_is_read(make_run: RunMaker) -> None:
    """A recording that is packed with gzip gives the same prompts."""
    folder = make_run(turns=[{}])
    (folder / "cassette.jsonl").write_bytes(gzip.compress(exchange(0, 0).encode()))
    assert _calls(folder)[0]["prompt"] == [["user", "Turn 0?"]]


@pytest.mark.parametrize(
    ("answer", "parsed"),
    [
        ('{"score": 1}', None),
        ('Sure!\n```json\n{"score": 1}\n```', '{"score": 1}'),
        ("No.", ""),
        ("", None),
    ],
)
def test_the_parsed_form_is_the_document_in_the_answer(answer: str, parsed: str | None) -> None:
    """None where the answer is JSON itself, empty where JSON was asked for and there is none."""
    call = RecordedCall((), {"response_model": "Score"}, answer, "", "stop")
    assert call.parsed == parsed


def test_without_a_recording_the_page_names_the_command(make_run: RunMaker) -> None:
    """It is said once on top, and no call has a prompt; a run of refused calls needs none."""
    folder = make_run(turns=[{}])
    html, _ = page_of(folder)
    assert "Prompts and answers of this run are not shown" in html
    assert "callwise replay CONVERSATIONS --record calls.jsonl --out DIR" in html
    refused = {"outcome": "refused", "requests": 0}
    assert "are not shown" not in page_of(make_run("cut", turns=[{"calls": (refused,)}]))[0]


def test_a_recording_of_others_is_named(make_run: RunMaker) -> None:
    """A recording that has none of the run's calls, or is none, leaves a notice and no error."""
    folder = make_run(turns=[{}])
    (folder / "cassette.jsonl").write_text(exchange(7, 7), encoding="utf-8")
    assert "its recording has none of its calls" in gather(folder).recorded.notice
    (folder / "cassette.jsonl").write_bytes(b"\x1f\x8b broken")
    assert "cannot be read" in gather(folder).recorded.notice


def test_calls_under_normalised_keys_are_found_by_their_place(make_run: RunMaker) -> None:
    """A recording with normalisers has other keys; the scope's next call of the purpose answers."""
    folder = make_run(turns=[{}])
    header = json.dumps({"callwise_cassette": 3, "normalise": [{"name": "uuid"}]}) + "\n"
    line = exchange(0, 0, key="f" * 64)
    (folder / "cassette.jsonl").write_text(header + line, encoding="utf-8")
    assert [call["prompt"] for call in _calls(folder)] == [[["user", "Turn 0?"]], [], []]
    (folder / "cassette.jsonl").write_text(line, encoding="utf-8")
    assert [call["prompt"] for call in _calls(folder)] == [[], [], []]


def test_keys_in_prompts_are_redacted(make_run: RunMaker) -> None:
    """A key that a user pasted into a message is in neither prompt nor answer of the page."""
    folder = make_run(turns=[{"user_text": f"my key is {KEY}"}])
    line = exchange(0, 0, messages=[{"role": "user", "content": f"{KEY}?"}], reply={"text": KEY})
    (folder / "cassette.jsonl").write_text(line, encoding="utf-8")
    assert KEY not in json.dumps(document_of(gather(folder)))


def test_no_recording_on_another_machine_is_opened(make_run: RunMaker) -> None:
    """A run's folder may come from anywhere; a network path in its manifest is left alone."""
    for named in ("//host/share/c.jsonl", r"\\host\share\c.jsonl"):
        folder = make_run(named[:2].encode().hex(), manifest={"identity": {"cassette": named}})
        assert cassette_of(gather(folder).record) is None


def test_virtual_seconds_are_named_so(make_run: RunMaker) -> None:
    """Seconds of a simulated model in process are virtual; of an endpoint they are seconds."""
    virtual = {"is_simulated": True, "endpoint": "simulated"}
    units = [
        gather(make_run(name, turns=[{"calls": calls}])).seconds
        for name, calls in (("a", (virtual,)), ("b", ({},)), ("c", (virtual, {})), ("d", ()))
    ]
    assert units == ["virtual seconds", "seconds", "seconds (in part virtual)", "seconds"]
    html, _ = page_of(make_run("e", turns=[{"calls": (virtual,)}]), make_run("f", turns=[{}]))
    for said in ("virtual seconds to the reply", "path virtual seconds reply, mean per turn",
                 "Where the time went (virtual seconds of all calls"):  # fmt: skip
        assert said in html, said
    assert NOTHING_RECORDED.parsed is None


def test_prompts_of_a_shared_recording_are_put_together(make_run: RunMaker) -> None:
    """What a recording has once for many prompts is in each of them; a damaged part is left out."""
    folder = make_run(turns=[{}, {}])
    shared: set[bytes] = set()
    sharing, lines = Sharing(shared.__contains__), []
    long = "You are Nora. " * 50
    for turn in (0, 1):
        document = json.loads(exchange(turn, 0, messages=[
            {"role": "system", "content": long}, {"role": "user", "content": f"{long}{turn}"}
        ]))  # fmt: skip
        new, line = sharing.pack(document)
        shared.update(new)
        lines += [*new.values(), line]
    recording = folder / "cassette.jsonl"
    recording.write_bytes(b"".join(lines))
    recorded = gather(folder).recorded
    rows = gather(folder).record.raw_rows
    found = [recorded.of(row) for row in (rows[0], rows[3])]
    assert [call and [text for _, text in call.messages] for call in found] == [
        [long, f"{long}{turn}"] for turn in (0, 1)
    ]
    recording.write_bytes(b"".join(line for line in lines if not line.startswith(b'{"shared"')))
    damaged = gather(folder).recorded.of(rows[3])
    assert damaged is not None
    assert (damaged.messages, damaged.answer) == ((), '{"answer": 1}')
