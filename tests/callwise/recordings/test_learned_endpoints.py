"""Lessons of endpoints in a run: counted, reported once, kept, recorded; no replay needs them."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from callwise.calls.call import Role
from callwise.calls.capabilities import Capabilities
from callwise.calls.client import Endpoint
from callwise.calls.errors import FormatError
from callwise.calls.learning import LearnedFact
from callwise.calls.openai_http import OpenAIClient
from callwise.recordings import read_conversations
from callwise.recordings.app_protocol import Notices
from callwise.recordings.cassette import CassetteMode
from callwise.recordings.counterfactual.purchase import SpendingCap
from callwise.recordings.learned_endpoints import ENDPOINTS_FILE, LearnedEndpoints
from callwise.recordings.replay_run import FinishedRun, RunRequest, run_replay
from callwise.simulator import SimulatedSettings
from callwise.simulator.server import SimServer
from callwise.simulator.server_responses import json_response
from callwise.tuning.buying import buy
from callwise.tuning.replay_evaluator import RECORDED, CounterfactualEvaluator
from callwise.tuning.setting import Setting
from graph.app import app

KEY = "sk-a-key-that-nobody-may-see"
FAST_RETRIES = ("retry.first_wait_seconds=0", "retry.max_wait_seconds=0")
REFUSED = {
    "response_format": "This response_format type is unavailable now",
    "temperature": "invalid temperature: only 1 is allowed for this model",
    "max_tokens": "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
    "'max_completion_tokens' instead.",
}


class PickyServer(SimServer):
    """A simulated model that refuses fields of the request, from the n-th request on."""

    def __init__(self, *, from_request: int = 0, by_status: int = 400) -> None:
        super().__init__(SimulatedSettings())
        self.refused = 0
        self.requests = 0
        self._from_request = from_request
        self._by_status = by_status

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = orjson.loads(await request.read())
        self.requests += 1
        if self.requests > self._from_request:
            for name, words in REFUSED.items():
                form = body.get("response_format", {}).get("type")
                if name in body and (name != "response_format" or form == "json_schema"):
                    self.refused += 1
                    return json_response({"error": {"message": words}}, status=self._by_status)
        return await super()._chat(request)


@pytest.fixture
def talk(write_lines: Callable[..., Path]) -> Path:
    """Return two short conversations of two users."""
    texts = (("I lost my job.", "Nobody knows."), ("我今天很难过。", "我还没有告诉任何人。"))
    return write_lines(
        *(
            {"conversation_id": f"talk-{n}", "turn": turn, "user_id": f"u{n}", "user_text": text}
            for n, both in enumerate(texts)
            for turn, text in enumerate(both)
        )
    )


@pytest.fixture
def point_to(monkeypatch: pytest.MonkeyPatch) -> Callable[[SimServer], None]:
    """Return a function that sets a server as the endpoint, with a key."""

    def point(server: SimServer) -> None:
        monkeypatch.setenv("CALLWISE_BASE_URL", server.base_url)
        monkeypatch.setenv("CALLWISE_MODEL", "simulated")
        monkeypatch.setenv("CALLWISE_API_KEY", KEY)

    return point


def _request(talk: Path, folder: Path, **changes: Any) -> RunRequest:
    return RunRequest(
        app=app,
        app_target="graph.app:app",
        settings=app.settings("balanced", FAST_RETRIES),
        conversations=read_conversations([talk]).conversations,
        folder=folder,
        **changes,
    )


def _same(run: FinishedRun) -> list[tuple[Any, ...]]:
    names = ("reply", "bubbles", "asked", "requests", "attempts", "rounds", "repairs")
    tokens = ("input_tokens", "output_tokens")
    return [tuple(turn[name] for name in (*names, *tokens)) for turn in run.turns]


@pytest.mark.parametrize("concurrency", [pytest.param(1, marks=pytest.mark.slow), 8])
async def test_a_run_pays_once_for_what_an_endpoint_refuses(
    talk: Path, tmp_path: Path, point_to: Callable[[SimServer], None], concurrency: int
) -> None:
    """One request a fact, every request counted, and the replay equal without any of it."""
    said: list[str] = []
    async with PickyServer() as server:
        point_to(server)
        first = await run_replay(
            _request(talk, tmp_path / "first", max_concurrency=concurrency), on_notice=said.append
        )
        requests = sum(row["requests"] for row in first.rows)
        assert server.requests == requests
        assert server.refused == len(REFUSED)
    assert not any(turn["is_fallback"] or turn["degraded"] for turn in first.turns)
    assert len(first.notices) == len(said) == len(REFUSED)
    for notice, words in zip(first.notices, REFUSED.values(), strict=True):
        assert words[:40] in notice
    assert {row["outcome"] for row in first.rows} == {"served"}
    assert sum(row["attempts"] for row in first.rows) == len(first.rows) + len(REFUSED)
    again = await run_replay(
        _request(
            talk,
            tmp_path / "again",
            cassette=first.folder / "cassette.jsonl",
            mode=CassetteMode.STRICT,
        )
    )
    assert _same(again) == _same(first)
    assert again.notices == ()
    assert not (again.folder / ENDPOINTS_FILE).exists()
    for path in first.folder.iterdir():
        assert KEY.encode() not in path.read_bytes(), path


async def test_a_run_that_goes_on_starts_from_what_it_learned(
    talk: Path, tmp_path: Path, point_to: Callable[[SimServer], None]
) -> None:
    """Nothing is refused twice, and nothing is said twice."""
    conversations = read_conversations([talk]).conversations
    async with PickyServer() as server:
        point_to(server)
        one = _request(talk, tmp_path / "run")
        await run_replay(
            RunRequest(
                app=one.app,
                app_target=one.app_target,
                settings=one.settings,
                conversations=conversations[:1],
                digest_of=conversations,
                folder=one.folder,
            )
        )
        assert server.refused == len(REFUSED)
        run = await run_replay(_request(talk, tmp_path / "run"))
        assert server.refused == len(REFUSED)
        assert len(run.turns) == 4
        assert run.notices == ()
        assert server.requests == sum(row["requests"] for row in run.rows)
    document = orjson.loads((run.folder / ENDPOINTS_FILE).read_bytes())
    (row,) = document["learned"]
    assert row["capabilities"] == {
        "schema_mode": "json_object",
        "token_limit_field": "max_completion_tokens",
        "refused": ["max_tokens", "temperature"],
    }
    assert [change["change"] for change in row["changes"]] == [
        "asks for the form by JSON mode and in the prompt, not by schema",
        "sends no temperature",
        "sends max_completion_tokens instead of max_tokens",
    ]


async def test_an_endpoint_that_changes_in_the_middle_is_learned(
    talk: Path, tmp_path: Path, point_to: Callable[[SimServer], None]
) -> None:
    """From the fifth request on it refuses; every turn still ends in a reply."""
    async with PickyServer(from_request=5) as server:
        point_to(server)
        run = await run_replay(_request(talk, tmp_path / "run"))
        assert server.requests == sum(row["requests"] for row in run.rows)
        assert server.refused >= len(REFUSED)
    assert not any(turn["is_fallback"] for turn in run.turns)
    assert len(run.notices) == len(REFUSED)


async def test_refusals_under_status_200_are_learned_too(
    talk: Path, tmp_path: Path, point_to: Callable[[SimServer], None]
) -> None:
    """Some servers send an error's body and call it a success."""
    async with PickyServer(by_status=200) as server:
        point_to(server)
        run = await run_replay(_request(talk, tmp_path / "run"))
        assert server.refused == len(REFUSED)
    assert not any(turn["is_fallback"] for turn in run.turns)


