"""A run as tables."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from callwise.report import ReportTables, Table, load_run, summarise, totals_json
from callwise.report.run_forms import headline
from callwise.report.table import table_json

RunWriter = Callable[..., Path]
RowMaker = Callable[..., dict[str, Any]]


@pytest.fixture
def tables(write_run: RunWriter) -> ReportTables:
    """Return the tables of the small run."""
    run = load_run(write_run())
    return summarise(run.rows, run.turns, plan=run.plan, wall_seconds=2.0)


def _rows(table: Table | None) -> dict[Any, dict[str, Any]]:
    assert table is not None
    return {row[table.columns[0]]: row for row in table_json(table)}


def test_the_groups_add_up_to_the_total(tables: ReportTables) -> None:
    """In every table of sums the last row is the sum of the others."""
    for table in (tables.by_node, tables.by_role, tables.by_purpose):
        *groups, total = table_json(table)
        assert total[table.columns[0]] == "total"
        for column in table.columns[1:-1]:
            assert sum(group[column] for group in groups) == total[column]


def test_by_node_counts_outcomes_and_unknowns(tables: ReportTables) -> None:
    """A node's row has what its calls spent, and None where a part is not known."""
    rows = _rows(tables.by_node)
    assert list(rows) == ["detection", "lats_search", "total"]
    search = rows["lats_search"]
    assert (search["asked"], search["served"], search["cached"]) == (3, 2, 1)
    assert (search["requests"], search["unknown_usage"], search["usd"]) == (4, 2, None)
    assert rows["detection"]["usd"] == 0.5


def test_by_turn_has_a_row_a_turn(tables: ReportTables) -> None:
    """Each turn shows its calls, rounds, path, degradations and the search's end."""
    first, second = table_json(tables.by_turn)
    assert (first["conversation"], first["turn"], first["asked"]) == ("one", 0, 3)
    assert (first["rounds_reply"], first["path_seconds_turn"]) == (2, 3.5)
    assert (second["degraded"], second["search_stop"]) == (1, "early_exit")


def test_what_a_turn_gave_up_is_counted(write_run: RunWriter) -> None:
    """In its row, in the totals and in the headline; a run that did not count them has 0."""
    run = load_run(write_run())
    assert totals_json(summarise(run.rows, run.turns))["wound_down_turns"] == 0
    given_up = [{"what": "fused_thinking", "reason": "7 of the 9 calls were left"}]
    turns = [run.turns[0].model_copy(update={"wound_down": given_up}), run.turns[1]]
    tables = summarise(run.rows, turns)
    assert [row["wound_down"] for row in table_json(tables.by_turn)] == [1, 0]
    assert totals_json(tables)["wound_down_turns"] == 1
    assert "1 turn wound down for want of calls" in headline(tables)[0]


def test_the_time_table_has_shares(tables: ReportTables) -> None:
    """Waits and work by node, and each node's part of all of it."""
    rows = _rows(tables.time)
    assert rows["detection"]["queue_seconds"] == 0.5
    assert rows["lats_search"]["retry_seconds"] == 1.0
    assert rows["detection"]["share"] + rows["lats_search"]["share"] == pytest.approx(1.0)
    assert rows["total"]["total_seconds"] == 7.5


def test_plan_and_actual_stand_side_by_side(tables: ReportTables) -> None:
    """The mean against the plan, the largest turn against its worst case."""
    rows = _rows(tables.against_plan)
    assert rows["asked"] == {
        "figure": "asked",
        "planned": 3,
        "actual_mean": 2.0,
        "difference": -1.0,
        "planned_worst": 4,
        "actual_max": 3,
    }
    assert (rows["requests"]["planned_worst"], rows["requests"]["actual_max"]) == (12, 3)
    assert rows["input tokens"]["actual_mean"] is None
    assert (rows["node detection"]["planned"], rows["node detection"]["actual_mean"]) == (1, 0.5)
    assert rows["detect input tokens per request"]["difference"] == 50
    assert rows["usd"]["planned"] is None


def test_turns_are_sorted_by_scenario(tables: ReportTables) -> None:
    """A turn goes as the scenario that asks the same of each role, or as none."""
    turns = {name: row["turns"] for name, row in _rows(tables.scenarios).items()}
    assert turns == {
        "default": 1,
        "worst": 0,
        "another, within the worst": 1,
        "above the worst": 0,
    }


