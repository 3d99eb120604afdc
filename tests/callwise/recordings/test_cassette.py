"""A cassette as the budgeter sees it."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.budget.recorder import CallOrigin, RecordedError, RecordedExchange, Recorder
from callwise.budget.usage import Usage as Spent
from callwise.calls import Call, CallKey, Outcome
from callwise.calls.errors import CassetteMiss
from callwise.recordings.cassette import CassetteMode, open_cassette
from callwise.recordings.cassette_file import RecordingStopped

Asked = tuple[CallKey, Call, CallOrigin]
Ask = Callable[..., Asked]
Answer = Callable[..., RecordedExchange]

REFUSAL = {
    "scope": "run",
    "limit": "max_calls",
    "limit_value": 3,
    "used_value": 3,
    "asked_value": 1,
}
SCOPES = [f"run/conv:{name}/turn:{turn}/node:lats" for name in "ab" for turn in range(2)]
ASKED = st.lists(st.tuples(st.sampled_from(SCOPES), st.sampled_from("xyz")), max_size=20)


def test_it_is_a_recorder(tmp_path: Path) -> None:
    """A cassette fits the budgeter's protocol."""
    with open_cassette(tmp_path / "c.jsonl", CassetteMode.NEW_EPISODES) as cassette:
        assert isinstance(cassette, Recorder)


@given(asked=ASKED, data=st.data())
def test_any_interleaving_replays_each_scope(
    tmp_path: Path, ask: Ask, answer: Answer, asked: list[tuple[str, str]], data: st.DataObject
) -> None:
    """Recorded in one order and asked in any other, each scope gets its own answers back."""
    path = tmp_path / "c.jsonl"
    recorded: dict[tuple[str, str], list[RecordedExchange]] = {}
    with open_cassette(path, CassetteMode.REWRITE) as cassette:
        for number, (scope, text) in enumerate(asked):
            exchange = answer(f"answer {number}")
            cassette.record(*ask(text, scope=scope), exchange)
            recorded.setdefault((scope, text), []).append(exchange)

    with open_cassette(path) as cassette:
        for scope, text in data.draw(st.permutations(asked)):
            expected = recorded[scope, text].pop(0)
            assert cassette.lookup(*ask(text, scope=scope)) == expected
        assert cassette.statistics().left_count == 0


