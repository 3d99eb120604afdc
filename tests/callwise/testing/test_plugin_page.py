"""The page on pytest: its tests run, and say what the page says."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np  # noqa: F401 - an inner pytest forgets modules, and numpy loads once only
import pytest

import callwise.testing.fixture  # noqa: F401 - the same
import graph.drivers  # noqa: F401 - loaded once for all inner runs
from callwise.shipped import configs_folder

pytest_plugins = ("pytester",)

PAGE = Path(__file__).parents[3] / "docs" / "pytest.md"
TEXT = PAGE.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the page's blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def project_of_page(project: Any) -> Any:
    """Return a project that holds the page's tests, and the conversation that they replay."""
    for block in blocks("python"):
        name = block.splitlines()[0].removeprefix("# ")
        (project.path / name).write_text(block, encoding="utf-8")
    talk = configs_folder() / "conversations" / "en_moving_city.jsonl"
    shutil.copy(talk, project.path / "talk.jsonl")
    return project


@pytest.mark.slow
def test_the_tests_of_the_page_print_what_it_shows(project_of_page: Any) -> None:
    """Written, kept, and red with the page's own words after a knob was raised."""
    written, failed, _ = blocks("text")
    result = project_of_page.run("--callwise-update", "--callwise-record")
    result.assert_outcomes(passed=5)
    for line in written.splitlines():
        assert line in result.stdout.lines
    project_of_page.run().assert_outcomes(passed=5)

    path = project_of_page.path / "test_replies.py"
    raised = path.read_text(encoding="utf-8").replace(
        'preset="classic"', 'preset="classic", overrides=["search.rollouts=6"]'
    )
    path.write_text(raised, encoding="utf-8")
    result = project_of_page.run("test_replies.py")
    result.assert_outcomes(failed=1)
    for line in failed.splitlines():
        assert line in result.stdout.lines or line.strip() == "..."


def test_its_links_lead_somewhere() -> None:
    """Pages and sections that it points to are there."""
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        name, _, section = target.partition("#")
        text = (PAGE.parent / name).read_text(encoding="utf-8") if name else TEXT
        headings = {
            re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")
            for line in text.splitlines()
            if line.startswith("#")
        }
        assert not section or section in headings, target


def test_every_option_is_on_the_page() -> None:
    """The table names the options and ini entries that the plugin has, and no others."""
    source = (PAGE.parents[1] / "callwise/testing/plugin_options.py").read_text(encoding="utf-8")
    known = set(
        re.findall(
            r'(?:addini\(\s*|^    |addoption\(\s*)"(-*callwise[-_][^"]+)"', source, re.MULTILINE
        )
    )
    table = TEXT.partition("## Options")[2].partition("\n## ")[0]
    assert set(re.findall(r"--callwise-[a-z-]+|callwise_[a-z]+", table)) == known
    assert len(known) == 7
