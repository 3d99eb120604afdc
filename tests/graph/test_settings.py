"""Sampling by purpose: what is sent, what a call is, and what a plan and a replay see of it."""

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from callwise.calls import Call, CallError, Client, Message, Purpose, Reply, Role, Sampling
from callwise.calls.errors import CassetteMiss, ConfigError
from callwise.knobs import settings_digest, validate
from callwise.memory.conversation_memory import ConversationMemory
from callwise.memory.sqlite_backend import SqliteBackend
from callwise.recordings import read_conversations
from callwise.recordings.app_protocol import TurnInput
from callwise.recordings.cassette import CassetteMode
from callwise.recordings.replay_run import RunRequest, run_replay
from callwise.shipped import configs_folder
from graph.app import app
from graph.drivers import build_graph
from graph.endpoints import endpoints_of
from graph.engine import make_engine
from graph.knob_groups import TURN_PURPOSES, SamplingKnobs
from graph.pipeline_llm import sampled
from graph.session import ReplySession
from graph.settings import PipelineSettings


def _knobs(*overrides: str) -> PipelineSettings:
    return app.settings("classic", overrides)


def _call(purpose: Purpose, sampling: Sampling | None = None, **fields: Any) -> Call:
    return Call(
        Role.MAIN, purpose, (Message("user", "hi"),), sampling=sampling or Sampling(), **fields
    )


def test_a_purpose_goes_before_default_and_both_before_the_node() -> None:
    """Field by field; what is not set stays as the node asks for it."""
    knobs = _knobs(
        "sampling.default={temperature: 0.1, top_p: 0.5, timeout_seconds: 9}",
        "sampling.expand={temperature: 0.9, presence_penalty: 1, extra_body: {top_k: 4}}",
    ).sampling
    asked = Sampling(temperature=0.3, max_tokens=100)
    assert sampled(_call(Purpose.EXPAND, asked), knobs).sampling == Sampling(
        temperature=0.9, top_p=0.5, max_tokens=100, presence_penalty=1.0, extra_body={"top_k": 4}
    )
    judged = sampled(_call(Purpose.JUDGE, asked, timeout_seconds=3.0), knobs)
    assert judged.sampling == Sampling(temperature=0.1, top_p=0.5, max_tokens=100)
    assert judged.timeout_seconds == 9.0


@pytest.mark.parametrize("word", ["none", "null", "~", ""])
def test_none_sends_nothing(word: str) -> None:
    """Which is not the same as a knob that is not set."""
    knobs = _knobs(
        "sampling.default.temperature=0.5", f"sampling.expand.temperature={word}"
    ).sampling
    asked = Sampling(temperature=0.3, max_tokens=100)
    assert sampled(_call(Purpose.EXPAND, asked), knobs).sampling == Sampling(max_tokens=100)
    assert sampled(_call(Purpose.JUDGE, asked), knobs).sampling.temperature == 0.5
    assert sampled(_call(Purpose.EXPAND, asked), {}).sampling == asked


def test_reasoning_effort_may_be_the_word_none() -> None:
    """Some models have an effort of that name; null sends nothing."""
    word = _knobs("sampling.default.reasoning_effort=none").sampling
    nothing = _knobs("sampling.default.reasoning_effort=null").sampling
    asked = _call(Purpose.PLAN, Sampling(reasoning_effort="low"))
    assert sampled(asked, word).sampling.reasoning_effort == "none"
    assert sampled(asked, nothing).sampling.reasoning_effort is None


def test_resamples_have_different_seeds() -> None:
    """Otherwise an endpoint that honours them would answer each alike."""
    knobs = {"default": SamplingKnobs(seed=5)}
    seeds = [
        sampled(_call(Purpose.EXPAND, sample=sample), knobs).sampling.seed for sample in (0, 1, 2)
    ]
    assert seeds == [5, 6, 7]


def test_an_embedding_has_nothing_to_sample() -> None:
    """Its key stays as it is; only its time can be set."""
    knobs = {"default": SamplingKnobs(temperature=1.0, timeout_seconds=4.0)}
    call = Call(Role.EMBED, Purpose.EMBED, inputs=("hi",))
    assert sampled(call, knobs) == replace(call, timeout_seconds=4.0)