async def test_concurrent_tasks_replay_alike(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    """Tasks that interleave differently in each run are given the same answers in each."""
    path = tmp_path / "c.jsonl"
    with open_cassette(path, CassetteMode.REWRITE) as cassette:
        for scope in SCOPES:
            for number in range(5):
                cassette.record(*ask("same", scope=scope), answer(f"{scope} {number}"))

    async def play(seed: int) -> dict[str, list[str]]:
        draw = random.Random(seed)
        heard: dict[str, list[str]] = {scope: [] for scope in SCOPES}
        with open_cassette(path) as cassette:

            async def node(scope: str) -> None:
                for _ in range(5):
                    for _ in range(draw.randrange(4)):
                        await asyncio.sleep(0)
                    exchange = cassette.lookup(*ask("same", scope=scope))
                    assert exchange is not None
                    assert exchange.reply is not None
                    heard[scope].append(exchange.reply.text)

            await asyncio.gather(*(node(scope) for scope in SCOPES))
        return heard

    expected = {scope: [f"{scope} {number}" for number in range(5)] for scope in SCOPES}
    for seed in range(5):
        assert await play(seed) == expected


def test_every_end_of_a_call_is_played(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    """Errors, refusals and cancellations come back in their order, like answers."""
    path = tmp_path / "c.jsonl"
    ends = [
        RecordedExchange(Outcome.REFUSED, error=RecordedError("CallRefused", "", detail=REFUSAL)),
        RecordedExchange(Outcome.FAILED, error=RecordedError("RateLimited", "slow", 429, 2.5)),
        RecordedExchange(Outcome.CANCELLED, usage=Spent(attempts=1, requests=1, charged_tokens=90)),
        RecordedExchange(Outcome.COALESCED, reply=answer().reply),
    ]
    with open_cassette(path, CassetteMode.REWRITE) as cassette:
        for end in ends:
            cassette.record(*ask(), end)

    with open_cassette(path) as cassette:
        assert [cassette.lookup(*ask()) for _ in ends] == ends


def test_another_scope_may_use_what_is_left(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    """A call whose scope was renamed finds the answers of its key, oldest first."""
    path = tmp_path / "c.jsonl"
    with open_cassette(path, CassetteMode.REWRITE) as cassette:
        cassette.record(*ask(scope=SCOPES[1]), answer("first"))
        cassette.record(*ask(scope=SCOPES[0]), answer("second"))

    with open_cassette(path) as cassette:
        renamed = ask(scope="run/conv:a/turn:0/node:search")
        assert [cassette.lookup(*renamed) for _ in range(2)] == [answer("first"), answer("second")]
        with pytest.raises(CassetteMiss):
            cassette.lookup(*ask(scope=SCOPES[0]))


def test_strict_never_writes(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    """Whatever ends in a strict replay, the file stays as it was, and may be read-only."""
    path = tmp_path / "c.jsonl"
    with open_cassette(path, CassetteMode.REWRITE) as cassette:
        cassette.record(*ask(), answer())
    whole = path.read_bytes()
    path.chmod(0o400)

    with open_cassette(path) as cassette:
        cassette.record(*ask("other"), answer())
        assert cassette.statistics().unrecorded_count == 1

    assert path.read_bytes() == whole


def test_new_episodes_plays_then_records(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    """What stood there is played, what did not is appended and played the next time."""
    path = tmp_path / "c.jsonl"
    with open_cassette(path, CassetteMode.NEW_EPISODES) as cassette:
        cassette.record(*ask("one"), answer("1"))

    with open_cassette(path, CassetteMode.NEW_EPISODES) as cassette:
        assert cassette.lookup(*ask("one")) == answer("1")
        assert cassette.lookup(*ask("two")) is None
        cassette.record(*ask("two"), answer("2"))
        # Recorded in this run: an equal call is the cache's business, not the recording's.
        assert cassette.lookup(*ask("two")) is None
        counts = cassette.statistics()
        assert (counts.found_count, counts.played_count, counts.recorded_count) == (1, 1, 1)

    with open_cassette(path) as cassette:
        assert [cassette.lookup(*ask(text)) for text in ("two", "one")] == [
            answer("2"),
            answer("1"),
        ]


def test_a_recorded_line_is_in_the_file_at_once(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    """Another process sees each exchange as soon as it is recorded: a kill loses none."""
    path = tmp_path / "c.jsonl"
    with open_cassette(path, CassetteMode.NEW_EPISODES) as cassette:
        cassette.record(*ask(), answer())

        with open_cassette(path) as other:
            assert other.lookup(*ask()) == answer()


def test_rewrite_keeps_the_old_until_it_ends_well(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    """A rewrite that breaks off, even twice, leaves the old recording in the backup."""
    path, backup = tmp_path / "c.jsonl", tmp_path / "c.jsonl.before-rewrite.bak"
    with open_cassette(path, CassetteMode.REWRITE) as cassette:
        cassette.record(*ask("old"), answer())
    assert not backup.exists()
    old = path.read_bytes()

    for _ in range(2):
        cassette = open_cassette(path, CassetteMode.REWRITE)
        assert cassette.lookup(*ask("old")) is None
        cassette.record(*ask("half"), answer())
        cassette.close()
        assert backup.read_bytes() == old

    with open_cassette(path, CassetteMode.NEW_EPISODES) as cassette:
        assert cassette.lookup(*ask("half")) == answer()
    assert not backup.exists()


def test_an_error_in_the_run_is_not_a_good_end(tmp_path: Path, ask: Ask, answer: Answer) -> None:
    """A run that raises keeps the backup, and its own error."""
    path = tmp_path / "c.jsonl"
    with open_cassette(path, CassetteMode.REWRITE) as cassette:
        cassette.record(*ask(), answer())

    with pytest.raises(KeyError), open_cassette(path, CassetteMode.REWRITE):
        raise KeyError("the run")

    assert (tmp_path / "c.jsonl.before-rewrite.bak").exists()


def test_what_cannot_be_written_does_not_stop_the_run(
    tmp_path: Path, ask: Ask, answer: Answer
) -> None:
    """An answer that JSON cannot hold is told when the cassette is closed."""
    cassette = open_cassette(tmp_path / "c.jsonl", CassetteMode.NEW_EPISODES)
    odd = RecordedExchange(Outcome.FAILED, error=RecordedError("X", "x", detail={"at": object()}))

    cassette.record(*ask(), answer())
    cassette.record(*ask(), odd)

    with pytest.raises(RecordingStopped, match="cannot record a call of run/conv:a"):
        cassette.close()
    with open_cassette(tmp_path / "c.jsonl") as player:
        assert player.statistics().found_count == 1


def test_closing_twice(tmp_path: Path) -> None:
    """A cassette may be closed again."""
    cassette = open_cassette(tmp_path / "c.jsonl", CassetteMode.NEW_EPISODES)

    cassette.close()
    cassette.close()


def test_equal_calls_are_played_in_the_order_in_which_they_were_asked(
    tmp_path: Path, ask: Ask, answer: Answer
) -> None:
    """Five samples of one prompt end in any order; each gets its own answer back."""
    path = tmp_path / "c.jsonl"
    with open_cassette(path, CassetteMode.REWRITE) as cassette:
        for sequence in (3, 1, 11, 2, 10):
            cassette.record(*ask(), replace(answer(f"to {sequence}"), sequence=sequence))
    # A run that goes on numbers its calls from 1 again; they come after the first ones.
    with open_cassette(path, CassetteMode.NEW_EPISODES) as cassette:
        for sequence in (2, 1):
            cassette.record(*ask(), replace(answer(f"then {sequence}"), sequence=sequence))

    expected = ["to 1", "to 2", "to 3", "to 10", "to 11", "then 1", "then 2"]
    for scope in ("run/conv:a/turn:0/node:detection", "run/elsewhere"):
        with open_cassette(path) as cassette:
            found = [cassette.lookup(*ask(scope=scope)) for _ in expected]
        texts = [each.reply.text for each in found if each is not None and each.reply is not None]
        assert sorted(texts) == sorted(expected)
        if scope != "run/elsewhere":
            assert texts == expected
