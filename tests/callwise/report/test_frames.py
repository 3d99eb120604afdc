"""A run's calls and turns as data frames: a line each, with types that do not depend on the run."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from langchain_core.language_models import FakeListChatModel

import callwise as cw
from callwise.calls.errors import ConfigError
from callwise.report import calls_frame, load_run, turns_frame

pytest.importorskip("pandas", reason="data frames need pandas")

Run = Callable[..., Path]


def test_a_call_is_a_line(write_run: Run) -> None:
    """With its outcome and usage; tokens that were not reported are missing, not 0."""
    calls = calls_frame(load_run(write_run()))
    assert list(calls["outcome"]) == ["served", "served", "cached", "served"]
    assert calls["input_tokens"].isna().tolist() == [False, False, False, True]
    assert calls["usd"].isna().tolist() == [False, False, False, True]
    assert list(calls["turn"]) == [0, 0, 0, 1]


def test_rows_of_a_ledger_are_lines() -> None:
    """Those of a budgeter; anything else is an error that names them."""
    budgeter = cw.Budgeter.simulated()
    cw.wrap(FakeListChatModel(responses=["-"]), budgeter).invoke("hello")
    budgeter.close()
    assert list(calls_frame(budgeter.ledger.rows)["outcome"]) == ["served"]
    with pytest.raises(TypeError, match=r"got 7\..*budgeter\.ledger\.rows"):
        calls_frame([7])  # type: ignore[list-item]


def test_a_turn_is_a_line(write_run: Run) -> None:
    """With its calls by outcome, rounds, seconds and reply."""
    turns = turns_frame(load_run(write_run()))
    assert list(turns["asked"]) == [3, 1]
    assert list(turns["cached"]) == [1, 0]
    assert list(turns["rounds_reply"]) == [2.0, 2.0]
    assert list(turns["reply"]) == ["hello", ""]


def test_a_run_has_its_frames(write_run: Run) -> None:
    """As properties: what a notebook tries first."""
    run = load_run(write_run())
    assert run.frame.equals(calls_frame(run))
    assert run.turns_frame.equals(turns_frame(run))


@pytest.mark.parametrize("frame", [calls_frame, turns_frame])
def test_types_are_those_of_an_empty_run(write_run: Run, frame: Callable[..., object]) -> None:
    """So that frames of several runs can be laid together."""
    full, empty = (
        frame(load_run(each)).dtypes.astype(str).to_dict()  # type: ignore[attr-defined]
        for each in (write_run(), write_run(rows=[], turns=[]))
    )
    assert full == empty
    assert {"Int64", "float64"} <= set(full.values())
    assert (full["usd"], full["conversation"]) == ("float64", empty["conversation"])
    assert full["unknown_usage"] == full["turn"] == "Int64"


def test_without_pandas_the_error_names_the_extra(
    write_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is the command to type."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[tune\]'"):
        calls_frame(load_run(write_run()))