def test_what_is_set_to_none_is_written_and_read_as_such() -> None:
    """In digests, manifests and the settings of a resumed run."""
    unset, none = _knobs(), _knobs("sampling.default.temperature=none")
    written = none.model_dump(mode="json")
    assert unset.model_dump(mode="json")["sampling"] == {}
    assert written["sampling"] == {"default": {"temperature": None}}
    assert none.model_dump(mode="json", exclude_unset=True)["sampling"] == written["sampling"]
    assert validate(PipelineSettings, written).sampling == none.sampling
    assert settings_digest(validate(PipelineSettings, written)) == settings_digest(none)
    assert settings_digest(none) != settings_digest(unset)
    bare = _knobs("sampling.default={}")
    assert settings_digest(none) != settings_digest(bare)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("sampling.exapnd.temperature=1", "sampling.exapnd: no such purpose; did you mean expand"),
        ("sampling.referee.seed=1", "known: default, detect"),
        ("sampling.expand.temprature=1", r"sampling\.<purpose>\.temperature"),
        ("sampling.expand={tempreture: 1}", r"sampling\.<purpose>\.temperature"),
        ("sampling.expand.temperature=9", "0 to 5"),
        ("sampling.expand.top_p=0", "more than 0"),
        ("sampling.expand.max_tokens=0", "at least 1"),
        ("sampling.expand.presence_penalty=3", "-2 to 2"),
        ("sampling.expand.extra_body=4", "expected a group"),
        ("sampling.expand.extra_body={model: other}", "model cannot be set here"),
        ("endpoints.main.extra_body={stream: true}", "stream cannot be set here"),
        ("sampling.embed.seed=1", "sampling.*embed.*timeout_seconds"),
        ("sampling.default.timeout_seconds=.inf", "sampling.default.timeout_seconds"),
    ],
)
def test_a_wrong_knob_is_named(override: str, words: str) -> None:
    """With the nearest name, or the range."""
    with pytest.raises(ConfigError, match=words):
        _knobs(override)


def test_every_purpose_of_a_turn_can_be_set() -> None:
    """All but the referee's, which is never part of one, and calls of other applications."""
    others = {*Purpose} - {
        *(Purpose.RETRIEVE, Purpose.SUMMARIZE, Purpose.RERANK, Purpose.REFEREE, Purpose.OTHER)
    }
    assert set(TURN_PURPOSES) == {"default", *others}


@dataclass
class _Spy:
    """A client that keeps what it is asked."""

    client: Client
    calls: list[Call] = field(default_factory=list)
    is_simulated: bool = True

    async def answer(
        self, calls: Sequence[Call], *, model: str, on_sent: Any = None
    ) -> Sequence[Reply | CallError]:
        self.calls += calls
        return await self.client.answer(calls, model=model, on_sent=on_sent)

    async def aclose(self) -> None:
        await self.client.aclose()


def _asked(tmp_path: Path, preset: str, *overrides: str) -> list[Call]:
    """Return the calls of one turn as a client sees them."""
    settings = app.settings(preset, overrides)
    spies: list[_Spy] = []
    endpoints = {}
    for role, endpoint in endpoints_of(settings).items():
        spies.append(_Spy(endpoint.client))
        endpoints[role] = replace(endpoint, client=spies[-1])

    async def turn() -> None:
        with SqliteBackend(tmp_path / "memory.sqlite") as store:
            engine = make_engine(
                settings, endpoints, ConversationMemory(store), recorder=None, cache=None, sinks=()
            )
            graph = build_graph(overlap=settings.overlap, fuse=settings.fuse)
            session = ReplySession(engine=engine, graph=graph, is_simulated=True)
            await session.run_turn(TurnInput("talk", None, "I lost my job."))
            engine.close()

    asyncio.run(turn())
    return [call for spy in spies for call in spy.calls]


