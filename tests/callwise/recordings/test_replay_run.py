"""A whole replay: recording, playing, going on, at any concurrency."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from callwise.calls.errors import CallwiseError, CassetteMiss, ConfigError, FormatError
from callwise.calls.reply import ReportedUsage
from callwise.recordings import read_conversations
from callwise.recordings.cassette import CassetteMode, open_cassette
from callwise.recordings.conversation_files import first_turns
from callwise.recordings.replay_run import FinishedRun, RunRequest, run_replay
from callwise.report import summarise, totals_json
from graph.app import app

FAILING = (
    "endpoints={main: {kind: simulated, "
    "simulated: {error_rate_500: 0.4, timeout_rate: 0.1, timeout_seconds: 5}}}"
)

WORDS = ("job", "cat", "rent", "exam", "flat", "knee", "boss", "trip", "debt", "sleep")


@pytest.fixture
def talks(write_lines: Callable[..., Path]) -> Path:
    """Return a file of ten short conversations of ten users, in two languages."""
    lines = []
    for index, word in enumerate(WORDS):
        texts = (f"Let me tell you about my {word}.", "What would you do?")
        if index % 3 == 0:
            texts = (f"我想跟你说说我的{word}。", "你会怎么办？")
        lines += [
            {
                "conversation_id": f"talk-{index}",
                "turn": turn,
                "user_id": f"user-{index}",
                "user_text": text,
            }
            for turn, text in enumerate(texts)
        ]
    return write_lines(*lines)


Replay = Callable[..., Any]


@pytest.fixture
def replay(talks: Path, tmp_path: Path) -> Replay:
    """Return a function that replays the ten conversations into a folder of that name."""

    async def run(
        name: str,
        *overrides: str,
        preset: str = "classic",
        limit_turns: int | None = None,
        paths: Sequence[Path] = (),
        **changes: Any,
    ) -> FinishedRun:
        read = read_conversations(paths or [talks]).conversations
        conversations = read if limit_turns is None else tuple(first_turns(read, limit_turns))
        return await run_replay(
            RunRequest(
                app=app,
                app_target="graph.app:app",
                settings=app.settings(preset, overrides),
                conversations=conversations,
                digest_of=read,
                folder=tmp_path / name,
                **changes,
            )
        )

    return run


def _bytes(run: FinishedRun) -> tuple[bytes, bytes]:
    return tuple((run.folder / f"{name}.jsonl").read_bytes() for name in ("turns", "ledger"))


def _replies(run: FinishedRun) -> list[str]:
    return [turn["reply"] for turn in run.turns]


def _asked(run: FinishedRun) -> list[tuple[Any, ...]]:
    """Return each call as a replay must repeat it: who, what for, how much, in which round."""
    same = ("scope", "role", "purpose", "key", "input_tokens", "output_tokens", "requests")
    return [tuple(row[name] for name in (*same, "end_round")) for row in run.rows]


@pytest.mark.parametrize("preset", ["classic", "classic_parallel"])
@pytest.mark.parametrize("concurrency", [pytest.param(1, marks=pytest.mark.slow), 8])
async def test_a_strict_replay_is_the_recording(
    replay: Replay, preset: str, concurrency: int
) -> None:
    """Replies are equal byte for byte and calls count for count; nothing is sent."""
    first = await replay("first", preset=preset, max_concurrency=4)
    again = await replay(
        "again",
        preset=preset,
        cassette=first.folder / "cassette.jsonl",
        mode=CassetteMode.STRICT,
        max_concurrency=concurrency,
    )
    assert _replies(again) == _replies(first)
    assert _asked(again) == _asked(first)
    assert {row["outcome"] for row in again.rows} == {"replayed"}
    for turn, other in zip(first.turns, again.turns, strict=True):
        assert turn["asked"] == other["asked"]
        assert turn["rounds"] == other["rounds"]
        assert turn["path_seconds"] == other["path_seconds"]
        assert turn["search"] == other["search"]


async def test_more_workers_than_conversations_are_not_made(replay: Replay) -> None:
    """A number that a hand slipped on costs neither time nor memory."""
    run = await replay("many", preset="instant", max_concurrency=10**18)
    assert len(run.turns) == 2 * len(WORDS)


async def test_concurrency_changes_no_byte(replay: Replay) -> None:
    """One user at a time or eight, the run's files are the same bytes."""
    serial = await replay("serial", max_concurrency=1)
    beside = await replay("beside", max_concurrency=8)
    assert _bytes(serial) == _bytes(beside)


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ("budget.turn.max_calls=5",),
        ("budget.turn.max_tokens=6000",),
        ("budget.turn.max_seconds=13",),
        ("budget.conversation.max_calls=20",),
        ("endpoints={main: {kind: simulated, simulated: {malformed_json_rate: 0.5}}}",),
        (
            FAILING,
            "reply.on_outage=fallback",
            "budget.turn.max_requests=14",
        ),
        ("processor.llm=always", "search.assistant_check_top_n=3"),
        ("cache.memory_entries=100",),
    ],
    ids=lambda overrides: overrides[-1].split("=")[0],
)
async def test_refusals_failures_and_deadlines_replay_too(
    replay: Replay, overrides: tuple[str, ...]
) -> None:
    """Whatever a budget or a failure did to the recorded run, its replay does again."""
    first = await replay("first", *overrides, limit_turns=6)
    again = await replay(
        "again",
        *overrides,
        limit_turns=6,
        cassette=first.folder / "cassette.jsonl",
        mode=CassetteMode.STRICT,
        max_concurrency=8,
    )
    assert _replies(again) == _replies(first)
    assert _asked(again) == _asked(first)
    assert [turn["degraded"] for turn in again.turns] == [turn["degraded"] for turn in first.turns]
    refused = [row["outcome"] for row in first.rows].count("refused")
    assert [row["outcome"] for row in again.rows].count("refused") == refused


