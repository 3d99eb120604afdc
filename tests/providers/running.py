"""One turn of `balanced` against one behaviour, and what is wrong with how it ended."""

import asyncio
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from callwise.budget.clock import SystemClock
from callwise.recordings.cassette import CassetteMode
from callwise.recordings.conversation import Conversation, RecordedTurn
from callwise.recordings.replay_run import FinishedRun, RunRequest, run_replay
from graph import engine
from graph.app import app
from tests.providers.behaviour import Behaviour
from tests.providers.refusals import HISTORY_WORD
from tests.providers.server import LogEntry, ProviderServer

__all__ = ["USER_TEXT", "Outcome", "environment", "problems_of", "request", "run_behaviour"]

USER_TEXT = "I lost my job today and I don't know how to tell my parents."

LONG_TEXT = (
    "The " + f"{HISTORY_WORD} " * 80 + "was late again, and I waited at the quay in the rain."
)
"""A message of an earlier turn."""

MAX_SECONDS = 120.0
"""Longest time for one run; more is a hang."""

WAITED_SHARE = 0.01
"""Share of a wait between two attempts that really passes."""

QUICK = ("retry.first_wait_seconds=0", "retry.max_wait_seconds=0")

COMPARED = (
    "reply",
    "bubbles",
    "is_fallback",
    "asked",
    "requests",
    "attempts",
    "rounds",
    "search",
    "repairs",
    "unreadable",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "unknown_usage",
    "unknown_usd",
    "usd",
    "degraded",
    "wound_down",
)
"""What a strict replay must repeat, as far as a turn's record has it."""


@dataclass(slots=True)
class Outcome:
    """End of a behaviour's run.

    Args:
        ended: `reply`, `fallback`, or the name of the error's class.
        log: the requests of the turn, as the server received them.
        strays: requests to routes that the server does not have.
        error: what stopped the run, or None.
        run: the finished run, or None.
        record: the turn's record; empty when there is none.
        rows: the turn's ledger rows.
        replayed: the record of the strict replay; None when none was made.
        replay_sent: requests that the server received during the replay.
        resumed: the run that went on after the server was mended.
        resumed_sent: requests that the server received then.
    """

    ended: str
    log: Sequence[LogEntry]
    strays: int = 0
    error: BaseException | None = None
    run: FinishedRun | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    rows: Sequence[Mapping[str, Any]] = ()
    replayed: Mapping[str, Any] | None = None
    replay_sent: int = 0
    resumed: FinishedRun | BaseException | None = None
    resumed_sent: int = 0

    @property
    def requests(self) -> int:
        """Requests that the server received during the turn."""
        return len(self.log) + self.strays


class QuickClock(SystemClock):
    """The system's clock, on which waits pass fast: a server may be loading for long."""

    async def sleep(self, seconds: float) -> None:
        """Wait for a fraction of the time."""
        await super().sleep(seconds * WAITED_SHARE)


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables and a quick clock, and put back what was there."""
    clock, engine.SystemClock = engine.SystemClock, QuickClock
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        engine.SystemClock = clock
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def conversation(earlier_turns: int = 0, name: str = "talk") -> Conversation:
    """Return a conversation of earlier turns with long messages, and one with a short one."""
    texts = [LONG_TEXT] * earlier_turns + [USER_TEXT]
    turns = tuple(RecordedTurn(name, number, text) for number, text in enumerate(texts))
    return Conversation(conversation_id=name, user_id=name, persona=None, turns=turns)


def request(behaviour: Behaviour, base_url: str, folder: Path, **changes: Any) -> RunRequest:
    """Return the run of a behaviour's turn, against a server."""
    knobs = [*QUICK, *(knob.replace("{main}", base_url) for knob in behaviour.knobs)]
    given = {"conversations": [conversation(behaviour.earlier_turns)], **changes}
    return RunRequest(
        app=app,
        app_target="graph.app:app",
        settings=app.settings("balanced", knobs),
        folder=folder,
        **given,
    )


def variables_for(behaviour: Behaviour, server_url: str) -> dict[str, str]:
    """Return the environment that makes a server the endpoint of every role."""
    variables = {
        "CALLWISE_BASE_URL": server_url,
        "CALLWISE_MODEL": "main-model",
        "CALLWISE_API_KEY": "test-key-0123456789abcdef",
    }
    if behaviour.has_judge_model:
        variables["CALLWISE_JUDGE_MODEL"] = "judge-model"
    return variables


async def run_behaviour(behaviour: Behaviour, folder: Path, *, replays: bool = True) -> Outcome:
    """Run a behaviour's turn, then its strict replay, or go on after the server was mended.

    Args:
        behaviour: what the server does.
        folder: empty; runs are kept in it.
        replays: whether a finished run is replayed.
    """
    script = behaviour.make() if behaviour.make else None
    async with AsyncExitStack() as stack:
        port = _free_port() if behaviour.begins_down else 0
        server = ProviderServer(script, port=port)
        if not behaviour.begins_down:
            await stack.enter_async_context(server)
        origin = f"http://127.0.0.1:{port}" if behaviour.begins_down else server.origin
        path = "/v1" if behaviour.path is None else behaviour.path
        with environment(variables_for(behaviour, origin + path)):
            outcome = await _first_run(behaviour, server, f"{origin}/v1", folder / "run")
            if outcome.run is not None and replays:
                await _replay(behaviour, server, f"{origin}/v1", folder, outcome)
        if outcome.run is None:
            if behaviour.begins_down:
                await stack.enter_async_context(server)
            server.mend()
            with environment(variables_for(behaviour, f"{origin}/v1")):
                await _resume(behaviour, server, f"{origin}/v1", folder / "run", outcome)
    return outcome


