"""Signs of the judges' bias in a run: pooled as the search pools them, whatever the records."""

import json

import pytest

from callwise.report import judge_table as judge_table_module
from callwise.report import load_run, render
from callwise.report.judge_table import judge_table
from callwise.report.page import write_page
from lats import judge_report
from lats.judge_report import EffectSums, JudgeReport, JudgeStatistics, pool_reports


def _sums(cases, effect, spread):
    """Return sums of so many cases about an effect."""
    found = EffectSums()
    for place in range(cases):
        weight = 1.0 + place % 3
        found.add(weight * (effect + spread * (-1) ** place), weight)
    return found


def _report(order=0.4, agreement=0.6, cases=20):
    judge = JudgeStatistics(
        calls=8,
        failed=1,
        compared=7,
        flat=1,
        top_ties=5,
        repeats=20,
        equal_repeats=4,
        unreadable=2,
        order=_sums(cases, order, 0.3),
        first=_sums(cases, 0.0, 0.3),
        length=_sums(3, 0.5, 0.1),
        self_agreement=_sums(cases, agreement, 0.2),
    )
    judges = {"gpt": judge, "llama": JudgeStatistics(calls=2)}
    return JudgeReport(1, judges, {("gpt", "llama"): _sums(cases, 0.5, 0.2)})


def _table(*reports):
    return judge_table({"judges": json.loads(json.dumps(each.record()))} for each in reports)


def test_signs_are_those_of_the_search_to_the_digit():
    """The same effects, intervals and findings, of one search and of several."""
    reports = [_report(), _report(order=0.2), _report(agreement=0.0)]
    for some in (reports[:1], reports):
        pooled, table = pool_reports(some), _table(*some)
        rows = {row[1].split(",")[0]: row for row in table.rows if row[0] == "gpt"}
        names = {
            "order": "first place above last",
            "first": "first place above others",
            "last": "last place above others",
            "length": "SD per SD of length (may be right)",
            "self_agreement": "agreement with itself",
        }
        for sign in pooled.judges["gpt"].signs:
            row = rows[names[sign.name]]
            figures = [sign.effect, sign.low, sign.high, sign.cases]
            assert list(row[2:6]) == [pytest.approx(each, abs=1e-5) for each in figures]
            assert row[6] == sign.finding
        (pair,) = (row for row in table.rows if row[0] == "gpt and llama")
        sums = pooled.agreement["gpt", "llama"]
        assert list(pair[2:5]) == pytest.approx([sums.effect, *sums.interval], abs=1e-5)


def test_what_is_counted_is_shown_with_its_share():
    """Of calls, of those that compare, and of repeated scores."""
    rows = {(row[0], row[1]): row[2:] for row in _table(_report(), _report()).rows}
    assert rows["gpt", "calls that failed"] == (2 / 16, None, None, 16, "not found")
    assert rows["gpt", "calls with several best"] == (10 / 14, None, None, 14, "found")
    repeated = rows["gpt", "scores that repeat the earlier one"]
    assert repeated == (8 / 40, None, None, 40, "not found")
    assert rows["gpt", "verdicts without a score from 0 to 1"][0] == 4
    assert ("llama", "calls with several best") not in rows


@pytest.mark.parametrize(
    "broken",
    [
        [],
        "judges",
        {"judges": [{"judge": "gpt"}]},
        {"judges": [{"judge": 7}]},
        {"judges": [{"order": [1, 2]}]},
        {"judges": [{}] * 1000},
        {"judges": [], "agreement": [{"judges": ["a"], "sums": [0] * 6}]},
    ],
)
def test_a_record_that_cannot_be_read_is_counted_and_passed_over(broken):
    """The others are pooled."""
    good = {"judges": _report().record()}
    table = judge_table([{"judges": broken}, good, {}])
    assert table.rows == judge_table([good]).rows
    assert "1 records could not be read" in table.title


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, 1e300, "1", None])
def test_forged_figures_are_refused(value):
    """A count below 0, and what is no number or too large for one."""
    raw = _report().record()
    raw["judges"][0]["order"][0] = value
    assert judge_table([{"judges": raw}]).rows == ()


def test_one_judge_is_the_judge():
    """A search with one judge records no name of it."""
    table = _table(JudgeReport(1, {"": _report().judges["gpt"]}, {}))
    assert {row[0] for row in table.rows} == {"the judge"}


def test_a_run_without_judges_has_no_table(write_run):
    """As of an app that has no search, and of older runs."""
    assert judge_table([{}, {"judges": {"judges": []}}]) is None
    run = load_run(write_run())
    assert "records no judge" in render(run, table="judges")
    assert "Signs of" not in render(run)


def test_a_run_shows_its_judges_pooled_over_turns(write_run, turn_row, tmp_path):
    """As text and on the page, and escaped as every table is."""
    hostile = JudgeReport(1, {"=cmd|x\x1b": _report().judges["gpt"]}, {})
    turns = [
        turn_row(0, search={"judges": _report().record()}),
        turn_row(1, search={"judges": hostile.record()}),
    ]
    folder = write_run(turns=turns)
    page = write_page(folder, tmp_path / "page.html").file.read_text(encoding="utf-8")
    assert "bias, of 2 searches" in page
    assert "agreement with itself" in page
    run = load_run(folder)
    assert "Signs of the judges' bias, of 2 searches" in render(run)
    for form in ("text", "markdown", "csv"):
        shown = render(run, form=form, table="judges")
        assert "agreement with itself" in shown
        assert "\x1b" not in shown
    assert "'=cmd" in render(run, form="csv", table="judges")


def test_the_report_finds_by_the_same_limits_as_the_search():
    """It cannot import them: the search is above it."""
    for name in ("MIN_CASES", "REACH", "MIN_EFFECT", "LOW_AGREEMENT", "MIN_COUNTED"):
        assert getattr(judge_report, name) == getattr(judge_table_module, name)