@pytest.mark.slow
async def test_a_part_and_then_the_rest_is_the_whole(replay: Replay) -> None:
    """Replaying the first turns and then all of them gives the bytes of one run."""
    whole = await replay("whole")
    part = await replay("parts", limit_turns=7)
    assert len(part.turns) == 7
    rest = await replay("parts")
    assert (rest.turns_before, len(rest.turns)) == (7, 20)
    assert _bytes(rest) == _bytes(whole)


async def test_a_finished_run_asks_nothing_again(replay: Replay) -> None:
    """Running a finished run once more changes no byte and no line of its cassette."""
    first = await replay("run", limit_turns=4)
    before, cassette = _bytes(first), (first.folder / "cassette.jsonl").read_bytes()
    again = await replay("run", limit_turns=4)
    assert again.turns_before == 4
    assert _bytes(again) == before
    assert (again.folder / "cassette.jsonl").read_bytes() == cassette


@pytest.mark.parametrize("torn", ["turns.jsonl", "ledger.jsonl"])
async def test_a_torn_line_is_replayed_from_the_recording(replay: Replay, torn: str) -> None:
    """A turn whose line was cut off runs again from its cassette: no call is bought twice."""
    first = await replay("run", limit_turns=4)
    whole = _replies(first)
    for name in dict.fromkeys(("turns.jsonl", torn)):
        path = first.folder / name
        path.write_bytes(path.read_bytes()[:-40])
    recorded = (first.folder / "cassette.jsonl").read_bytes()
    again = await replay("run", limit_turns=4)
    assert again.turns_before == 3
    assert _replies(again) == whole
    assert (again.folder / "cassette.jsonl").read_bytes() == recorded
    rows = [row for row in again.rows if row["conversation"] == "talk-1"]
    last = {row["outcome"] for row in rows if row["turn"] == rows[-1]["turn"]}
    assert last == {"replayed"}


async def test_a_crash_after_the_commit_runs_the_turn_again(replay: Replay) -> None:
    """When memory holds a turn that the folder does not, it starts from what it saw first."""
    whole = await replay("whole", limit_turns=4)
    await replay("crashed", limit_turns=4)
    turns = whole.folder.parent / "crashed" / "turns.jsonl"
    lines = turns.read_bytes().splitlines(keepends=True)
    turns.write_bytes(b"".join(lines[:-1]))
    again = await replay("crashed", limit_turns=4)
    assert again.turns_before == 3
    assert _replies(again) == _replies(whole)
    assert [turn["asked"] for turn in again.turns] == [turn["asked"] for turn in whole.turns]