def test_a_turn_above_the_worst_case_is_shown(write_run: RunWriter) -> None:
    """A plan that is not a bound does not go unseen."""
    run = load_run(write_run())
    plan = {"scenarios": {"worst": {"asked": 2}}}
    found = _rows(summarise(run.rows, run.turns, plan=plan).scenarios)
    assert found["above the worst"]["turns"] == 1


def test_the_totals_are_the_json_of_a_replay(tables: ReportTables) -> None:
    """Every field that scripts read is there; unknown is null."""
    document = totals_json(tables)
    assert (document["turns"], document["replies"], document["degraded_turns"]) == (2, 1, 1)
    assert document["asked"] == sum(document["outcomes"].values()) == 4
    assert (document["requests"], document["attempts"]) == (5, 5)
    assert document["tokens"] == {
        "input": 300,
        "output": 30,
        "cached": 0,
        "total": 330,
        "unknown_usage": 2,
    }
    assert (document["usd"], document["usd_known"]) == (None, 1.0)
    assert document["by_node"] == {"detection": 1, "lats_search": 3}
    assert document["by_role"] == {"main": 3, "fast": 1}
    assert document["calls_per_turn"] == {"mean": 2.0, "p50": 1, "p95": 3, "max": 3}
    assert document["rounds"]["reply"] == {"mean": 2.0, "p50": 2, "p95": 2, "max": 2}
    assert (document["wall_seconds"], document["simulated"]) == (2.0, True)


def test_unreadable_answers_and_repairs_are_columns(
    write_run: RunWriter, call_row: RowMaker, turn_row: RowMaker
) -> None:
    """By node, role, purpose and turn, and in the totals; a run that lacks them has 0."""
    judge = {"node": "lats_search", "role": "judge", "purpose": "judge"}
    rows = [call_row(**judge, is_unreadable=True), call_row(**judge, repair=1), call_row(turn=1)]
    run = load_run(write_run(rows=rows, turns=[turn_row(), turn_row(1)]))
    tables = summarise(run.rows, run.turns)
    found = [
        _rows(tables.by_node)["lats_search"],
        _rows(tables.by_role)["judge"],
        _rows(tables.by_purpose)["judge"],
        table_json(tables.by_turn)[0],
    ]
    assert [(row["unreadable"], row["repairs"]) for row in found] == [(1, 1)] * 4
    document = totals_json(tables)
    assert (document["unreadable"], document["repairs"], document["unreadable_turns"]) == (1, 1, 1)
    old = summarise([call_row()], [turn_row()])
    assert (old.totals.sums.unreadable, old.totals.unreadable_turns) == (0, 0)


def test_the_table_of_calls_has_what_was_mended(
    write_run: RunWriter, call_row: RowMaker, turn_row: RowMaker
) -> None:
    """Each call with its error and its notes."""
    rows = [call_row(notes="scores on a scale of 10"), call_row(error="InvalidAnswer: no object")]
    run = load_run(write_run(rows=rows, turns=[turn_row()]))
    by_call = summarise(run.rows, run.turns).by_call
    place = {name: by_call.columns.index(name) for name in ("notes", "error")}
    assert [row[place["notes"]] for row in by_call.rows] == ["scores on a scale of 10", ""]
    assert [row[place["error"]] for row in by_call.rows] == ["", "InvalidAnswer: no object"]


def test_nothing_ran_is_a_report_too() -> None:
    """Without turns there are no spreads and no plan to hold against."""
    tables = summarise([], [], plan={"scenarios": {}})
    document = totals_json(tables)
    assert (document["asked"], document["calls_per_turn"], document["usd"]) == (0, None, 0.0)
    assert (tables.against_plan, tables.scenarios) == (None, None)


def test_a_line_of_something_else_is_refused() -> None:
    """Rows that are no ledger's are an error."""
    with pytest.raises(ValidationError):
        summarise([{"role": "king"}], [])


def test_a_plan_without_figures_leaves_them_open(write_run: RunWriter) -> None:
    """A plan of another app may lack anything."""
    run = load_run(write_run())
    for plan in ({}, {"scenarios": None}, {"scenarios": {"default": None, "worst": 3}}):
        rows = _rows(summarise(run.rows, run.turns, plan=plan).against_plan)
        assert (rows["asked"]["planned"], rows["asked"]["difference"]) == (None, None)


