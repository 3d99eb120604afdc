"""The shipped presets, as the app offers them."""

import pytest

from callwise.shipped import configs_folder
from graph.app import app
from graph.endpoints import endpoints_of
from graph.knob_groups import FuseKnobs

FUSED = {
    "classic": FuseKnobs(),
    "classic_parallel": FuseKnobs(),
    "balanced": FuseKnobs(thinking=True, bookkeeping=True, wind_down=True),
    "frugal": FuseKnobs(thinking=True, bookkeeping=True, wind_down=True),
    "instant": FuseKnobs(thinking=True, bookkeeping=True, reply=True, wind_down=True),
    "thorough": FuseKnobs(bookkeeping=True, wind_down=True),
}


def test_every_preset_is_listed() -> None:
    """What is shipped is what the table here knows."""
    assert set(app.presets()) == set(FUSED)


@pytest.mark.parametrize("preset", FUSED)
def test_presets_ask_together_as_they_say(preset: str) -> None:
    """Fused calls of each preset; all but the specification's run side by side."""
    settings = app.settings(preset)
    assert settings.preset == preset
    assert settings.fuse == FUSED[preset]
    assert settings.overlap is (preset != "classic")


@pytest.mark.parametrize("preset", FUSED)
def test_a_preset_explains_itself(preset: str) -> None:
    """Its file begins with what it is for."""
    text = (configs_folder() / f"{preset}.yaml").read_text(encoding="utf-8")
    comment = text.partition("\n\n")[0]
    assert comment.startswith("# ")


@pytest.mark.parametrize(("preset", "calls"), [("classic", 5), ("thorough", 4), ("balanced", 2)])
def test_the_calls_other_than_the_searchs_are_planned(preset: str, calls: int) -> None:
    """As the presets' own comments count them."""
    default = app.plan(app.settings(preset)).as_json()["scenarios"]["default"]
    assert default["asked"] - default["by_node"]["lats_search"] == calls


def test_an_instant_turn_is_planned_as_two_calls() -> None:
    """One round to the reply, and two in all."""
    default = app.plan(app.settings("instant")).as_json()["scenarios"]["default"]
    assert (default["asked"], default["rounds"]) == (2, {"reply": 1, "turn": 2})


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, "simulated"),
        ({"OPENAI_BASE_URL": "https://p.example.com/v1"}, "simulated"),
        ({"OPENAI_BASE_URL": "https://p.example.com/v1", "CALLWISE_MODEL": "m"}, "p.example.com"),
        ({"CALLWISE_BASE_URL": "https://p.example.com/v1", "CALLWISE_MODEL": "m"}, "p.example.com"),
    ],
)
def test_a_replay_needs_no_key_of_the_endpoint_that_it_is_of(
    environ: dict[str, str], name: str
) -> None:
    """What is offline is named as live, and nothing that is not named becomes real."""
    endpoints = endpoints_of(app.settings("classic"), environ=environ, is_offline=True)
    assert {endpoint.name for endpoint in endpoints.values()} == {name}