@pytest.mark.parametrize("preset", ["classic", "balanced", "instant"])
def test_every_call_of_a_turn_has_the_knobs(tmp_path: Path, preset: str) -> None:
    """Whichever node asks, repairs included."""
    calls = _asked(
        tmp_path,
        preset,
        "sampling.default={temperature: none, timeout_seconds: 77}",
        "sampling.judge.seed=3",
        "endpoints.main={kind: simulated, extra_body: {min_p: 0.1}}",
    )
    assert calls
    for call in calls:
        assert call.sampling.temperature is None
        assert call.timeout_seconds == 77.0
        assert call.sampling.extra_body == {"min_p": 0.1}
        is_seeded = call.purpose is Purpose.JUDGE
        assert call.sampling.seed == (3 + call.sample if is_seeded else None)


def test_a_plan_takes_no_answer_for_longer_than_it_may_be() -> None:
    """Output tokens follow `max_tokens` where that is less than the estimate."""
    plain = app.plan(_knobs()).as_json()["scenarios"]
    short = app.plan(_knobs("sampling.default.max_tokens=50")).as_json()["scenarios"]
    long = app.plan(_knobs("sampling.default.max_tokens=9000")).as_json()["scenarios"]
    assert long == plain
    for name, scenario in short.items():
        assert scenario["asked"] == plain[name]["asked"]
        assert scenario["tokens"]["output"] <= 50 * scenario["asked"]
    assert short["default"]["tokens"]["input"] == plain["default"]["tokens"]["input"]


def _replay(folder: Path, *overrides: str, cassette: Path | None = None) -> list[Any]:
    paths = [configs_folder() / "conversations" / "en_moving_city.jsonl"]
    conversations = [each.first_turns(1) for each in read_conversations(paths).conversations]
    request = RunRequest(
        app=app,
        app_target="graph.app:app",
        settings=_knobs(*overrides),
        conversations=conversations,
        folder=folder,
        cassette=cassette,
        mode=CassetteMode.NEW_EPISODES if cassette is None else CassetteMode.STRICT,
    )
    return list(asyncio.run(run_replay(request)).rows)


def test_sampling_is_part_of_what_is_recorded(tmp_path: Path) -> None:
    """A strict replay under the same knobs is the same, under others a miss; time is neither."""
    knobs = "sampling.judge={temperature: 0.2, extra_body: {top_k: 4}}"
    recorded = _replay(tmp_path / "first", knobs)
    cassette = tmp_path / "first" / "cassette.jsonl"
    given = json.loads((tmp_path / "first" / "manifest.json").read_text())["given"]
    assert given["sampling"] == {"judge": {"temperature": 0.2, "extra_body": {"top_k": 4}}}
    more_time = "sampling.default.timeout_seconds=500"
    again = _replay(tmp_path / "again", knobs, more_time, cassette=cassette)
    assert [row["key"] for row in again] == [row["key"] for row in recorded]
    with pytest.raises(CassetteMiss):
        _replay(tmp_path / "other", "sampling.judge.temperature=0.3", cassette=cassette)


def test_the_environment_sets_knobs_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are among what was given, and so in the digest that a resumed run is held to."""
    monkeypatch.setenv("CALLWISE__SAMPLING__EXPAND__TEMPERATURE", "0.8")
    monkeypatch.setenv("CALLWISE__SEARCH__ROLLOUTS", "1")
    _replay(tmp_path / "run", "search.rollouts=0")
    given = json.loads((tmp_path / "run" / "manifest.json").read_text())["given"]
    assert given["sampling"] == {"expand": {"temperature": 0.8}}
    assert given["search"]["rollouts"] == 0
    monkeypatch.delenv("CALLWISE__SAMPLING__EXPAND__TEMPERATURE")
    with pytest.raises(
        ConfigError, match=r"expand\.temperature was 0\.8 and is now not set\. Choose"
    ):
        _replay(tmp_path / "run", "search.rollouts=0")


@pytest.mark.parametrize("name", PipelineSettings.cut_knobs)
def test_a_cut_knob_is_refused_with_its_replacement(name: str) -> None:
    """As an override, by its end, and in a preset's data."""
    replacement = re.escape(PipelineSettings.cut_knobs[name])
    with pytest.raises(ConfigError, match=f"{name}' was removed: {replacement}"):
        app.settings("classic", {name: 1})
    *groups, leaf = name.split(".")
    data: Any = {leaf: 1}
    for group in reversed(groups):
        data = {group: data}
    with pytest.raises(ConfigError, match=f"{name}' was removed: {replacement}"):
        validate(PipelineSettings, data)