async def _first_run(
    behaviour: Behaviour, server: ProviderServer, base_url: str, folder: Path
) -> Outcome:
    began = 0
    turns_left = behaviour.earlier_turns
    server.is_scripted = not turns_left

    def finished(_result: Any) -> None:
        nonlocal began, turns_left
        turns_left -= 1
        if turns_left == 0:
            began = len(server.log)
            server.begin()

    try:
        async with asyncio.timeout(MAX_SECONDS):
            run = await run_replay(request(behaviour, base_url, folder), on_turn=finished)
    except Exception as error:  # noqa: BLE001 - whatever ends a run is what is looked at
        return Outcome(type(error).__name__, server.log[began:], server.strays, error)
    record = run.turns[-1]
    return Outcome(
        "fallback" if record["is_fallback"] else "reply",
        server.log[began:],
        server.strays,
        run=run,
        record=record,
        rows=[row for row in run.rows if row["turn"] == str(record["turn"])],
    )


async def _replay(
    behaviour: Behaviour, server: ProviderServer, base_url: str, folder: Path, outcome: Outcome
) -> None:
    before = len(server.log) + server.strays
    strict = {"cassette": folder / "run" / "cassette.jsonl", "mode": CassetteMode.STRICT}
    try:
        async with asyncio.timeout(MAX_SECONDS):
            run = await run_replay(request(behaviour, base_url, folder / "again", **strict))
        outcome.replayed = run.turns[-1]
    except Exception as error:  # noqa: BLE001 - a replay that fails is one of the findings
        outcome.replayed = {"error": f"{type(error).__name__}: {error}"}
    outcome.replay_sent = len(server.log) + server.strays - before


async def _resume(
    behaviour: Behaviour, server: ProviderServer, base_url: str, folder: Path, outcome: Outcome
) -> None:
    before = len(server.log)
    try:
        async with asyncio.timeout(MAX_SECONDS):
            outcome.resumed = await run_replay(request(behaviour, base_url, folder))
    except Exception as error:  # noqa: BLE001 - a run that does not go on is a finding
        outcome.resumed = error
    outcome.resumed_sent = len(server.log) - before


@lru_cache(maxsize=1)
def worst_calls() -> int:
    """Return the most calls that the plan of a turn names."""
    plan = app.plan(app.settings("balanced", [])).as_json()
    worst: int = max(scenario["asked"] for scenario in plan["scenarios"].values())
    return worst


def _matches(pattern: str, text: str) -> bool:
    return re.search(pattern, text, re.IGNORECASE) is not None


def problems_of(behaviour: Behaviour, outcome: Outcome, *, plain_reply: str) -> list[str]:
    """Return everything that is not as expected, as text; empty when all is well.

    Args:
        behaviour: what the server did.
        outcome: how its run ended.
        plain_reply: the reply of the same turn at a server without oddities.
    """
    problems = _problems_of_end(behaviour, outcome)
    if behaviour.shows and not any(entry.is_odd for entry in outcome.log):
        problems.append("the behaviour never showed")
    if outcome.run is None:
        return problems + _problems_of_error(behaviour, outcome)
    return [
        *problems,
        *_problems_of_reply(behaviour, outcome, plain_reply),
        *_problems_of_counts(behaviour, outcome),
        *_problems_of_ledger(behaviour, outcome),
        *_problems_of_display(behaviour, outcome),
        *_problems_of_replay(outcome),
    ]


def _problems_of_end(behaviour: Behaviour, outcome: Outcome) -> list[str]:
    expected = behaviour.expected
    if outcome.error is None:
        ends = {"reply", "either"} | ({"fallback"} if outcome.ended == "reply" else set())
        wanted = ends if outcome.ended == "reply" else {"fallback"}
        if expected.ends not in wanted:
            return [f"ended in a {outcome.ended}, expected {expected.error or expected.ends}"]
        return []
    names = [each.__name__ for each in type(outcome.error).__mro__]
    if expected.ends not in {"error", "either"} or expected.error not in names:
        text = str(outcome.error)[:160]
        return [f"{outcome.ended} ({text}), expected {expected.error or expected.ends}"]
    missing = [pattern for pattern in expected.says if not _matches(pattern, str(outcome.error))]
    return [f"the error does not say {pattern!r}: {outcome.error}" for pattern in missing]