async def test_what_is_bought_starts_from_what_the_run_learned(
    talk: Path, tmp_path: Path, point_to: Callable[[SimServer], None]
) -> None:
    """The same endpoint refuses nothing again."""
    async with PickyServer() as server:
        point_to(server)
        run = await run_replay(_request(talk, tmp_path / "run"))
        refused = server.refused
        setting = Setting("longer", RECORDED, {"search.max_calls": 9})
        bought = await asyncio.to_thread(
            buy, CounterfactualEvaluator(run.folder), [setting], SpendingCap(max_calls=200)
        )
        assert bought.calls > 0
        assert server.refused == refused
    assert (run.folder / ENDPOINTS_FILE).exists()


def _endpoint(**settings: Any) -> Endpoint:
    client = OpenAIClient("http://localhost:1/v1", **settings)
    return Endpoint("localhost-1", "m", client)


def _written(folder: Path, capabilities: dict[str, Any]) -> None:
    row = {"endpoint": "localhost-1", "model": "m", "start": {}, "changes": []}
    document = {"callwise_endpoints": 1, "learned": [{**row, "capabilities": capabilities}]}
    (folder / ENDPOINTS_FILE).write_bytes(orjson.dumps(document))


def test_what_is_set_by_hand_goes_before_what_was_learned(tmp_path: Path) -> None:
    """A file belongs to the beginning that it was learned from."""
    _written(tmp_path, {"schema_mode": "prompt"})
    for settings, expected in (
        ({}, Capabilities(schema_mode="prompt")),
        ({"capabilities": Capabilities(system_role="user")}, Capabilities(system_role="user")),
    ):
        endpoint = _endpoint(**settings)
        LearnedEndpoints(tmp_path, Notices()).follow({Role.MAIN: endpoint, Role.FAST: endpoint})
        assert endpoint.client.capabilities("m") == expected  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"callwise_endpoints": 2, "learned": []}',
        '{"callwise_endpoints": 1, "learned": [1]}',
        '{"callwise_endpoints": 1, "learned": [{"capabilities": {"schema_mode": "x"}}]}',
        '{"callwise_endpoints": 1, "learned": {"a": 1}}',
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    """With the way out."""
    (tmp_path / ENDPOINTS_FILE).write_text(text)
    with pytest.raises(FormatError, match="delete it"):
        LearnedEndpoints(tmp_path, Notices())


def test_a_folder_that_cannot_be_written_loses_no_answer(tmp_path: Path) -> None:
    """It is said, and the run goes on."""
    notices = Notices()
    learned = LearnedEndpoints(tmp_path / "gone", notices)
    endpoint = _endpoint()
    learned.follow({Role.MAIN: endpoint})
    learned._learn(LearnedFact("localhost-1", "m", Capabilities(), "sends no seed", "no"))
    assert any("cannot be written" in text for text in notices.texts)
    assert any("sends no seed" in text for text in notices.texts)