async def test_a_strict_miss_names_turn_and_node_and_the_difference(
    replay: Replay, write_lines: Callable[..., Path]
) -> None:
    """A changed message is a miss in its own turn, with the first differing characters."""
    words = ("I lost my job today.", "I lost my cat today.")
    lines = [
        [
            {"conversation_id": "talk", "turn": 0, "user_text": "Hello there."},
            {"conversation_id": "talk", "turn": 1, "user_text": text},
        ]
        for text in words
    ]
    one = write_lines(*lines[0], name="one.jsonl")
    other = write_lines(*lines[1], name="other.jsonl")
    first = await replay("first", paths=[one])
    with pytest.raises(CassetteMiss) as miss:
        await replay(
            "again",
            paths=[other],
            cassette=first.folder / "cassette.jsonl",
            mode=CassetteMode.STRICT,
        )
    said = str(miss.value)
    assert "conversation talk, turn 1, node detection" in said
    assert "first difference: message 2 (user)" in said
    assert "cat today" in said.split("asked:")[1]
    assert "job today" in said[said.index("recorded:") : said.index("asked:")]
    # What had been finished before the miss stands.
    assert len((first.folder.parent / "again" / "turns.jsonl").read_bytes().splitlines()) == 1


async def test_new_episodes_buys_only_what_is_missing(replay: Replay) -> None:
    """With another knob the shared beginning of each turn comes from the recording."""
    shut = "search.early_exit.enabled=false"
    first = await replay("first", "search.rollouts=2", shut, limit_turns=1)
    more = await replay(
        "more",
        "search.rollouts=4",
        shut,
        limit_turns=1,
        cassette=first.folder / "cassette.jsonl",
    )
    outcomes = [row["outcome"] for row in more.rows]
    assert outcomes.count("replayed") >= 6
    assert outcomes.count("served") >= 1
    assert outcomes.count("served") < len(more.rows) - 6


async def test_a_truncated_cassette_is_recovered_and_says_so(replay: Replay) -> None:
    """A last line that was cut off is dropped, said, and bought again; strict names the node."""
    first = await replay("first", limit_turns=1)
    cassette = first.folder / "cassette.jsonl"
    cassette.write_bytes(cassette.read_bytes()[:-25])
    with pytest.raises(CassetteMiss, match="node memory_manager"):
        await replay("strict", limit_turns=1, cassette=cassette, mode=CassetteMode.STRICT)
    again = await replay("again", limit_turns=1, cassette=cassette)
    assert _replies(again) == _replies(first)
    assert [row["outcome"] for row in again.rows].count("served") == 1
    assert any("ended in a broken line" in notice for notice in again.notices)


async def test_a_cassette_of_another_version_is_refused(replay: Replay) -> None:
    """The error names the file and both versions, and nothing is written to it."""
    first = await replay("first", limit_turns=1)
    cassette = first.folder / "cassette.jsonl"
    header, *rest = cassette.read_bytes().splitlines(keepends=True)
    future = json.loads(header) | {"callwise_cassette": 99}
    cassette.write_bytes(orjson.dumps(future) + b"\n" + b"".join(rest))
    before = cassette.read_bytes()
    for mode in (CassetteMode.STRICT, CassetteMode.NEW_EPISODES):
        with pytest.raises(FormatError, match="format version 99"):
            await replay(f"again-{mode}", limit_turns=1, cassette=cassette, mode=mode)
    assert cassette.read_bytes() == before


async def test_a_rewrite_records_everything_again(replay: Replay) -> None:
    """Everything is served again, and the cassette holds only the new exchanges."""
    cassette = (await replay("first", limit_turns=2)).folder / "cassette.jsonl"
    again = await replay("again", limit_turns=1, cassette=cassette, mode=CassetteMode.REWRITE)
    assert {row["outcome"] for row in again.rows} == {"served"}
    with open_cassette(cassette) as written:
        assert written.statistics().found_count == len(again.rows)


async def test_a_folder_of_another_run_is_left_alone(replay: Replay) -> None:
    """Other knobs, other conversations: the error says what differs, and no byte changes."""
    first = await replay("run", limit_turns=1)
    before = _bytes(first)
    with pytest.raises(ConfigError, match=r"the knob search.rollouts was 4 and is now 1.*--fresh"):
        await replay("run", "search.rollouts=1", limit_turns=1)
    assert _bytes(first) == before


async def test_a_run_without_its_memory_does_not_go_on(replay: Replay) -> None:
    """The turns that are left would be answered as if nothing had been said before."""
    first = await replay("run", limit_turns=3)
    (first.folder / "memory.sqlite").unlink()
    before = _bytes(first)
    with pytest.raises(ConfigError, match=r"3 finished turns, but memory\.sqlite is gone"):
        await replay("run")
    assert _bytes(first) == before
    assert not (first.folder / "memory.sqlite").exists()
    # A run that is complete has no turn to answer.
    assert len((await replay("run", limit_turns=3)).turns) == 3


