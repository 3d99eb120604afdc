"""The page on load: its table of the documents' names is that of the code and of the tests."""

import re
from pathlib import Path

import pytest
import yaml

from callwise.calls.load.load_knobs import LoadKnobs
from callwise.knobs import knob_paths
from graph.settings import PipelineSettings

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "load.md").read_text(encoding="utf-8")
TABLE = PAGE.partition("| document | there |")[2]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in TABLE.splitlines()
    if line.startswith(("| 00", "| –"))
]
DEFAULTS = {knob.path: knob.default_once_set for knob in knob_paths(PipelineSettings)}
NAMED = re.compile(r"`([a-z_.]+)`(?: (\d[\d,.]*\d|\d|\.\d+)(?=[,;) ]|$))?")


def test_every_row_has_what_is_built_and_its_test() -> None:
    """A row without a test is one that is not built yet."""
    assert len(ROWS) >= 45
    for document, there, here, tests, _ in ROWS:
        assert document in {"001", "002", "003", "004", "–"}
        assert there
        assert bool(tests) is (here != "not built yet"), there
        for test in filter(None, tests.split(", ")):
            path = (ROOT / "tests" / "callwise" / "budget" / test).resolve()
            assert path.is_file(), test


def test_every_knob_exists_and_has_the_default_that_is_shown() -> None:
    """A name after that of a group's knob is of the same group."""
    checked = 0
    for _, _, here, _, _ in ROWS:
        group = ""
        for name, shown in NAMED.findall(here):
            path = name
            if name.startswith(("load.", "cache.", "retry.")):
                group = name.rpartition(".")[0]
                assert any(each == name or each.startswith(f"{name}.") for each in DEFAULTS), name
            elif f"{group}.{name}" in DEFAULTS:
                path = f"{group}.{name}"
            default = DEFAULTS.get(path)
            if shown and default not in {None, "None"}:
                assert float(shown.replace(",", "")) == float(default), path
                checked += 1
    assert checked >= 15


@pytest.mark.parametrize(
    "block", re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
)
def test_its_settings_can_be_read(block: str) -> None:
    """As written."""
    settings = yaml.safe_load(block)
    assert LoadKnobs.model_validate(settings["load"]).schedule is not None
