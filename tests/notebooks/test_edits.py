"""The notebooks after the edits that users make first, each executed to its last cell.

Cells run in this process, on short conversations; `test_kernel.py` has them in a real kernel.
"""

import ast
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.notebooks.cells import PATHS, Session, sources_of

pytest.importorskip("pandas", reason="the notebooks need the extra `tune`")

_LONG = ("01", "02", "03")

SHIPPED = {
    "02": 'cw.example_path("small_talks.jsonl")',
    "03": 'cw.example_path("small_talks.jsonl")',
    "05": 'cw.example_path("en_moving_city.jsonl")',
}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, with a conversation file of the user's own, without endpoints."""
    monkeypatch.chdir(tmp_path)
    for name in ("CALLWISE_BASE_URL", "CALLWISE_MODEL", "CALLWISE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    lines = [
        {"conversation_id": f"talk-{talk}", "turn": turn, "user_text": f"Day {talk}, hour {turn}."}
        for talk in range(3)
        for turn in range(1 + talk % 2)
    ]
    Path("mine.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def _runs() -> list[str]:
    return sorted(path.name for path in Path("callwise-runs").iterdir())


def _short(name: str, edits: Mapping[str, str] | None = None) -> list[str]:
    """Return a notebook's cells on the user's own file; the search lab with few prompts."""
    own = {SHIPPED[name]: '"mine.jsonl"'} if name in SHIPPED else {}
    few = {"prompts, margin = 150": "prompts, margin = 4"} if name == "04" else {}
    return sources_of(name, {**own, **few, **(edits or {})})


CLASSIC = {'preset = "balanced"': 'preset = "classic"'}
INSTANT = {'preset = "balanced"': 'preset = "instant"'}
FEW_TRIALS = {'"listwise": [3, 6, 11], "auto": [3, 6, 11]': '"halving": [5, 9]'}
ONE_POLICY = {
    '{"classic_uct": [11], "best_of_n": [3, 6, 11], "listwise": [3, 6, 11], '
    '"auto": [3, 6, 11]}': '{"listwise": [4]}'
}
FAST = {
    "01 no search": ("01", INSTANT),
    "02 no search, one turn": ("02", {**INSTANT, "max_turns = None": "max_turns = 1"}),
    "03 other caps": (
        "03",
        {"caps = (3, 4, 6, 8)": "caps = (2, 5, 7)", '"auto", None': '"auto", 2'},
    ),
    "04 other caps": ("04", FEW_TRIALS),
    "04 one policy": ("04", ONE_POLICY),
}
SLOW = {
    "01 own message": ("01", {"I got the job, and now I am scared of it.": "我今天搬家了。"}),
    "01 classic": ("01", CLASSIC),
    "02 one conversation at a time": ("02", {"max_concurrency=4": "max_concurrency=1"}),
    "03 one cap, above the recorded": ("03", {"caps = (3, 4, 6, 8)": "caps = (12,)"}),
    "03 frugal": ("03", {'preset, largest = "balanced", 11': 'preset, largest = "frugal", 5'}),
    "03 not judged": ("03", {'quality, max_turns = "auto"': 'quality, max_turns = "none"'}),
    "03 one turn": ("03", {'"auto", None': '"auto", 1'}),
    "05 classic": ("05", CLASSIC),
    "05 all turns": ("05", {"max_turns = 8": "max_turns = None"}),
}
EDITS = [
    *(pytest.param(*edited, id=name) for name, edited in FAST.items()),
    *(pytest.param(*edited, id=name, marks=pytest.mark.slow) for name, edited in SLOW.items()),
]


@pytest.mark.parametrize(("number", "edits"), EDITS)
async def test_an_edited_notebook_runs_to_its_end(number: str, edits: Mapping[str, str]) -> None:
    """Other caps, presets, messages, files and concurrency: no cell names what was edited away."""
    session = Session()
    await session.run(_short(number, edits))
    assert session.shown


@pytest.mark.parametrize(
    "number", ["04", "05", *(pytest.param(each, marks=pytest.mark.slow) for each in _LONG)]
)
async def test_a_notebook_runs_twice(number: str) -> None:
    """Every cell twice, then all again in a new kernel: nothing is in the way of a second run."""
    cells = _short(number)
    session = Session()
    await session.run([cell for cell in cells for _ in range(2)])
    again = Session()
    await again.run(cells)
    assert len(session.shown) == 2 * len(again.shown)


@pytest.mark.slow
async def test_a_second_run_reads_the_first() -> None:
    """It makes no new run, and its values are those of before."""
    cells = _short("03")
    await Session().run(cells)
    before = _runs()
    await Session().run(cells)
    assert _runs() == before


@pytest.mark.slow
async def test_an_edit_makes_another_run_next_to_the_first() -> None:
    """A cell that is edited and run again overwrites nothing and is refused by no folder."""
    first = _short("02")
    await Session().run(first[:2])
    await Session().run(_short("02", {'preset = "balanced"': 'preset = "frugal"'})[:2])
    names = _runs()
    assert [name.split("-")[1] for name in names] == ["balanced", "balanced", "frugal", "frugal"]


@pytest.mark.slow
async def test_later_cells_after_an_edit_of_the_first() -> None:
    """The first cell edited and run again, then a later one only, as after a kernel's restart."""
    session = Session()
    await session.run(_short("03"))
    edited = _short("03", {"caps = (3, 4, 6, 8)": "caps = (2, 5, 7)"})
    await session.run([edited[0], edited[1], edited[-1]])
    assert "search 7" in session.shown[-1].columns.get_level_values(1)


async def test_a_cap_counts_what_was_sent(capsys: pytest.CaptureFixture[str]) -> None:
    """A cap of 1 shows one call, not those that it refused."""
    session = Session()
    await session.run(_short("01", {"cap = 4": "cap = 1"}))
    sent = session.shown[-1]
    assert list(sent.loc["all"]) == [8, 1]
    assert list(sent.loc["lats_search"]) == [6, 0]
    said = capsys.readouterr().out
    assert said.count("given up: evolver: refused\n") == 1
    assert "given up: fused_reply: 1 of the 6 calls" in said


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_one_name_is_imported_from_the_project(path: Path) -> None:
    """`import callwise as cw`, and nothing else of its packages or folders."""
    own = {"callwise", "graph", "nodes", "lats", "examples", "benchmarks"}
    found = [
        ast.unparse(node)
        for source in sources_of(path.stem)
        for node in ast.walk(compile(source, path.name, "exec", _TREE))
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    of_project = [line for line in found if own & set(re.split(r"[\s.,]+", line))]
    assert of_project == ["import callwise as cw"]


_TREE = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_begins_with_its_question_and_ends_with_what_is_next(path: Path) -> None:
    """The first cell asks one question in bold, and has the time and the cost."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    first, last = ("".join(cells[at]["source"]) for at in (0, -1))
    assert re.search(r"^\*\*[A-Z][^*]*\?\*\*", first, re.MULTILINE)
    assert "seconds" in first
    assert re.search(r"endpoint|paid", first)
    assert re.search(r"^## .*what next$", last, re.MULTILINE | re.IGNORECASE)