@pytest.mark.parametrize("turns", [1, 2])
async def test_a_folder_deleted_in_the_middle_does_not_end_well(
    talks: Path, tmp_path: Path, turns: int
) -> None:
    """Also where the turn that was just written was the last one."""
    folder = tmp_path / "run"
    conversations = tuple(first_turns(read_conversations([talks]).conversations, turns))
    request = RunRequest(
        app=app,
        app_target="graph.app:app",
        settings=app.settings("classic"),
        conversations=conversations,
        folder=folder,
    )

    def delete(_: Any) -> None:
        shutil.rmtree(folder, ignore_errors=True)

    with pytest.raises(CallwiseError):
        await run_replay(request, on_turn=delete)


async def test_a_strict_replay_sends_nothing_and_counts_it(replay: Replay) -> None:
    """`requests` is what the recording paid; `sent` is what left now."""
    first = await replay("first", limit_turns=2)
    again = await replay(
        "again", limit_turns=2, cassette=first.folder / "cassette.jsonl", mode=CassetteMode.STRICT
    )
    requests = [row["requests"] for row in first.rows]
    assert sum(requests) > 0
    assert [row["sent"] for row in first.rows] == requests
    assert [row["requests"] for row in again.rows] == requests
    assert {row["sent"] for row in again.rows} == {0}
    totals = totals_json(summarise(again.rows, again.turns))
    assert (totals["requests"], totals["sent"]) == (sum(requests), 0)


async def test_two_runs_cannot_share_a_folder_or_a_recording(
    replay: Replay, tmp_path: Path
) -> None:
    """While one process writes, another is told to choose another place."""
    entered, go_on = asyncio.Event(), asyncio.Event()

    class Waiting:
        """The app, which waits inside its first session."""

        def __getattr__(self, name: str) -> Any:
            return getattr(app, name)

        def open(self, *args: Any, **options: Any) -> Any:
            @asynccontextmanager
            async def opened() -> AsyncIterator[Any]:
                async with app.open(*args, **options) as session:
                    entered.set()
                    await go_on.wait()
                    yield session

            return opened()

    read = read_conversations([tmp_path / "talk.jsonl"]).conversations
    request = RunRequest(
        app=Waiting(),
        app_target="graph.app:app",
        settings=app.settings("classic"),
        conversations=tuple(first_turns(read, 1)),
        digest_of=read,
        folder=tmp_path / "run",
        cassette=tmp_path / "shared.cassette.jsonl",
    )
    task = asyncio.create_task(run_replay(request))
    await entered.wait()
    with pytest.raises(ConfigError, match="being written by another process"):
        await replay("run", limit_turns=1, cassette=request.cassette)
    with pytest.raises(ConfigError, match="being recorded by another process"):
        await replay("other", limit_turns=1, cassette=request.cassette)
    go_on.set()
    assert len((await task).turns) == 1


async def test_what_passed_a_limit_in_tokens_replays_at_any_concurrency(
    replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider that charges three times the estimate cuts the same turns in each replay."""

    def tripled(input_tokens: int, output_tokens: int) -> ReportedUsage:
        return ReportedUsage(3 * input_tokens, 3 * output_tokens)

    monkeypatch.setattr("callwise.simulator.model._usage", tripled)
    overrides = ("budget.turn.max_tokens=20000",)
    first = await replay("first", *overrides, preset="balanced", limit_turns=3, max_concurrency=4)
    assert sum(row["over_tokens"] for row in first.rows) > 0
    assert {"refused", "served"} <= {row["outcome"] for row in first.rows}
    for concurrency in (1, 8):
        again = await replay(
            f"again-{concurrency}",
            *overrides,
            preset="balanced",
            limit_turns=3,
            cassette=first.folder / "cassette.jsonl",
            mode=CassetteMode.STRICT,
            max_concurrency=concurrency,
        )
        assert _replies(again) == _replies(first)
        assert _asked(again) == _asked(first)
        for name in ("over_tokens", "input_tokens", "requests"):
            sums = [sum(row[name] for row in run.rows) for run in (first, again)]
            assert sums[0] == sums[1]
        refused = [sum(row["outcome"] == "refused" for row in run.rows) for run in (first, again)]
        assert refused[0] == refused[1]
