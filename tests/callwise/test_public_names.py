"""The names of `import callwise as cw`: light to import, and each does its job."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

import callwise as cw
from callwise.budget import RoleLimits
from callwise.calls import Call, Message, Purpose, Role
from callwise.calls.errors import CallRefused, ConfigError, FormatError
from callwise.plans import TurnPlan
from callwise.report import RunRecord
from callwise.shipped import conversation_path

HEAVY = ("pydantic", "langchain_core", "langgraph", "openai", "numpy", "aiohttp", "orjson")
TALK = conversation_path("en_moving_city.jsonl")


def test_importing_it_loads_no_other_module() -> None:
    """Not even the settings' library; `dir` shows the names all the same."""
    code = (
        "import sys, callwise as cw; assert sorted(cw.__all__) == dir(cw); "
        f"print([m for m in {HEAVY!r} if m in sys.modules], "
        "[m for m in sys.modules if m.startswith('callwise.')])"
    )
    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[] []"


def test_a_name_that_is_not_there_is_an_error() -> None:
    """An unknown name is an `AttributeError`, as for any module."""
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        cw.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_a_name_is_the_same_object_each_time() -> None:
    """The first use imports it; later ones find it in the module."""
    from callwise.budget import Budgeter

    assert cw.Budgeter is Budgeter
    assert vars(cw)["Budgeter"] is Budgeter


async def test_a_simulated_budgeter_answers_every_role_within_its_limit() -> None:
    """Chat and embeddings, up to `max_calls`; one seed gives equal answers."""
    calls = [
        Call(role, Purpose.OTHER, messages=(Message("user", "Hello."),))
        for role in Role
        if role is not Role.EMBED
    ]
    calls.append(Call(Role.EMBED, Purpose.EMBED, inputs=("Hello.",)))
    budgeter, again = (cw.Budgeter.simulated(max_calls=len(calls), seed=3) for _ in range(2))
    replies = [await budgeter.ask(call) for call in calls]
    assert all(reply.is_simulated for reply in replies)
    assert [reply.text for reply in replies] == [(await again.ask(call)).text for call in calls]
    with pytest.raises(CallRefused):
        await budgeter.ask(calls[0])
    assert cw.Budgeter.simulated().run.limits.max_calls == 20
    assert cw.Budgeter.simulated(limits=cw.Limits(max_tokens=9)).run.limits.max_calls is None


def test_a_plan_by_name_and_knobs() -> None:
    """The plan of `callwise plan`, which prints on one line and is a table in a notebook."""
    found = cw.plan("classic", {"search.rollouts": 1})
    assert isinstance(found, TurnPlan)
    asked = found.as_json()["scenarios"]["default"]["asked"]
    assert asked < cw.plan().as_json()["scenarios"]["default"]["asked"] == 16
    assert repr(found).startswith(f"TurnPlan('classic': default {asked} calls in ")
    assert f"<td>default</td><td>{asked}</td>" in found._repr_html_()
    assert str(cw.show(found)).startswith("Plan of one turn, preset classic")


def test_a_plan_that_cannot_be_made_is_an_error() -> None:
    """A wrong knob is named; a program's calls are not known before it runs."""
    with pytest.raises(ConfigError, match="rollout"):
        cw.plan("classic", {"search.rollout": 1})
    with pytest.raises(ConfigError, match="not known before it runs"):
        cw.plan("default", app="examples.supervisor:build")


async def test_a_replay_works_where_a_loop_runs(tmp_path: Path) -> None:
    """As in a notebook's cell, without `await`, and in a separate thread where it is awaited."""
    run = cw.replay(TALK, tmp_path / "cell", preset="instant")
    other = await asyncio.to_thread(cw.replay, TALK, tmp_path / "thread", preset="instant")
    assert isinstance(run, RunRecord)
    assert [turn.reply for turn in run.turns] == [turn.reply for turn in other.turns]


def test_a_replay_works_in_a_script(tmp_path: Path) -> None:
    """No loop runs there. What it returns is shown as tables."""
    shown = cw.show(cw.replay(TALK, tmp_path / "run", preset="instant"))
    assert "By node" in shown.text
    assert cw.show(tmp_path / "run").text == cw.show(str(tmp_path / "run")).text == shown.text
    assert "### By node" in shown._repr_mimebundle_()["text/markdown"]


def test_what_cannot_be_shown_is_an_error() -> None:
    """The error names the type and what can be shown."""
    with pytest.raises(TypeError, match=r"a dict cannot be shown\. Give a figure, a run"):
        cw.show({})  # type: ignore[call-overload]
    with pytest.raises(FormatError, match="nowhere: there is no such folder"):
        cw.show("nowhere")


def test_knobs_in_the_place_of_a_folder_are_an_error() -> None:
    """The error shows the call that was meant."""
    with pytest.raises(TypeError, match=r"knobs=\{\"search\.max_calls\": \[3, 6\]\}"):
        cw.tune("run", {"search.max_calls": [3, 6]})  # type: ignore[arg-type]


async def test_a_budgeter_in_a_console_shows_its_calls_and_what_is_left() -> None:
    """Limits that are not set are left out."""
    limits = cw.Limits(max_calls=3000, max_usd=0.5, roles={Role.JUDGE: RoleLimits(max_calls=2)})
    budgeter = cw.Budgeter(limits=limits)
    left = "3,000 calls, 0.5 USD, 2 calls of judge"
    assert repr(budgeter) == f"<Budgeter: 0 calls asked, 0 in flight; left: {left}>"
    simulated = cw.Budgeter.simulated(max_calls=2)
    await simulated.ask(Call(Role.MAIN, Purpose.OTHER, messages=(Message("user", "Hello."),)))
    assert repr(simulated) == "<Budgeter: 1 call asked, 0 in flight; left: 1 call>"
    assert repr(cw.Budgeter()) == "<Budgeter: 0 calls asked, 0 in flight; no limits>"
