"""A role with several endpoints in the reply pipeline: recorded, and replayed without any."""

from pathlib import Path

import pytest

from callwise.recordings import read_conversations
from callwise.recordings.cassette import CassetteMode
from callwise.recordings.replay_run import FinishedRun, RunRequest, run_replay
from graph.app import app

TALK = (
    '{"conversation_id": "a", "turn": 0, "user_text": "I lost my job today."}\n'
    '{"conversation_id": "a", "turn": 1, "user_text": "What now?"}\n'
    '{"conversation_id": "b", "turn": 0, "user_text": "My cat is ill."}\n'
)
ENDPOINTS = (
    "endpoints={main: {kind: simulated, simulated: {error_rate_500: 1.0}, alternatives: ["
    "{model: second, simulated: {error_rate_500: 0.3, error_rate_429: 0.2}}, {model: third, "
    "simulated: {error_rate_500: 0.0}}]}}"
)


async def run(
    folder: Path, cassette: Path, mode: CassetteMode, policy: str, max_concurrency: int
) -> FinishedRun:
    """Answer a talk, from the recording or into it."""
    talk = folder.parent / "talk.jsonl"
    talk.write_text(TALK)
    overrides = [ENDPOINTS, f"load.route.policy={policy}", "retry.preset=patient"]
    request = RunRequest(
        app=app,
        app_target="graph.app:app",
        settings=app.settings("frugal", overrides),
        conversations=read_conversations([talk]).conversations,
        folder=folder,
        cassette=cassette,
        mode=mode,
        max_concurrency=max_concurrency,
    )
    return await run_replay(request)


def facts(run: FinishedRun) -> list[tuple[object, ...]]:
    """Return what was decided for each call of a run, whatever its outcome."""
    names = ("scope", "purpose", "key", "requests", "attempts", "output_tokens")
    return [
        (*(row[name] for name in names), tuple(row.get("delivery", {}).items())) for row in run.rows
    ]


@pytest.mark.parametrize("policy", ["fallback", "weighted"])
async def test_a_replay_has_the_endpoints_of_the_recording(tmp_path: Path, policy: str) -> None:
    """At any concurrency: the same replies, requests and endpoints, and nothing is sent."""
    cassette = tmp_path / "talk.cassette.jsonl"
    recorded = await run(tmp_path / "live", cassette, CassetteMode.NEW_EPISODES, policy, 1)
    served = {row["delivery"]["model"] for row in recorded.rows if "delivery" in row}
    assert served == {"second", "third"}
    for max_concurrency in (1, 8):
        folder = tmp_path / f"again {max_concurrency}"
        again = await run(folder, cassette, CassetteMode.STRICT, policy, max_concurrency)
        assert facts(again) == facts(recorded)
        assert [turn["reply"] for turn in again.turns] == [turn["reply"] for turn in recorded.turns]
        assert sum(row["sent"] for row in again.rows) == 0
