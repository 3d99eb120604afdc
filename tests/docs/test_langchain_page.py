"""The page on other people's programs names every argument."""

import re
from pathlib import Path

from callwise.calls.langchain_arguments import KNOWN_ARGUMENTS, REFUSED_ARGUMENTS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "langchain.md"


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
