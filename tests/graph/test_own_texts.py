"""Prompts and rubrics of a preset in place of the shipped ones."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from callwise.calls import ConfigError
from graph.app import app
from nodes.prompt import own_texts, prompt
from nodes.search.action_answers import RUBRICS, ListVerdicts, rubric_called


def test_a_text_takes_the_place_of_its_file_and_of_a_part() -> None:
    """In that language alone, and only where the settings are used."""
    shipped = prompt("reasoner", "en")
    with own_texts((("_head.en", "HEAD"), ("reasoner.en", "{{_head}} Plan."))):
        assert prompt("reasoner", "en") == "HEAD Plan."
        assert prompt("detection", "en").startswith("HEAD")
        assert "HEAD" not in prompt("reasoner", "zh")
    assert prompt("reasoner", "en") == shipped


@pytest.mark.parametrize(
    ("knob", "problem"),
    [
        ("prompts.reasonner.en=x", r"prompts\.reasonner: no such prompt; did you mean reasoner"),
        ("prompts._voice.en=Write {{_voice}}", "contains itself"),
        ("prompts.reasoner.en=Plan {{_nothing}}", r"no prompt nodes/prompts/_nothing\.en\.md"),
        ("prompts.reasoner.fr=x", "fr"),
        ("rubrics.Two words.en=x", "Two words"),
    ],
)
def test_a_text_that_cannot_be_used_is_refused(knob: str, problem: str) -> None:
    """Before anything is asked; a misspelt name is answered with the nearest."""
    with pytest.raises(ConfigError, match=problem):
        app.settings("balanced", (knob,))


def test_a_rubric_of_a_new_name_asks_for_a_score_alone() -> None:
    """Its text is the same for both languages where it has one; a shipped name keeps its parts."""
    with own_texts((("rubric brevity.en", "Short?"), ("rubric fit.en", "Fits? The others:"))):
        rubric = rubric_called("brevity")
        assert rubric.answer is ListVerdicts
        assert rubric.text("en") == rubric.text("zh") == "Short?"
        text = RUBRICS["fit"].text("en")
        assert text.startswith("Fits? The others: plan_alignment (")
    with pytest.raises(ConfigError, match=r"there is no rubric 'brevity'.*knob `rubrics`"):
        rubric_called("brevity")


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Any]:
    """Return a function that replays one turn with knobs, and returns its folder."""
    import callwise as cw

    line = {"conversation_id": "a", "turn": 0, "user_text": "Hello."}
    (tmp_path / "talk.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")

    def replay(name: str, **given: Any) -> Path:
        cw.replay(tmp_path / "talk.jsonl", tmp_path / name, preset="frugal", **given)
        return tmp_path / name

    return replay


def test_texts_are_asked_recorded_and_replayed(run: Callable[..., Path]) -> None:
    """They are in the manifest; a recording of other texts lacks the calls."""
    knobs = {
        "prompts._judge.en": "Judge as a critic.",
        "rubrics.brevity.en": "score is brevity.",
        "search.rubrics": ["brevity"],
    }
    folder = run("own", knobs=knobs)
    recorded = (folder / "cassette.jsonl").read_text(encoding="utf-8")
    assert "Judge as a critic." in recorded
    assert "score is brevity." in recorded
    assert "Judge as a critic." in (folder / "manifest.json").read_text(encoding="utf-8")
    cassette = folder / "cassette.jsonl"
    again = run("again", knobs=knobs, cassette=cassette)
    turns = [(each / "turns.jsonl").read_text(encoding="utf-8") for each in (folder, again)]
    replies = [json.loads(each)["reply"] for each in turns]
    assert replies[0] == replies[1]
    with pytest.raises(Exception, match="recording"):
        run("shipped", cassette=cassette)
