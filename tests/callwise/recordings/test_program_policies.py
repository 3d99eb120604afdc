"""Programs whose calls a policy gives to several models: recorded, and replayed as they were."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callwise.calls.errors import ConfigError
from callwise.recordings import CassetteMode
from callwise.recordings.program import ProgramApp, ProgramSettings
from callwise.simulator.server import SimServer
from tests.callwise.recordings.test_program import chain, parallel, replay

PRICES = "prices: {input_usd_per_million: 1, output_usd_per_million: 1}"
MODELS = f"models={{small: {{kind: simulated, model: tiny, {PRICES}}}}}"
ROUTE = (
    "policies={other: {kind: route, table: [{model: small, max_complexity: 0.35}, {model: main}],"
    " complexity: {full_tokens: 200}}}"
)
CASCADE = "policies={default: {kind: cascade, models: [small, main], by: agreement, samples: 2}}"


def settings_of(*overrides: str) -> ProgramSettings:
    """Return the knobs that a command line gives."""
    return ProgramApp(chain(), "program:build").settings(None, overrides)


@pytest.fixture
def talk(write_lines: Callable[..., Path]) -> Path:
    """Return two conversations, the second with a long message."""
    texts = (("Hello.", "And you?"), ("Hello.", "Tell me more of it, please. " * 40))
    return write_lines(
        *(
            {"conversation_id": f"talk-{n}", "turn": turn, "user_id": f"u{n}", "user_text": text}
            for n, both in enumerate(texts)
            for turn, text in enumerate(both)
        )
    )


@pytest.mark.parametrize("build", [chain(), parallel])
@pytest.mark.parametrize("policy", [ROUTE, CASCADE])
async def test_a_strict_replay_asks_the_models_that_the_run_asked(
    talk: Path, tmp_path: Path, build: Any, policy: str
) -> None:
    """Choices, replies and counts are those of the run, and nothing is sent."""
    cassette, settings = tmp_path / "c.jsonl", settings_of(MODELS, policy)
    live = await replay(talk, tmp_path / "live", build, cassette=cassette, settings=settings)
    assert {row["model"] for row in live.rows} >= {"tiny"}
    assert all("choice" in row for row in live.rows)
    for name, concurrency in (("one", 1), ("two", 2)):
        played = await replay(
            talk,
            tmp_path / name,
            build,
            cassette=cassette,
            mode=CassetteMode.STRICT,
            settings=settings,
            max_concurrency=concurrency,
        )
        assert [turn["reply"] for turn in played.turns] == [turn["reply"] for turn in live.turns]
        assert {row["sent"] for row in played.rows} == {0}
        assert [row["choice"] for row in played.rows] == [row["choice"] for row in live.rows]
        assert [row["model"] for row in played.rows] == [row["model"] for row in live.rows]


async def test_a_table_routes_by_the_length_of_a_prompt(talk: Path, tmp_path: Path) -> None:
    """The long message goes to the role, the others to the small model."""
    settings = settings_of(MODELS, ROUTE)
    found = await replay(talk, tmp_path / "run", chain(), settings=settings)
    assert [row["choice"]["model"] for row in found.rows] == ["small", "small", "small", "main"]


async def test_models_of_a_server_are_played_without_it(talk: Path, tmp_path: Path) -> None:
    """Each is found in the recording by its own name; no address is needed again."""
    cassette = tmp_path / "c.jsonl"
    async with SimServer() as server:
        real = [
            f"endpoints={{main: {{base_url: '{server.base_url}', model: large}}}}",
            f"models={{small: {{model: tiny, {PRICES}}}}}",
            ROUTE,
        ]
        settings = settings_of(*real)
        live = await replay(talk, tmp_path / "live", chain(), cassette=cassette, settings=settings)
    played = await replay(
        talk,
        tmp_path / "played",
        chain(),
        cassette=cassette,
        mode=CassetteMode.STRICT,
        settings=settings,
    )
    assert {row["model"] for row in live.rows} == {"tiny", "large"}
    assert [row["key"] for row in played.rows] == [row["key"] for row in live.rows]
    assert [row["choice"] for row in played.rows] == [row["choice"] for row in live.rows]


@pytest.mark.parametrize(
    ("policy", "problem"),
    [
        ("policies={other: {table: [{model: nano}]}}", "names the model 'nano'.*Add it to"),
        ("policies={replying: {table: [{model: main}]}}", "no such purpose"),
        ("policies={embed: {table: [{model: main}]}}", "chooses nothing"),
    ],
)
async def test_policies_that_cannot_work_are_refused_before_the_first_turn(
    talk: Path, tmp_path: Path, policy: str, problem: str
) -> None:
    """With the model or the purpose that is not there."""
    with pytest.raises(ConfigError, match=problem):
        await replay(talk, tmp_path / "run", chain(), settings=settings_of(MODELS, policy))
