"""The example of README and docs/langchain.md that needs one import of ours."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def first_block(page: str, section: str) -> str:
    """Return the first block of Python of a section."""
    text = (ROOT / page).read_text(encoding="utf-8")
    below = re.split(rf"^#+ {re.escape(section)}$", text, maxsplit=1, flags=re.MULTILINE)[-1]
    found = re.search(r"^```python\n(.*?)^```$", below, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize(
    ("page", "section"),
    [("README.md", "3. Use the engine as a library"), ("docs/langchain.md", "One import")],
)
def test_it_counts_the_calls_of_a_graph(
    page: str, section: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As written: no other module of ours is imported, and the table has the graph's node."""
    code = first_block(page, section)
    imports = re.findall(r"^(?:import|from) .*", code, re.MULTILINE)
    assert [line for line in imports if "callwise" in line] == ["import callwise as cw"]
    exec(compile(code, page, "exec"), {})  # noqa: S102 - our own page
    shown = capsys.readouterr().out
    assert re.search(r"^answer +1 +1 ", shown, re.MULTILINE), shown
