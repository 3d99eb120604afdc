"""Figures, intervals and comparisons for notebooks, and the folders of runs that are given none."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import callwise as cw
from callwise.calls.errors import ConfigError
from callwise.recordings.app_protocol import answering_models, load_app
from callwise.recordings.recording import open_recording
from callwise.report import Table
from callwise.tuning.analysis import analyse
from callwise.tuning.notebook import row_of_trial
from callwise.tuning.notebook_output import tables_html

MESSAGES = ["I got the job.", "And now I am scared of it."]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run() -> Any:
    """Return a run of two turns."""
    return cw.replay(MESSAGES, preset="instant")


def test_equal_requests_have_one_folder_and_others_have_their_own(run: Any) -> None:
    """Conversations, preset, knobs and models tell runs apart; concurrency and turns do not."""
    assert run.folder.parent == Path("callwise-runs")
    again = cw.replay(MESSAGES, preset="instant", max_concurrency=3, max_turns=1)
    assert again.folder == run.folder
    assert len(again.turns) == 2
    others = [
        cw.replay(MESSAGES[:1], preset="instant"),
        cw.replay(MESSAGES, preset="instant", knobs={"budget.turn.max_calls": 1}),
    ]
    assert len({run.folder, *(other.folder for other in others)}) == 3
    assert repr(others[0]) == f"<Run {others[0].folder}: 1 turn, 2 calls, simulated>"


def test_a_run_of_the_simulated_model_is_not_read_for_an_endpoint(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an endpoint in the environment the same request has another folder, and is sent."""
    monkeypatch.setenv("CALLWISE_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("CALLWISE_MODEL", "small")
    assert cw.answered_by("instant").startswith(
        "small at http://127.0.0.1:9/v1: every call is sent"
    )
    with pytest.raises(ConfigError, match="list of messages"):
        cw.replay([" "], preset="instant")
    app = load_app("graph.app:app")
    assert {model for *_, model in answering_models(app, app.settings("instant"))} == {"small"}


def test_every_figure_of_a_run_is_drawn(run: Any) -> None:
    """A turn without a search has a text in its place, and virtual seconds are labelled."""
    assert repr(cw.draw(run)).startswith("Calls of turn 0 of messages. One turn, 2 calls.")
    assert repr(cw.draw(run.folder, "turns")).startswith("Calls over the turns of messages.")
    seconds: Any = cw.draw(run, "seconds", turn=1)
    assert seconds.record.axis_title.startswith("virtual seconds since the turn began")
    search: Any = cw.draw(run, "search")
    assert search._repr_mimebundle_() == {"text/plain": "turn 0 of messages made no search"}
    with pytest.raises(ValueError, match=r"no figure 'nodes'\. Use one of timeline, seconds"):
        cw.draw(run, "nodes")
    with pytest.raises(ValueError, match=r"no turn 7 of any conversation\. Its 2 turns are of"):
        cw.draw(run, turn=7)


def test_texts_of_a_run_are_no_markup() -> None:
    """A table in a notebook shows what a file names, and obeys none of it."""
    name = '<img src=x onerror="alert(1)">'
    html = tables_html([name], [Table("t", name, (name,), ((name,),))])
    assert "<img" not in html
    assert html.count("&lt;img") == 4


def test_intervals_label_virtual_seconds(run: Any) -> None:
    """Two kinds of intervals for each figure."""
    pytest.importorskip("pandas")
    table = cw.intervals(run)
    assert list(dict.fromkeys(table.index.get_level_values(0))) == [
        "calls per turn",
        "rounds to the reply",
        "virtual seconds to the reply",
    ]


def _trials(prompts: int) -> list[Any]:
    by = {"calls": 3, "rounds": 2, "quality_by": "truth:simulated"}
    return [
        row_of_trial(name, str(prompt), quality=quality + prompt % 3, **by)
        for name, quality in {"small": 0.0, "large": 1.0, "same": 0.0}.items()
        for prompt in range(prompts)
    ]


def test_a_comparison_has_verdicts() -> None:
    """Better than the reference, not worse, and the reference itself."""
    pytest.importorskip("pandas")
    table = cw.compare(_trials(30), "small")
    assert dict(table["verdict"]) == {"small": "reference", "large": "better", "same": "not worse"}
    with pytest.raises(
        ValueError, match=r"no rows of 'tiny'\. Use one of 'small', 'large', 'same'"
    ):
        cw.compare(_trials(30), "tiny")


def test_the_margin_is_that_of_a_sweep() -> None:
    """One sweep has one verdict; the head names the margin, which a caller may state."""
    pytest.importorskip("pandas")
    table = cw.compare(_trials(30), "small")
    assert (table.columns.name, table.columns[2]) == ("margin 0.04 SD", "quality (SD)")
    found = analyse(_trials(30)).recommendation
    assert found is not None
    assert found.in_unit(found.margin) == "0.04 SD"
    assert cw.compare(_trials(30), "small", margin=0.1).columns.name == "margin 0.1 SD"
    points = [replace(row, quality_by="human:mine.csv") for row in _trials(30)]
    assert cw.compare(points, "small").columns.name == "margin 0.01 points"


def test_too_few_prompts_leave_a_comparison_open() -> None:
    """Without an interval there is no verdict, and no error."""
    pytest.importorskip("pandas")
    table = cw.compare(_trials(2), "small")
    assert set(table["verdict"]) == {"reference", "open"}


def test_a_check_writes_a_baseline_and_compares(run: Any) -> None:
    """The result prints as the command does, and is Markdown in a notebook."""
    strict = cw.replay(MESSAGES, preset="instant", cassette=run.folder / "cassette.jsonl")
    assert cw.check(strict, "baseline.json", update=True).has_passed
    found = cw.check(strict.folder, "baseline.json")
    assert found.has_passed
    assert repr(found).startswith("ok: 2.0 calls per turn over 2 turns (simulated)")
    fewer = cw.replay(MESSAGES, preset="instant", knobs={"budget.turn.max_calls": 1})
    assert "text/markdown" in cw.check(fewer, "baseline.json")._repr_mimebundle_()


def test_an_unknown_example_is_an_error() -> None:
    """It lists those that there are."""
    with pytest.raises(ConfigError, match=r"named 'mine\.jsonl'. Use one of .*small_talks\.jsonl"):
        cw.example_path("mine.jsonl")
    with pytest.raises(ConfigError, match="Use game_of_24 or simulated_pool"):
        cw.example_module("os")
    assert cw.example_module("simulated_pool") is cw.example_module("simulated_pool")


def test_the_first_conversations_alone(tmp_path: Path) -> None:
    """Of a file: none is cut short, and the run names the file that it is of."""
    lines = ({"conversation_id": f"c{n}", "turn": 0, "user_text": f"Hi {n}"} for n in range(3))
    talks = tmp_path / "talks.jsonl"
    talks.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    run = cw.replay(talks, preset="instant", max_conversations=2)
    assert [turn.conversation_id for turn in run.turns] == ["c0", "c1"]
    assert open_recording(run.folder).files == (str(talks),)
    with pytest.raises(ConfigError, match="max_conversations is at least 1, got 0"):
        cw.replay(talks, max_conversations=0)
