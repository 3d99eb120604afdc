"""The report: targets and findings, and a page whose text is not changed."""

import json

import pytest

from benchmarks.search.__main__ import PAGE, main
from benchmarks.search.calibrated import JudgeFigures, TrustRow
from benchmarks.search.claims import (
    harmless_claims,
    overhead_claims,
    quality_claims,
    rounds_claims,
    saving_claims,
)
from benchmarks.search.comparing import compare
from benchmarks.search.measuring import Found, Scale, measure
from benchmarks.search.overhead import StepCost
from benchmarks.search.report import (
    BEGIN,
    END,
    page_part,
    results_markdown,
    with_part,
    write_results,
)
from benchmarks.search.saving import savings
from benchmarks.search.settings import HEADLINE_MIN_GAIN
from benchmarks.tests.search.test_comparing import NOISE, baseline, make_runs

FACTS = {"commit": "abc", "prompts": "the tuning half"}


def found():
    """Return what a small run might have found."""
    runs = [baseline(NOISE), make_runs(NOISE + 1), make_runs(NOISE - 1, policy="auto", cap=11)]
    gains = make_runs(NOISE, policy="auto, min_gain", cap=10, min_gain=HEADLINE_MIN_GAIN)
    return Found(
        absent={"game24": "there is no file"},
        described={"a pool": ("What it is.", "What a request buys.")},
        pools=compare(runs),
        harmless=compare([make_runs(NOISE, cap=4), make_runs(NOISE, cap=16)], baseline=("x", 1)),
        grid=compare([baseline(NOISE, pool="simulated: one")]),
        savings={"a mix": savings([make_runs(NOISE, cap=cap) for cap in (2, 20)], [gains])},
        judges={"a pool": JudgeFigures(0.5, 0.6, 0.0, 6)},
        trust=[TrustRow("a pool", "listwise", 6, 0.5, 0.4, 0.6, 0.55)],
        overhead=[StepCost("auto", 100, 60.0, 30.0, 2.0, is_ours=True)],
    )


def test_a_promise_is_met_or_not_pool_by_pool():
    """Better at 6 is not worse; worse at 11 is not better; misses are told."""
    figures = quality_claims(found().pools)
    assert [(figure.target, figure.is_met) for figure in figures] == [
        ("not worse", True),
        ("better", False),
    ]
    assert figures[0].figure.startswith("+10.0% (+10.0% to +10.0%)")
    missed = quality_claims(compare([baseline(NOISE), make_runs(NOISE, misses=0.5)]))
    assert (missed[0].figure, missed[0].is_met) == ("not reported: 50% misses", None)


def test_rounds_are_those_of_the_plan():
    """Exact, and met: 2 up to 5 requests, 4 with a refinement."""
    assert [figure.figure for figure in rounds_claims()] == ["2", "2", "2", "2", "2", "4"]
    assert all(figure.is_met for figure in rounds_claims())


def test_a_judge_does_harm_where_more_requests_are_worse():
    """Each policy at 16 against itself at 4."""
    for shift, is_met in ((0.5, True), (-0.5, False)):
        rows = compare(
            [make_runs(NOISE, cap=4), make_runs(NOISE + shift, cap=16)], baseline=("listwise", 4)
        )
        (figure,) = harmless_claims([row for row in rows if row.cap == 16])
        assert figure.is_met is is_met


def test_only_the_value_chosen_beforehand_is_claimed():
    """Others are in the table, and the best of them is not picked."""
    fixed = [make_runs(NOISE + cap, cap=cap) for cap in (2, 10)]
    adaptive = [
        make_runs(NOISE + 10, policy=f"auto, {gain}", cap=10, min_gain=gain)
        for gain in (HEADLINE_MIN_GAIN, 0.5)
    ]
    adaptive[0].values["requests"][:] = 5
    (figure,) = saving_claims("a mix", savings(fixed, adaptive)[1])
    assert figure.figure.startswith("50% ")
    assert figure.is_met


def test_a_step_that_takes_longer_than_promised_is_told():
    """With the ratio to treequest in the same run."""
    (figure,) = overhead_claims(found().overhead)
    assert figure.figure == "60 (2.00 x treequest's MCTS)"
    assert figure.is_met is False


def test_the_report_names_what_was_not_run():
    """And holds every part."""
    text = results_markdown(found(), FACTS)
    assert "game24 was not run: there is no file" in text
    for heading in ("Targets", "a pool", "a mix", "The simulated grid", "Overhead"):
        assert f"# {heading}\n" in text


def test_a_page_keeps_what_was_written_by_hand():
    """Only the text between the marks is replaced."""
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert with_part(page, f"{BEGIN}\nnew\n{END}") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    with pytest.raises(ValueError, match="no part between"):
        with_part("before", "new")


def test_the_page_of_the_project_has_its_part():
    """`make bench-search` finds where to write."""
    assert with_part(PAGE.read_text(encoding="utf-8"), "") != ""


def test_equal_findings_are_written_as_equal_bytes(tmp_path):
    """JSON, Markdown, figures and page; JSON reads back."""
    pytest.importorskip("matplotlib")
    contents = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        page = folder / "page.md"
        page.write_text(f"words\n{BEGIN}\n{END}\n", encoding="utf-8")
        written = write_results(
            found(), FACTS, folder, page=page, figure_from_page="search_simulator.svg"
        )
        contents.append({path.name: path.read_bytes() for path in written})
    assert contents[0] == contents[1]
    assert set(contents[0]) == {
        "page.md",
        "search.json",
        "search.md",
        "search_calls.svg",
        "search_rounds.svg",
        "search_simulator.svg",
    }
    assert json.loads(contents[0]["search.json"])["pools"][0]["policy"] == "classic_uct"
    assert b"search_simulator.svg" in contents[0]["page.md"]


@pytest.mark.slow
def test_without_recorded_data_the_rest_still_runs(tmp_path, monkeypatch):
    """Every pool says why it was left out; the simulator and the clock have their say."""
    monkeypatch.setenv("CALLWISE_DATA", str(tmp_path))
    lines = []
    scale = Scale(
        half="tuning", seeds=1, simulated_prompts=3, caps=(3, 6), turns=1, sizes=(20,), workers=1
    )
    result = measure(["humaneval", "game24"], scale, lines.append)
    assert set(result.absent) == {"humaneval", "game24"}
    assert all("CALLWISE_DATA" in why for why in result.absent.values())
    assert (result.pools, result.trust) == ([], [])
    assert len({row.pool for row in result.grid}) == 18
    assert list(result.savings) == ["simulated mix"]
    assert result.overhead
    assert "No recorded pool was on this machine" in page_part(result, FACTS, "a.svg")


def test_an_unknown_pool_is_refused_by_name(capsys):
    """With the names that there are."""
    with pytest.raises(SystemExit):
        main(["--pools", "topical"])
    assert "topical-all" in capsys.readouterr().err


def test_help_teaches_both_halves(capsys):
    """It explains where each result is written, and which half may be read."""
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert "--tuning" in text
    assert "reporting half" in text
    assert "CALLWISE_DATA" in text
