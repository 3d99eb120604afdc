"""A strict replay runs the steps without LangGraph, and nothing else is different."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from callwise.recordings import read_conversations
from callwise.recordings.app_protocol import TurnInput
from callwise.recordings.cassette import CassetteMode, open_cassette
from callwise.shipped import conversation_path
from graph.app import app
from graph.drivers import build_graph


async def _turns(
    folder: Path, name: str, overrides: Sequence[str], *, mode: CassetteMode, direct: bool
) -> list[Any]:
    """Return the records and rows of some recorded turns."""
    settings = app.settings(name, overrides)
    conversation = read_conversations([conversation_path("zh_night_shift.jsonl")]).conversations[0]
    is_strict = mode is CassetteMode.STRICT
    home = folder / f"{name}-{mode}-{direct}"
    home.mkdir()
    with open_cassette(folder / "calls.jsonl", mode) as cassette:
        async with app.open(
            settings, folder=home, recorder=cassette, is_offline=is_strict
        ) as session:
            assert (session.graph is None) is is_strict
            session.graph = None if direct else _graph(settings)
            results = [
                await session.run_turn(TurnInput("c", turn.turn, turn.user_text))
                for turn in conversation.first_turns(5).turns
            ]
    return [(result.record, list(result.rows)) for result in results]


def _graph(settings: Any) -> Any:
    return build_graph(overlap=settings.overlap, fuse=settings.fuse)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["classic", "classic_parallel", "balanced", "instant"])
@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["budget.turn.max_calls=6"],
        ["endpoints={main: {kind: simulated, simulated: {malformed_json_rate: 0.3}}}"],
        ["fuse.wind_down=true", "budget.turn.max_calls=6"],
    ],
    ids=["roomy", "short of calls", "malformed answers", "wound down"],
)
async def test_it_gives_the_bytes_of_the_graph(
    tmp_path: Path, preset: str, overrides: list[str]
) -> None:
    """Records and rows are equal, for every preset, degraded turns included."""
    await _turns(tmp_path, preset, overrides, mode=CassetteMode.NEW_EPISODES, direct=False)
    strict = CassetteMode.STRICT
    by_graph = await _turns(tmp_path, preset, overrides, mode=strict, direct=False)
    directly = await _turns(tmp_path, preset, overrides, mode=strict, direct=True)
    assert directly == by_graph
    assert all(row["outcome"] in {"replayed", "refused"} for _, rows in directly for row in rows)
