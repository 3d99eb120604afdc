"""The cache of the pipeline: its tiers by knobs, its times, and its warm-up from a cassette."""

import tempfile
from collections import Counter
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from callwise.calls.errors import ConfigError, FormatError
from callwise.calls.kinds import WorkKind
from callwise.calls.trust import NOTHING
from callwise.knobs import own_trust
from callwise.recordings.app_protocol import TurnInput
from callwise.recordings.cassette import CassetteMode, open_cassette
from graph.app import app
from graph.engine import cache_of
from graph.langgraph_app import GraphServerContext
from graph.settings import PipelineSettings

DENSE = ("memory.dense=true", "sampling.default={temperature: 0}")
"""Knobs of a turn whose calls all may share."""


def outcomes(rows: Any) -> Counter[str]:
    """Return how many rows ended how."""
    return Counter(row["outcome"] for row in rows)


async def turn_of(folder: Path, *overrides: str, recorder: Any = None) -> Any:
    """Return the first turn of a new session with nothing in its memory."""
    settings = app.settings("frugal", overrides)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        return await _turn_in(Path(name), settings, recorder)


async def _turn_in(folder: Path, settings: PipelineSettings, recorder: Any) -> Any:
    async with app.open(settings, folder=folder, recorder=recorder) as session:
        turn = await session.run_turn(TurnInput("talk", None, "I lost my job."))
        statistics = session.engine.budgeter.statistics()
    return turn, statistics.get("cache", {})


def test_no_cache_is_made_unless_it_is_asked_for(tmp_path: Path) -> None:
    """Memory comes before another tier with 10,000 answers, and alone with a number."""

    def tiers(*overrides: str, is_offline: bool = False) -> list[str]:
        cache = cache_of(app.settings("classic", overrides), is_offline=is_offline)
        return [] if cache is None else [tier.tier for tier in cache._tiers]

    disk = f"cache.disk={tmp_path}"
    assert tiers() == []
    assert tiers("cache.memory_entries=5") == ["memory"]
    assert tiers(disk) == ["memory", "disk"]
    assert tiers(disk, "cache.memory_entries=0") == ["disk"]
    assert tiers("cache.warm_from=[run.jsonl]") == ["memory"]
    assert tiers("cache.warm_from=[run.jsonl]", is_offline=True) == []
    assert tiers(disk, is_offline=True) == []
    assert tiers(disk, "cache.memory_entries=5", is_offline=True) == ["memory"]


def test_answers_in_redis_need_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `load.fleet`, or without its URL, the error names what to set."""
    pytest.importorskip("redis", reason="the extra `redis` is not installed")

    def make(*overrides: str) -> Any:
        return cache_of(app.settings("classic", ["cache.redis=true", *overrides]), is_offline=False)

    monkeypatch.delenv("CALLWISE_REDIS_URL", raising=False)
    with pytest.raises(ConfigError, match=r"set load\.fleet\.name"):
        make()
    with pytest.raises(ConfigError, match="CALLWISE_REDIS_URL is not set"):
        make("load.fleet.name=team")
    monkeypatch.setenv("CALLWISE_REDIS_URL", "redis://127.0.0.1:1/0")
    memory, redis = make("load.fleet.name=team")._tiers
    assert (memory.tier, redis.tier) == ("memory", "redis")
    (alone,) = make("load.fleet.name=team", "cache.memory_entries=0")._tiers
    assert alone.tier == "redis"
    settings = app.settings("classic", ["cache.redis=true"])
    assert cache_of(settings, is_offline=True) is None


def test_times_of_kinds_are_knobs() -> None:
    """One that is set goes before the documents' times; the others keep theirs."""
    settings = app.settings("classic", ["cache.memory_entries=5", "cache.ttl_seconds.embedding=7"])
    cache = cache_of(settings, is_offline=False)
    assert cache.ttl_seconds == {
        WorkKind.LLM_INFERENCE: 3_600.0,
        WorkKind.EMBEDDING: 7.0,
        WorkKind.VECTOR_SEARCH: 300.0,
        WorkKind.SUMMARIZATION: 3_600.0,
        WorkKind.RERANKING: 300.0,
    }


async def test_a_cache_on_disk_answers_the_next_run(tmp_path: Path) -> None:
    """Every call of the same turn, and the hits by tier are the cached rows."""
    knobs = (*DENSE, f"cache.disk={tmp_path / 'cache'}")
    first, _ = await turn_of(tmp_path, *knobs)
    second, counts = await turn_of(tmp_path, *knobs)
    asked = len(first.rows)
    assert outcomes(first.rows) == {"served": asked}
    assert outcomes(second.rows) == {"cached": asked}
    assert second.record["reply"] == first.record["reply"]
    assert (counts["hits"], counts["disk_hits"], counts["misses"]) == (asked, asked, 0)


