"""Lessons of an endpoint's refusals are learned once: for all users, and for the next process."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from callwise.recordings.cassette import CassetteMode
from callwise.recordings.replay_run import run_replay
from tests.providers.behaviour import Behaviour, reply, scripted
from tests.providers.refusals import error, has_fixed_temperature, has_schema
from tests.providers.running import conversation, environment, request, variables_for
from tests.providers.server import Asked, ProviderServer, Script, Sent

FACTS = 2


def _refused(asked: Asked, _good: dict[str, Any]) -> Sent | None:
    if has_schema(asked):
        return Sent(
            error("This response_format type is unavailable now"), status=400, is_usable=False
        )
    if has_fixed_temperature(asked):
        return Sent(
            error("invalid temperature: only 1 is allowed for this model"),
            status=400,
            is_usable=False,
        )
    return None


TWO_FACTS = Behaviour("two facts", "requests", scripted(_refused), reply(), "several")


def _script() -> Script:
    make: Callable[[], Script] | None = TWO_FACTS.make
    assert make is not None
    return make()


def _refusals(server: ProviderServer) -> int:
    return sum(entry.status == 400 for entry in server.log)


@pytest.mark.parametrize("users", [1, 6])
async def test_each_fact_costs_one_request_however_many_ask_at_once(
    tmp_path: Path, users: int
) -> None:
    """Users side by side wait for the first one's refusal, and no ledger misses it."""
    talks = [conversation(name=f"talk-{number}") for number in range(users)]
    async with ProviderServer(_script()) as server:
        with environment(variables_for(TWO_FACTS, server.base_url)):
            run = await run_replay(
                request(
                    TWO_FACTS,
                    server.base_url,
                    tmp_path / "run",
                    conversations=talks,
                    max_concurrency=users,
                )
            )
    assert not any(turn["is_fallback"] or turn["degraded"] for turn in run.turns)
    assert _refusals(server) == FACTS
    assert sum(row["requests"] for row in run.rows) == len(server.log)
    assert [turn["asked"] for turn in run.turns] == [8] * users


@pytest.mark.parametrize("concurrency", [1, 6])
async def test_a_replay_of_many_users_is_the_same(tmp_path: Path, concurrency: int) -> None:
    """It needs nothing of what was learned, and sends nothing."""
    talks = [conversation(name=f"talk-{number}") for number in range(4)]
    more: dict[str, Any] = {"conversations": talks, "max_concurrency": concurrency}
    async with ProviderServer(_script()) as server:
        with environment(variables_for(TWO_FACTS, server.base_url)):
            first = await run_replay(request(TWO_FACTS, server.base_url, tmp_path / "run", **more))
            sent = len(server.log)
            more |= {"cassette": tmp_path / "run" / "cassette.jsonl", "mode": CassetteMode.STRICT}
            again = await run_replay(
                request(TWO_FACTS, server.base_url, tmp_path / "again", **more)
            )
    assert len(server.log) == sent
    for name in ("reply", "asked", "requests", "input_tokens", "output_tokens", "degraded"):
        assert [turn[name] for turn in again.turns] == [turn[name] for turn in first.turns]


async def test_the_next_process_starts_from_what_was_learned(tmp_path: Path) -> None:
    """A run that is gone on with sends no request that it knows to be refused."""
    whole = conversation(earlier_turns=1)
    begun = {"conversations": [whole.first_turns(1)], "digest_of": [whole]}
    async with ProviderServer(_script()) as server:
        with environment(variables_for(TWO_FACTS, server.base_url)):
            await run_replay(request(TWO_FACTS, server.base_url, tmp_path / "run", **begun))
            assert _refusals(server) == FACTS
            run = await run_replay(
                request(TWO_FACTS, server.base_url, tmp_path / "run", conversations=[whole])
            )
    assert len(run.turns) == 2
    assert _refusals(server) == FACTS


async def test_models_learn_apart(tmp_path: Path) -> None:
    """What one model refuses another one at the same endpoint may take."""
    behaviour = replace(TWO_FACTS, has_judge_model=True)

    def script(asked: Asked, good: dict[str, Any]) -> Sent | None:
        return None if asked.body["model"] == "judge-model" else _refused(asked, good)

    async with ProviderServer(script) as server:
        with environment(variables_for(behaviour, server.base_url)):
            run = await run_replay(request(behaviour, server.base_url, tmp_path / "run"))
    assert not run.turns[0]["degraded"]
    assert _refusals(server) == FACTS
    judged = [entry.asked for entry in server.log if entry.asked.body["model"] == "judge-model"]
    assert len(judged) == 5
    assert all(has_schema(asked) for asked in judged)
