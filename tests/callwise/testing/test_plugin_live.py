"""`--callwise-live`: what may be asked then, and the gate that holds it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np  # noqa: F401 - an inner pytest forgets modules, and numpy loads once only
import pytest

from callwise.calls.openai_http import OpenAIClient
from callwise.calls.owner_loop import OwnerLoop
from callwise.shipped import configs_folder
from callwise.simulator import SimulatedSettings
from callwise.simulator.server import SimServer
from callwise.testing.fixture import CallwiseFixture
from callwise.testing.plugin_options import FixtureSetup

pytest_plugins = ("pytester",)

APP = """
    from contextlib import asynccontextmanager
    from types import SimpleNamespace
    from pydantic import BaseModel
    from callwise.recordings.app_protocol import TurnResult

    class Knobs(BaseModel):
        preset: str = "plain"
        calls: int = 2

    class Session:
        def __init__(self, calls):
            self.calls = calls

        async def run_turn(self, turn, *, on_reply=None):
            where = {"conversation": turn.conversation_id, "turn": str(turn.turn)}
            row = {**where, "node": "think", "role": "main", "purpose": "reason"}
            rows = [{**row, "sequence": n + 1, "outcome": "served"} for n in range(self.calls)]
            record = {"conversation_id": turn.conversation_id, "turn": turn.turn}
            return TurnResult({**record, "user_text": turn.user_text, "reply": "yes"}, rows)

    class App:
        name = "far away"

        def settings(self, preset, overrides=()):
            return Knobs(**dict(each.split("=") for each in overrides))

        def plan(self, settings):
            return SimpleNamespace(as_json=dict)

        def is_simulated(self, settings):
            return False

        @asynccontextmanager
        async def open(self, settings, **options):
            yield Session(settings.calls)

    app = App()
"""

TEST = """
def test_talk(callwise):
    run = callwise.replay("talk.jsonl", app="far_away:app", overrides=["calls=2"])
    assert run.is_live and not run.is_simulated
    callwise.check(run, "talk")
"""


@pytest.fixture
def far(project: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a project whose app has a real endpoint, in its own words."""
    project.write(far_away=APP)
    monkeypatch.syspath_prepend(project.path)
    talk(project, conversations=8)
    project.write(TEST)
    return project


def live_fixture_in(folder: Path) -> CallwiseFixture:
    """Return the fixture of a live run whose files are in a folder."""
    return CallwiseFixture(
        FixtureSetup("t", "t", folder / "test_x.py", folder, root=folder, is_live=True)
    )


def talk(project: Any, *, conversations: int) -> None:
    """Write conversations of one turn each."""
    lines = [
        f'{{"conversation_id": "talk-{number}", "turn": 0, "user_text": "hello"}}\n'
        for number in range(conversations)
    ]
    (project.path / "talk.jsonl").write_text("".join(lines), encoding="utf-8")


def test_without_the_option_nothing_is_asked(far: Any) -> None:
    """The default mode refuses the run, and says both ways out."""
    result = far.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*would send requests*cassette*--callwise-live*"])


def test_a_live_run_goes_through_the_statistical_gate(far: Any) -> None:
    """The same calls pass; one more in each of 8 conversations is more than noise."""
    far.run("--callwise-live", "--callwise-update").assert_outcomes(passed=1)
    result = far.run("--callwise-live")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*::test_talk: 16 calls in 8 turns, at most 2 per turn (live)"])
    far.write(TEST.replace("calls=2", "calls=3"))
    result = far.run("--callwise-live")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "callwise.check('talk'): failed: 2.00 -> 3.00 *(p = 0.0039, false-alarm rate 1 %)*",
            "*think reason +1.00 calls per turn, since knob calls 2 -> 3*",
        ]
    )


def test_too_few_conversations_are_an_error(far: Any) -> None:
    """A test that can show nothing does not pass; another rate may be chosen."""
    talk(far, conversations=5)
    far.run("--callwise-live", "--callwise-update").assert_outcomes(passed=1)
    result = far.run("--callwise-live")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*5 conversations cannot show any rise*run at least 7*"])
    far.write(TEST.replace('"talk")', '"talk", alpha=0.05)'))
    far.run("--callwise-live").assert_outcomes(passed=1)


def test_a_cassette_is_played_on_a_live_run_too(tmp_path: Path) -> None:
    """A recording that is named is never replaced by buying its calls again."""
    fixture = live_fixture_in(tmp_path)
    talk = configs_folder() / "conversations" / "en_moving_city.jsonl"
    bought = fixture.replay(talk, preset="instant", max_turns=1)
    cassette = bought.folder / "cassette.jsonl"
    played = fixture.replay(talk, preset="instant", max_turns=1, cassette=cassette)
    fixture.close()
    assert {row.outcome for row in played.rows} == {"replayed"}
    assert not played.is_live


def test_a_scripted_model_is_exact_on_a_live_run(project: Any, small_talk: str) -> None:
    """What a test wrote itself does not vary, so one call more is one call more."""
    body = """
    from callwise.testing.fakes import ScriptedClient

    def test_talk(callwise):
        ask(callwise, 2, client=ScriptedClient(lambda call: "yes"))
        callwise.check(None, "talk")
    """
    project.write(small_talk, body)
    project.run("--callwise-update").assert_outcomes(passed=1)
    project.run("--callwise-live").assert_outcomes(passed=1)
    project.write(small_talk, body.replace("2,", "3,"))
    result = project.run("--callwise-live")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*failed: 2.0 -> 3.0 calls per turn*"])


@pytest.fixture
def server() -> Iterator[SimServer]:
    """Run a server on this machine, in a separate loop."""
    owner = OwnerLoop(is_private=True)
    server = SimServer(SimulatedSettings())
    owner.wait(server.__aenter__)
    yield server
    owner.wait(server.__aexit__, None, None, None)
    owner.close()


@pytest.fixture
def live_fixture(tmp_path: Path) -> Iterator[CallwiseFixture]:
    """Return a fixture of a live run."""
    fixture = live_fixture_in(tmp_path)
    yield fixture
    fixture.close()


def test_a_real_endpoint_answers_synchronously(
    server: SimServer, live_fixture: CallwiseFixture
) -> None:
    """Each call of a live run is one request at the server, and its connection is closed."""
    model = live_fixture.model(client=OpenAIClient(server.base_url), model="simulated")
    with live_fixture.turn("talk", 0):
        assert model.invoke("hello").text
        assert asyncio.run(model.ainvoke("again")).text
    assert live_fixture.calls.total == 2
    assert len(server.log) == 2


async def test_a_real_endpoint_answers_in_a_loop(
    server: SimServer, live_fixture: CallwiseFixture
) -> None:
    """The same in an asynchronous test, whose loop is gone when the fixture is closed."""
    model = live_fixture.model(client=OpenAIClient(server.base_url), model="simulated")
    with live_fixture.turn("talk", 0):
        assert (await model.ainvoke("hello")).text
    assert len(server.log) == 1


def test_the_environment_names_the_endpoint(
    server: SimServer, live_fixture: CallwiseFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model without a client asks what CALLWISE_BASE_URL names, on a live run only."""
    monkeypatch.setenv("CALLWISE_BASE_URL", server.base_url)
    monkeypatch.setenv("CALLWISE_MODEL", "simulated")
    assert live_fixture.model().invoke("hello").text
    assert len(server.log) == 1
