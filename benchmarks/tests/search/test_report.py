"""The report: targets and findings, and a page whose text is not changed."""

import json
import math

import pytest

from benchmarks.figures import Figure
from benchmarks.search.__main__ import PARTS, main
from benchmarks.search.bias import JudgeBias
from benchmarks.search.calibrated import JudgeFigures, TrustRow
from benchmarks.search.claims import (
    auto_claims,
    bias_words,
    overhead_claims,
    quality_claims,
    rounds_claims,
    saving_claims,
)
from benchmarks.search.comparing import averages, compare
from benchmarks.search.confidence import bins_of
from benchmarks.search.measuring import Found, Scale, measure
from benchmarks.search.overhead import StepCost
from benchmarks.search.report import (
    BEGIN,
    END,
    claims,
    draw_again,
    means_part,
    page_part,
    results_markdown,
    with_part,
    write_results,
)
from benchmarks.search.saving import saving_of
from benchmarks.search.step_table import STEP_CASES
from benchmarks.tests.search.test_comparing import NOISE, baseline, make_runs
from benchmarks.tests.search.test_confidence import runs_of

FACTS = {"commit": "abc", "prompts": "the tuning half"}


MISLED = JudgeBias("a pool", 9, 0.6, 0.7, {2: 0.2, 4: 0.3, 8: -0.1}, 2 / 3)


def shipped(pool="a pool", *, balanced=2.0, frugal=1.0, larger=0.0):
    """Return comparisons of the presets and `auto` that are better by so much than the rest."""
    return compare(
        [
            baseline(NOISE, pool=pool),
            make_runs(NOISE, policy="best-of-N, packed", cap=6, pool=pool),
            make_runs(NOISE, policy="treequest AB-MCTS-A", cap=11, pool=pool),
            make_runs(NOISE + balanced, policy="balanced", cap=6, pool=pool),
            make_runs(NOISE + frugal, policy="frugal", cap=3, pool=pool),
            make_runs(NOISE, policy="auto", cap=6, pool=pool),
            make_runs(NOISE + larger, policy="auto", cap=16, pool=pool),
        ]
    )


def saving(quality, requests):
    """Return what a plan with this quality and as many requests saves."""
    *curve, plan = compare(
        [
            *(make_runs(NOISE + cap, cap=cap) for cap in (2, 10)),
            make_runs(NOISE + quality, policy="thorough", cap=16),
        ]
    )
    plan.per_prompt["requests"][:] = requests
    return saving_of(curve, plan)


def found():
    """Return what a small run might have found."""
    rows = shipped()
    return Found(
        absent={"game24": "there is no file"},
        described={"a pool": ("What it is.", "What a request buys.")},
        mean_pools=["a pool"],
        biased_pools=["a pool"],
        biases=[MISLED, JudgeBias("b", 9, 0.6, 0.7, {2: 0.2, 4: 0.3}, math.nan)],
        pools=rows,
        averages=averages(rows, ["a pool"]),
        savings=[saving(9, 5)],
        confidence=bins_of([runs_of([0.9, 0.8], [1, 0])]),
        grid=compare([baseline(NOISE, pool="simulated: one")]),
        judges={"a pool": JudgeFigures(0.5, 0.6, 0.0, 6)},
        trust=[TrustRow("a pool", "listwise", 6, 0.5, 0.4, 0.6, 0.55)],
        step_tables=["| puzzles |\n"],
        step_claims=[Figure("share solved", "0.90", ">= 0.60", is_met=True)],
        overhead=[StepCost("auto", 100, 60.0, 30.0, 2.0, is_ours=True)],
    )


def test_the_shipped_searches_are_held_against_their_targets():
    """Means over pools; next to them the pool that they are least true of."""
    figures = quality_claims(averages(shipped(), ["a pool"]))
    assert [figure.is_met for figure in figures] == [True] * 4
    assert figures[0].figure == ("+20.0 (+20.0 to +20.0); least +20.0 (+20.0 to +20.0) on a pool")
    figures = quality_claims(averages(shipped(balanced=1.0, frugal=0.7), ["a pool"]))
    assert [figure.is_met for figure in figures] == [False, True, False, False]


def test_a_mean_does_not_hide_a_pool_that_is_worse():
    """The classic search at 11 must be worse on no pool: `balanced` beyond noise, `frugal` by 2."""
    rows = shipped(balanced=9, frugal=5) + shipped("b", balanced=-1, frugal=-1)
    figures = quality_claims(averages(rows, ["a pool", "b"]))
    assert [figure.is_met for figure in figures] == [False, True, True, False]


def test_a_larger_cap_of_auto_must_not_be_worse():
    """Mean over pools, and every pool by itself, also those that count in no mean."""
    rows = shipped(larger=0.5) + shipped("b", larger=-0.1)
    mean, worst = auto_claims(rows, ["a pool"])
    assert (mean.is_met, worst.is_met) == (True, False)
    assert worst.figure == "-1.0 (-1.0 to -1.0) on b"
    assert auto_claims(rows, ["a pool", "b"])[0].figure.startswith("+2.0 ")
    assert auto_claims([], []) == []


def test_savings_are_claimed_of_one_plan_with_its_worst_pool():
    """Others are in the table, and the best of them is not picked."""
    mean, worst = saving_claims([saving(10 - 1e-9, 5)], ("thorough", 16))
    assert mean.figure.startswith("50% ")
    assert (mean.is_met, worst.is_met) == (True, True)
    assert worst.figure.endswith("on a pool")
    assert [figure.is_met for figure in saving_claims([saving(2, 5)], ("thorough", 16))] == [
        False
    ] * 2
    assert saving_claims([saving(2, 5)], ("listwise", 16)) == []


