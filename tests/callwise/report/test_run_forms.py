"""A run in a form and a table of one's choice."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from callwise.report import load_run, render
from callwise.report.run_forms import Form, TableName

RunWriter = Callable[..., Path]


@pytest.mark.parametrize("form", get_args(Form))
@pytest.mark.parametrize("table", get_args(TableName))
def test_every_choice_gives_text(write_run: RunWriter, form: Form, table: TableName) -> None:
    """Each form of each table ends with one newline, with a plan and without."""
    for plan in ({"scenarios": {}}, None):
        text = render(load_run(write_run(plan=plan)), form=form, table=table)
        assert text.endswith("\n")
        assert not text.endswith("\n\n")


def test_the_plan_comes_with_its_scenarios(write_run: RunWriter) -> None:
    """For people both of the plan's tables are shown."""
    text = render(load_run(write_run()), form="markdown", table="plan")
    assert "### Plan against actual, per turn" in text
    assert "### Turns that cost what a scenario of the plan costs" in text


def test_one_table_as_json_is_a_list(write_run: RunWriter) -> None:
    """A table alone is a list of its rows."""
    rows = json.loads(render(load_run(write_run()), form="json", table="role"))
    assert [row["role"] for row in rows] == ["main", "fast", "total"]


def test_reports_are_light_to_import() -> None:
    """Nothing heavy is imported before something is drawn."""
    code = (
        "import sys, callwise.report; "
        "heavy = {'numpy', 'langgraph', 'openai', 'aiohttp', 'tiktoken', 'diskcache', 'rich'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
