"""Conversations replayed by the fixture: what a run says, and what it may send."""

import json
from pathlib import Path

import pytest

from callwise.calls.errors import CassetteMiss, ConfigError
from callwise.shipped import configs_folder
from callwise.testing.fixture import CallwiseFixture

TALK = configs_folder() / "conversations" / "en_moving_city.jsonl"


def test_a_run_has_its_calls(callwise: CallwiseFixture) -> None:
    """The classic preset asks 16 per turn; the run is simulated, and is in a folder."""
    shut = ["search.early_exit.enabled=false"]
    run = callwise.replay(TALK, preset="classic", overrides=shut, max_turns=2)
    assert run.calls.by_turn == {("moving-city", 0): 16, ("moving-city", 1): 16}
    assert run.calls.by_role == {"fast": 6, "judge": 12, "main": 14}
    assert run.calls.by_node["lats_search"] == 22
    assert run.calls.by_purpose["judge"] == 12
    assert run.calls.total == len(run.rows) == 32
    assert [turn.turn for turn in run.turns] == [0, 1]
    assert run.is_simulated
    assert not run.is_live
    assert json.loads((run.folder / "manifest.json").read_bytes())["callwise_run"] == 1
    assert callwise.calls.total == 0


async def test_it_works_in_an_asynchronous_test(callwise: CallwiseFixture) -> None:
    """A loop that runs already is no hindrance."""
    run = callwise.replay(TALK, preset="instant", max_turns=1)
    assert run.calls.total == 2


def test_a_cassette_is_played_strictly(
    callwise: CallwiseFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a recording a real endpoint is not needed, and none is asked."""
    recorded = callwise.replay(TALK, preset="instant", max_turns=2)
    cassette = recorded.folder / "cassette.jsonl"
    before = cassette.read_bytes()
    played = callwise.replay(TALK, preset="instant", max_turns=2, cassette=cassette)
    assert {row.outcome for row in played.rows} == {"replayed"}
    assert played.calls == recorded.calls
    assert played.is_replayed
    assert played.folder != recorded.folder
    assert cassette.read_bytes() == before
    monkeypatch.setenv("CALLWISE_BASE_URL", "https://api.example.com/v1")
    monkeypatch.setenv("CALLWISE_MODEL", "real")
    with pytest.raises(CassetteMiss):
        callwise.replay(TALK, preset="instant", max_turns=1, cassette=cassette)


def test_a_call_that_is_not_recorded_is_an_error(callwise: CallwiseFixture) -> None:
    """Another preset asks other calls, and nothing makes them up."""
    recorded = callwise.replay(TALK, preset="instant", max_turns=1)
    with pytest.raises(CassetteMiss):
        callwise.replay(
            TALK, preset="frugal", max_turns=1, cassette=recorded.folder / "cassette.jsonl"
        )


def test_real_endpoints_are_not_asked_by_default(
    callwise: CallwiseFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endpoint in the environment makes a replay without a cassette a clear error."""
    monkeypatch.setenv("CALLWISE_BASE_URL", "https://api.example.com/v1")
    monkeypatch.setenv("CALLWISE_MODEL", "real")
    monkeypatch.setenv("CALLWISE_API_KEY", "secret")
    with pytest.raises(ConfigError, match=r"would send requests.*--callwise-live"):
        callwise.replay(TALK, preset="instant", max_turns=1)


def test_overrides_are_knobs(callwise: CallwiseFixture) -> None:
    """A knob that is set shows in the calls."""
    run = callwise.replay(TALK, overrides=["search.rollouts=1"], max_turns=1)
    assert run.calls.total < 16


def test_a_file_is_searched_next_to_the_test_first(callwise: CallwiseFixture) -> None:
    """What is in neither place is an error that names both."""
    with pytest.raises(
        ConfigError, match=r"no missing\.jsonl; looked for .*testing/missing\.jsonl"
    ):
        callwise.replay("missing.jsonl")
    with pytest.raises(
        ConfigError, match=r"Record it: pytest .*--callwise-record.* callwise replay "
    ):
        callwise.replay(TALK, cassette="missing.cassette.jsonl")
    # From the root folder, where pytest was started on this project.
    run = callwise.replay(
        "configs/conversations/en_moving_city.jsonl", preset="instant", max_turns=1
    )
    assert run.calls.total == 2


def test_a_limit_of_no_turns_is_refused(callwise: CallwiseFixture) -> None:
    """A run of nothing would hold nothing."""
    with pytest.raises(ConfigError, match="max_turns is at least 1"):
        callwise.replay(TALK, max_turns=0)


@pytest.mark.max_calls(turn=16, judge=6, lats_search=11, plan=1)
def test_the_mark_checks_runs_too(callwise: CallwiseFixture, tmp_path: Path) -> None:
    """Two runs of one conversation are two runs, and each is within the limits."""
    for _ in range(2):
        run = callwise.replay(TALK, max_turns=1)
        assert run.folder.is_relative_to(tmp_path)