def _problems_of_error(behaviour: Behaviour, outcome: Outcome) -> list[str]:
    problems = []
    most = behaviour.expected.requests
    if most is not None and outcome.requests > most:
        problems.append(f"{outcome.requests} requests before it stopped, at most {most}")
    if not isinstance(outcome.resumed, FinishedRun):
        return [*problems, f"the run does not go on: {outcome.resumed!r}"]
    if outcome.resumed.turns[-1]["is_fallback"]:
        problems.append("the run goes on and ends in a fallback")
    answered = sum(entry.is_answered for entry in outcome.log)
    counted = sum(row["requests"] for row in outcome.resumed.rows)
    if counted < outcome.resumed_sent + answered:
        problems.append(
            f"the ledger has {counted} requests; {answered} were answered before the run "
            f"stopped, and {outcome.resumed_sent} were sent after"
        )
    if outcome.resumed_sent + answered > worst_calls():
        problems.append(f"{outcome.resumed_sent} requests to go on after {answered} answers")
    return problems


def _problems_of_reply(behaviour: Behaviour, outcome: Outcome, plain_reply: str) -> list[str]:
    expected, said = behaviour.expected, str(outcome.record["reply"])
    problems = [f"{text!r} is in the reply" for text in expected.never if text in said]
    if expected.is_same and outcome.ended == "reply" and said != plain_reply:
        problems.append(f"another reply than without oddities: {said[:80]!r}")
    for entry in outcome.log:
        user_words = [str(each.get("content")) for each in entry.asked.body["messages"]]
        if not any(USER_TEXT[:40] in words for words in user_words):
            problems.append("a request lacks the user's text")
            break
    return problems


def _problems_of_counts(behaviour: Behaviour, outcome: Outcome) -> list[str]:
    expected, record = behaviour.expected, outcome.record
    problems = []
    asked, requests = record["asked"], outcome.requests
    most_calls = worst_calls() if expected.calls is None else expected.calls
    if asked > most_calls:
        problems.append(f"{asked} calls, at most {most_calls}")
    most = expected.requests
    if most is None:
        most = most_calls + expected.extra_requests
    if requests > most:
        problems.append(f"{requests} requests, at most {most}")
    if expected.is_exact and requests != asked + expected.extra_requests:
        problems.append(f"{requests} requests, exactly {asked + expected.extra_requests}")
    if not expected.min_repairs <= record["repairs"] <= expected.repairs:
        problems.append(
            f"{record['repairs']} repairs, expected {expected.min_repairs} to {expected.repairs}"
        )
    if "unreadable" in record and record["unreadable"] < expected.min_unreadable:
        problems.append(f"{record['unreadable']} unreadable, at least {expected.min_unreadable}")
    answered = sum(entry.is_answered for entry in outcome.log)
    if answered < expected.min_answered:
        problems.append(f"{answered} requests were answered, at least {expected.min_answered}")
    for name in ("unknown_usage", "unknown_usd"):
        wanted = getattr(expected, name)
        if wanted is not None and record[name] != wanted:
            problems.append(f"{name} is {record[name]}, expected {wanted}")
    return problems


def _problems_of_ledger(behaviour: Behaviour, outcome: Outcome) -> list[str]:
    problems = []
    counted = sum(row["requests"] for row in outcome.rows)
    if counted != outcome.requests:
        problems.append(f"{counted} requests in the ledger, {outcome.requests} at the server")
    for name in ("input_tokens", "output_tokens"):
        known = sum(row[name] for row in outcome.rows)
        sent = sum(getattr(entry, name) for entry in outcome.log)
        if behaviour.counts_tokens and known != sent:
            problems.append(f"{known} {name} in the ledger, {sent} at the server")
    return problems


def _problems_of_display(behaviour: Behaviour, outcome: Outcome) -> list[str]:
    expected = behaviour.expected
    degraded = orjson.dumps(outcome.record["degraded"]).decode()
    problems = []
    if outcome.record["degraded"] and not expected.degraded and not expected.may_degrade:
        problems.append(f"degraded: {degraded[:200]}")
    problems += [
        f"no degradation says {pattern!r}: {degraded[:200]}"
        for pattern in expected.degraded
        if not outcome.record["degraded"] or not _matches(pattern, degraded)
    ]
    notes = [str(row.get("notes") or "") for row in outcome.rows]
    if expected.notes and not any(_matches(expected.notes, note) for note in notes):
        problems.append(f"no note says {expected.notes!r}: {sorted(set(notes))}")
    notices = () if outcome.run is None else outcome.run.notices
    for pattern in expected.notices:
        found = [notice for notice in notices if _matches(pattern, notice)]
        if len(found) != 1:
            problems.append(f"{len(found)} notices say {pattern!r}, expected one: {notices}")
    return problems


def _problems_of_replay(outcome: Outcome) -> list[str]:
    replayed = outcome.replayed
    if replayed is None:
        return []
    problems = [] if outcome.replay_sent == 0 else [f"the replay sent {outcome.replay_sent}"]
    if "error" in replayed:
        return [*problems, f"the replay fails: {replayed['error'][:200]}"]
    differing = [name for name in COMPARED if outcome.record.get(name) != replayed.get(name)]
    return problems + [
        f"the replay differs in {name}: {str(outcome.record.get(name))[:80]} and then "
        f"{str(replayed.get(name))[:80]}"
        for name in differing
    ]