@pytest.fixture
def capped(write_run: RunWriter, call_row: RowMaker, turn_row: RowMaker) -> ReportTables:
    """Return a run of two turns, of which a limit cut the first one short by two calls."""
    refused = {"outcome": "refused", "attempts": 0, "requests": 0, "usd": 0.0}
    detection = {"node": "detection", "role": "fast", "purpose": "detect"}
    rows = [
        call_row(**detection),
        call_row(**refused),
        call_row(**refused),
        call_row(1, **detection),
        call_row(1),
        call_row(1, over_tokens=40, over_usd=0.25),
    ]
    run = load_run(write_run(rows=rows, turns=[turn_row(asked=3), turn_row(1, asked=3)]))
    return summarise(run.rows, run.turns, plan=run.plan)


def test_refused_calls_are_no_calls_per_turn(capped: ReportTables) -> None:
    """Those that were made are spread, and those that a limit refused apart from them."""
    document = totals_json(capped)
    assert (document["asked"], document["outcomes"]["refused"]) == (6, 2)
    assert document["calls_per_turn"] == {"mean": 2.0, "p50": 1, "p95": 3, "max": 3}
    assert document["refused_per_turn"] == {"mean": 1.0, "p50": 0, "p95": 2, "max": 2}
    assert document["cut_turns"] == 1
    lines = headline(capped)
    assert lines[0] == "2 turns, 2 replies, 1 turn cut by a limit (simulated)"
    assert "calls per turn: mean 2, p50 1, p95 3, max 3" in lines
    assert "also refused, per turn: mean 1, p50 0, p95 2, max 2" in lines


def test_a_turn_cut_by_a_limit_goes_as_no_scenario(capped: ReportTables) -> None:
    """Its calls with the refused ones are those of the plan, which it did not go as."""
    found = {name: row["turns"] for name, row in _rows(capped.scenarios).items()}
    assert found["default"] == 1
    assert found["cut by a limit"] == 1
    assert sum(found.values()) == 2


def test_refused_calls_have_a_separate_row_next_to_the_plan(capped: ReportTables) -> None:
    """No node or role is charged with what it was refused."""
    found = _rows(capped.against_plan)
    assert (found["asked"]["planned"], found["asked"]["actual_mean"]) == (3, 2.0)
    assert (found["refused"]["planned"], found["refused"]["actual_max"]) == (0, 2)
    assert found["node lats_search"]["actual_mean"] == 1.0
    assert found["role main"]["actual_max"] == 2


def test_without_refusals_nothing_is_said_of_them(tables: ReportTables) -> None:
    """Neither a line, nor a row, nor a group."""
    assert not any("refused" in line or "limit" in line for line in headline(tables))
    assert "refused" not in _rows(tables.against_plan)
    assert "cut by a limit" not in _rows(tables.scenarios)


def test_what_was_billed_beyond_the_reservation_is_said(capped: ReportTables) -> None:
    """How many calls, tokens and USD; a run without any has no such line."""
    line = "billed beyond what was reserved: 1 call, 40 tokens, 0.250000 USD"
    assert line in headline(capped)
    assert totals_json(capped)["over_reservation"] == {"calls": 1, "tokens": 40, "usd": 0.25}
    assert _rows(capped.by_node)["lats_search"]["over_tokens"] == 40


@pytest.mark.parametrize(
    ("virtual", "name"),
    [(4, "virtual seconds"), (2, "seconds (in part virtual)"), (0, "seconds")],
)
def test_seconds_are_named_virtual_where_no_time_passed(
    write_run: RunWriter, call_row: RowMaker, virtual: int, name: str
) -> None:
    """In the headline and in titles, call by call; the columns keep their names.

    A simulated model over HTTP takes real time: its seconds are seconds.
    """
    endpoints = ["simulated"] * virtual + ["main"] * (4 - virtual)
    rows = [call_row(is_simulated=True, endpoint=endpoint) for endpoint in endpoints]
    run = load_run(write_run(rows=rows))
    tables = summarise(run.rows, run.turns, is_simulated=True)
    spans = [line for line in headline(tables) if "seconds" in line]
    assert spans
    assert all(line.startswith(f"{name} to the ") for line in spans)
    assert f"({name} of all calls" in tables.time.title
    assert ("virtual" in tables.by_turn.title) == bool(virtual)
    assert "path_seconds_reply" in tables.by_turn.columns