async def test_a_cassette_warms_the_cache_of_the_next_run(tmp_path: Path) -> None:
    """What was asked at temperature 0 and what was embedded is paid for once."""
    path = tmp_path / "run.jsonl"
    recorded = open_cassette(path, CassetteMode.NEW_EPISODES)
    first, _ = await turn_of(tmp_path, *DENSE, recorder=recorded)
    recorded.close()
    knobs = ("cache.memory_entries=500", f"cache.warm_from=[{path}]")
    second, counts = await turn_of(tmp_path, *DENSE, *knobs)
    assert outcomes(second.rows) == {"cached": len(first.rows)}
    assert counts["memory_hits"] == len(first.rows)
    assert second.record["reply"] == first.record["reply"]


async def test_a_warm_up_from_something_else_is_an_error(tmp_path: Path) -> None:
    """It is raised when the session is opened, and names the file."""
    path = tmp_path / "notes.jsonl"
    path.write_text("not a cassette\n")
    with pytest.raises(FormatError, match=r"notes\.jsonl"):
        await turn_of(tmp_path, "cache.memory_entries=5", f"cache.warm_from=[{path}]")


async def test_a_file_of_knobs_names_no_cassette_elsewhere(tmp_path: Path) -> None:
    """Answers from outside of the working directory are used only where the user names them."""
    overrides = ["cache.memory_entries=5", f"cache.warm_from=[{tmp_path / 'run.jsonl'}]"]
    settings = app.settings("classic", overrides).trusting(NOTHING)
    with pytest.raises(ConfigError, match=r"cache\.warm_from=.*run\.jsonl, which is not below"):
        async with app.open(settings, folder=tmp_path):
            pass


def test_a_cassette_that_the_user_names_is_trusted(tmp_path: Path) -> None:
    """By an override or in the environment; the rest of a file's knobs is not."""
    path, other = str(tmp_path / "run.jsonl"), str(tmp_path / "other.jsonl")
    by_override = own_trust(PipelineSettings, [f"cache.warm_from=[{path}]"], {})
    by_environment = own_trust(PipelineSettings, [], {"CALLWISE__CACHE__WARM_FROM": f"[{path}]"})
    for trust in (by_override, by_environment):
        assert trust.writes_to(path)
        assert not trust.writes_to(other)


@pytest.mark.parametrize("knob", ["load.background.file", "endpoints.main.load.background.file"])
async def test_a_file_of_knobs_names_no_queue_elsewhere(tmp_path: Path, knob: str) -> None:
    """A queue outside of the working directory is made only where the user names it."""
    main = "endpoints.main={base_url: 'http://127.0.0.1:9/v1', model: m}"
    overrides = [main, f"{knob}={tmp_path / 'below' / 'queue.sqlite'}"]
    of_file = own_trust(PipelineSettings, [main], {}, allows_this_machine=True)
    settings = app.settings("classic", overrides).trusting(of_file)
    with pytest.raises(ConfigError, match=rf"{knob}=.*queue\.sqlite, which is not below"):
        async with app.open(settings, folder=tmp_path):
            pass
    assert not (tmp_path / "below").exists()
    named = settings.trusting(own_trust(PipelineSettings, overrides, {}))
    async with app.open(named, folder=tmp_path):
        pass


async def test_results_of_retrieval_are_kept_by_a_knob(tmp_path: Path) -> None:
    """The turns of a session are the same with and without it."""
    replies = []
    for number in (0, 8):
        settings = app.settings("frugal", [f"memory.retrieval_entries={number}"])
        folder = tmp_path / str(number)
        folder.mkdir()
        async with app.open(settings, folder=folder) as session:
            turns = [
                await session.run_turn(TurnInput("talk", None, f"my otter {place % 2} is ill"))
                for place in range(12)
            ]
            statistics = session.engine.memory.statistics()
        replies.append([turn.record["reply"] for turn in turns])
        assert (statistics["result_misses"] > 0) is (number > 0)
    assert replies[0] == replies[1]


async def test_a_graph_server_has_the_cache_of_its_knobs(tmp_path: Path) -> None:
    """Warm from a cassette, like a session's."""
    path = tmp_path / "run.jsonl"
    recorded = open_cassette(path, CassetteMode.NEW_EPISODES)
    first, _ = await turn_of(tmp_path, *DENSE, recorder=recorded)
    recorded.close()
    async with aclosing(GraphServerContext("frugal", tmp_path)) as served:
        knobs = ("cache.memory_entries=500", f"cache.warm_from=[{path}]")
        served.settings = app.settings("frugal", [*DENSE, *knobs])
        graph = served.graph(checkpointer=InMemorySaver())
        config: Any = {"configurable": {"thread_id": "t"}}
        turn = await graph.ainvoke({"user_text": "I lost my job."}, config)
        counts = (await served()).engine.budgeter.statistics()["cache"]
    assert turn["reply"] == first.record["reply"]
    assert counts["memory_hits"] == len(first.rows)