def test_the_words_on_bias_follow_the_figures():
    """They name the judges whose best of many falls, and each policy as gaining, losing or open."""
    rows = compare(
        [
            make_runs(NOISE + cap * gain, policy=policy, cap=cap)
            for policy, gain in (("listwise", 0.1), ("best-of-N, packed", -0.1), ("auto", 0))
            for cap in (2, 6, 16)
        ]
    )
    text = bias_words(found().biases, rows)
    assert "a pool: 67% of its checks fail most of the best candidates; one call puts 60%" in text
    assert "worth 30 % of the gap among 4 candidates, and -10 % among 8." in text
    assert "Pools of whole answers without such a fall: 1." in text
    assert "Worse with more requests: `best-of-N, packed` 2 to 16 on a pool (-14.0)." in text
    assert "Better with more requests: `listwise` 2 to 16 on a pool (+14.0)." in text
    assert "Open: 1 of 3 such changes." in text


def test_a_judge_without_checks_has_no_wrong_ones():
    """And without comparisons none is open."""
    text = bias_words([JudgeBias("b", 9, 0.6, 0.7, {2: 0.3, 4: 0.2}, math.nan)], [])
    assert text.startswith("b: one call puts")
    assert "Open" not in text


def test_rounds_are_those_of_the_plan():
    """Exact, for the presets that do not stop on their own."""
    assert [figure.what.split("`")[1] for figure in rounds_claims()] == ["frugal", "balanced"]
    assert all(figure.is_met is (figure.figure == "2") for figure in rounds_claims())


def test_a_step_that_takes_longer_than_promised_is_told():
    """With the ratio to treequest in the same run."""
    (figure,) = overhead_claims(found().overhead)
    assert figure.figure == "60 (2.00 x treequest's MCTS)"
    assert figure.is_met is False


def test_the_report_names_what_was_not_run():
    """And holds every part."""
    text = results_markdown(found(), FACTS)
    assert "game24 was not run: there is no file" in text
    for heading in (
        "Targets",
        "Means over pools",
        "The shipped searches by pool",
        "The judges, noise averaged out",
        "A biased judge",
        "Requests saved by stopping",
        "Confidence and truth",
        "a pool",
        "Tasks of steps",
        "The simulated grid",
        "Overhead",
    ):
        assert f"## {heading}\n" in text


def test_the_page_of_figures_has_means_presets_and_every_target():
    """The same figures as in the report."""
    part = means_part(found(), FACTS)
    assert part.startswith(BEGIN)
    assert part.endswith(END)
    assert part.count("| --- |") >= 3
    assert "**Judges that mislead.** a pool: " in part
    assert all(figure.what in part for figure in claims(found()))


def test_a_page_keeps_what_was_written_by_hand():
    """Only the text between the marks is replaced."""
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert with_part(page, f"{BEGIN}\nnew\n{END}") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    with pytest.raises(ValueError, match="no part between"):
        with_part("before", "new")


@pytest.mark.parametrize("page", PARTS)
def test_the_pages_of_the_project_have_their_part(page):
    """`make bench-search` finds where to write."""
    assert with_part(page.read_text(encoding="utf-8"), "") != ""


def test_equal_findings_are_written_as_equal_bytes(tmp_path):
    """JSON, Markdown, the figure and a page; JSON reads back."""
    pytest.importorskip("matplotlib")
    contents = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        page = folder / "page.md"
        page.write_text(f"words\n{BEGIN}\n{END}\n", encoding="utf-8")
        written = write_results(found(), FACTS, folder, pages={page: page_part(found(), FACTS)})
        contents.append({path.name: path.read_bytes() for path in written})
    assert contents[0] == contents[1]
    drawn = {"search_curves.json", "search.svg"}
    assert set(contents[0]) == {"page.md", "search.json", "search.md", *drawn}
    path = draw_again(tmp_path / "one")
    assert path.read_bytes() == contents[0]["search.svg"]
    document = json.loads(contents[0]["search.json"])
    assert document["pools"][0]["policy"] == "classic_uct"
    assert len(document["pools"][0]["per_prompt"]["share"]) == len(NOISE)
    assert b"inside the interval" in contents[0]["page.md"]


@pytest.mark.slow
def test_without_recorded_data_the_rest_still_runs(tmp_path, monkeypatch):
    """Every pool says why it was left out; the simulator and the clock have their say."""
    monkeypatch.setenv("CALLWISE_DATA", str(tmp_path))
    lines = []
    scale = Scale(
        half="tuning",
        seeds=1,
        simulated_prompts=3,
        caps=(3, 6),
        puzzles=2,
        turns=1,
        sizes=(20,),
        workers=1,
    )
    result = measure(["humaneval", "game24"], scale, lines.append)
    assert set(result.absent) == {"humaneval", "game24"}
    assert all("CALLWISE_DATA" in why for why in result.absent.values())
    assert (result.pools, result.trust) == ([], [])
    assert len({row.pool for row in result.grid}) == 18
    assert (result.averages, result.savings, result.confidence) == ([], [], [])
    assert result.overhead
    assert len(result.step_tables) == len(STEP_CASES)
    assert "No recorded pool was on this machine" in page_part(result, FACTS)


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
