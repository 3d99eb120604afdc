"""The page on other people's programs: its code runs, and it names every argument."""

import importlib.util
import re
from pathlib import Path

import pytest

from callwise.calls.langchain_arguments import KNOWN_ARGUMENTS, REFUSED_ARGUMENTS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "langchain.md"


@pytest.mark.filterwarnings("ignore:create_react_agent has been moved")
def test_its_code_runs() -> None:
    """Block after block, as one program; LangChain's agents only where they are installed."""
    page = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {}
    for block in blocks:
        if "langchain.agents" in block and importlib.util.find_spec("langchain") is None:
            continue
        exec(compile(block, str(PAGE), "exec"), names)  # noqa: S102 - our own page
    assert len(blocks) >= 3


def test_it_names_every_argument() -> None:
    """Those that are taken, and those that are refused."""
    named = set(re.findall(r"`([a-z_]+)`", PAGE.read_text(encoding="utf-8")))
    internal = {
        "response_model",
        "sample",
        "share",
        "lease",
        "tool_is_form",
        "model_name",
        "messages",
        "input",
    }
    assert (KNOWN_ARGUMENTS | REFUSED_ARGUMENTS.keys()) - internal <= named
