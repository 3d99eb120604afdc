"""Parts of the page: its figures, its escapes and its policy."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callwise.calls.errors import ConfigError, FormatError
from callwise.report import load_run, summarise
from callwise.report.page import write_page
from callwise.report.page.page_data import anchor_of
from callwise.report.page.page_html import SCRIPTS, json_for_html, packed, page_of, script_text
from callwise.report.table import cell_text
from callwise.safe_text import shown, shown_html

RunMaker = Callable[..., Path]


DataOf = Callable[[str], dict[str, Any]]


def _table(html: str, name: str) -> list[list[str]]:
    section = re.search(rf'id="table-{name}">(.*?)</section>', html, re.DOTALL)
    assert section
    rows = re.findall(r"<tr.*?</tr>", section[1])[1:]
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]


def test_totals_are_those_of_the_report(make_run: RunMaker) -> None:
    """Every cell of the tables by node, role and purpose is `summarise`'s."""
    folder = make_run(turns=[{}, {"calls": ({}, {"outcome": "failed", "usd": None})}])
    html, _ = page_of(folder)
    run = load_run(folder)
    tables = summarise(run.rows, run.turns, plan=run.plan, is_simulated=run.is_simulated)
    for table in (tables.by_node, tables.by_role, tables.by_purpose):
        empty = [
            all(cell in {0, ""} for cell in column) for column in zip(*table.rows, strict=True)
        ]
        expected = [
            [cell_text(cell) for cell, skip in zip(row, empty, strict=True) if not skip]
            for row in table.rows
        ]
        assert _table(html, table.name.replace("_", "-")) == expected


def test_a_turn_has_its_calls_and_its_plan(make_run: RunMaker, data_of: DataOf) -> None:
    """Calls, sums and planned figures of a turn stand in the data."""
    html, _ = page_of(make_run(turns=[{"calls": ({}, {}, {}, {})}]))
    (turn,) = data_of(html)["runs"][0]["turns"]
    assert turn["sums"]["asked"] == len(turn["calls"]) == 4
    assert turn["above_plan"] == "usual"
    assert ["asked", 3, 4, 4] in turn["plan"]
    assert ["node detection", 1, 0, 2] in turn["plan"]
    assert ["mode", "normal"] in turn["facts"]


def test_odd_runs_make_pages(make_run: RunMaker, data_of: DataOf) -> None:
    """A run without a turn, a plan or a search, and calls of no turn, are shown as they are."""
    html, written = page_of(make_run("none", turns=[], manifest={"plan": None}))
    assert written.turns == 0
    assert data_of(html)["runs"][0]["turns"] == []
    bare = {"search": None, "rounds": None, "path_seconds": None, "user_text": 3, "calls": ()}
    folder = make_run("bare", turns=[{**bare, "search": {}}], manifest={"plan": {}, "knobs": []})
    (turn,) = data_of(page_of(folder)[0])["runs"][0]["turns"]
    assert (turn["search"], turn["rounds"], turn["user_text"]) == (None, [None, None], "")
    stray = json.dumps({"role": "main", "purpose": "plan", "outcome": "served"}) + "\n"
    (folder / "ledger.jsonl").write_text(stray, encoding="utf-8")
    assert "1 calls were asked outside of any turn" in page_of(folder)[0]


def test_the_same_run_gives_the_same_bytes(make_run: RunMaker) -> None:
    """A page contains nothing of the clock or the machine."""
    folder = make_run()
    assert page_of(folder)[0] == page_of(folder)[0]


def test_the_policy_allows_this_script_and_no_request(make_run: RunMaker) -> None:
    """The digests of the policy are those of the one script and the one style of the page."""
    html, _ = page_of(make_run())
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy
    for tag in ("script", "style"):
        (inner,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy[1]
    assert policy[1].startswith("default-src 'none'; ")
    assert "unsafe" not in policy[1]
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", html)


def test_the_script_builds_no_markup() -> None:
    """The page's script neither parses markup nor evaluates text, and fits in its element."""
    script = script_text()
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacent",
        "document.write",
        "eval(",
        "Function(",
    ):
        assert word not in script
    assert "</" not in script
    assert "<!--" not in script
    assert len(set(SCRIPTS)) == len(SCRIPTS)


@given(st.text() | st.lists(st.text()))
def test_json_in_the_page_ends_no_element(value: Any) -> None:
    """Escaped text reads back as itself and contains no markup."""
    escaped = json_for_html(value)
    assert json.loads(escaped) == value
    assert not set(escaped) & set("<>&\u2028\u2029")


@given(st.text(st.characters(exclude_categories=())))
def test_packed_texts_come_back(text: str) -> None:
    """Any text survives the packing, lone surrogates too."""
    import gzip

    data = json.loads(packed({"text": text}))["data"]
    assert json.loads(gzip.decompress(base64.b64decode(data))) == {"text": text}


@given(st.text(st.characters(exclude_categories=())))
def test_shown_text_can_be_written_and_read(text: str) -> None:
    """Shown text is Unicode that acts on nothing, and no markup."""
    assert not re.search("[\u202a-\u202e\u2066-\u2069\ud800-\udfff\x00-\x08]", shown(text))
    shown_html(text).encode("utf-8")
    assert not set(shown_html(text)) & set("<>\"'")


def test_links_to_turns_are_plain_and_short() -> None:
    """Any conversation id gives a link of plain characters; long ones are told apart."""
    assert anchor_of(("moving-city", 3)) == "turn/moving-city/3"
    assert anchor_of(("a b/'\"><", 0)) == "turn/a%20b%2F%27%22%3E%3C/0"
    anchor_of(("\ud800", 0)).encode("ascii")
    long = [anchor_of(("x" * 5000 + end, 0)) for end in "ab"]
    assert len(set(long)) == 2
    assert max(map(len, long)) < 80


def test_a_call_shows_what_was_wrong_and_what_was_mended(
    make_run: RunMaker, data_of: DataOf
) -> None:
    """Unreadable answers are counted, and notes stand with their call."""
    calls = (
        {"is_unreadable": True, "error": "InvalidAnswer: no object"},
        {"repair": 1, "notes": "scores on a scale of 10"},
    )
    data = data_of(page_of(make_run(turns=[{"calls": calls}]))[0])
    (turn,) = data["runs"][0]["turns"]
    assert (turn["sums"]["unreadable"], turn["sums"]["repairs"]) == (1, 1)
    place = {name: at for at, name in enumerate(data["call_columns"])}
    shown = [[call[place[name]] for name in ("is_unreadable", "notes")] for call in turn["calls"]]
    assert shown == [[True, ""], [False, "scores on a scale of 10"]]


def test_the_page_begins_with_what_degraded(make_run: RunMaker) -> None:
    """Before the tiles, with the role and where it is."""
    down = {"node": "lats_search", "role": "judge", "endpoint": "localhost-8001", "reason": "down"}
    html, _ = page_of(make_run(turns=[{"degraded": [down]}, {}]))
    line = "1 of 2 turns degraded: judge at localhost-8001 is down (1)"
    assert html.index(line) < html.index('<dl class="tiles">')


def test_an_older_page_is_replaced(make_run: RunMaker, tmp_path: Path) -> None:
    """A second page takes the place of the first, and no other file is left."""
    file = tmp_path / "out" / "page.html"
    file.parent.mkdir()
    first = write_page(make_run("small", turns=[{}]), file)
    second = write_page(make_run("large", turns=[{}] * 3), file)
    assert (first.turns, second.turns) == (1, 3)
    assert file.stat().st_size == second.size_bytes
    assert list(file.parent.iterdir()) == [file]


def test_a_failed_page_leaves_the_old_one(make_run: RunMaker, tmp_path: Path) -> None:
    """A page that cannot be made leaves the older one."""
    file = tmp_path / "page.html"
    write_page(make_run("good"), file)
    before = file.read_bytes()
    with pytest.raises(FormatError, match="no such folder"):
        write_page(tmp_path / "nowhere", file)
    with pytest.raises(FormatError, match="manifest"):
        write_page(tmp_path, file)
    with pytest.raises(FormatError, match="no such folder"):
        write_page(tmp_path / "good", file, against=tmp_path / "nowhere")
    assert file.read_bytes() == before


def test_other_files_are_never_overwritten(make_run: RunMaker, tmp_path: Path) -> None:
    """A run's own files, a folder, a device and a missing folder are errors that say so."""
    run = make_run()
    before = (run / "turns.jsonl").read_bytes()
    with pytest.raises(ConfigError, match="is no page; name another file"):
        write_page(run, run / "turns.jsonl")
    with pytest.raises(ConfigError, match="is a folder; name a file in it"):
        write_page(run, tmp_path)
    with pytest.raises(ConfigError, match="no plain file"):
        write_page(run, Path("/dev/null"))
    with pytest.raises(ConfigError, match="there is no folder"):
        write_page(run, tmp_path / "missing" / "page.html")
    assert (run / "turns.jsonl").read_bytes() == before


def test_a_run_that_was_killed_gives_a_page_and_a_notice(
    make_run: RunMaker, tmp_path: Path
) -> None:
    """A cut last line and the calls of an unfinished turn are left out and said."""
    run = make_run(turns=[{}, {}])
    turns = run / "turns.jsonl"
    turns.write_bytes(turns.read_bytes()[:-20])
    written = write_page(run, tmp_path / "page.html")
    assert written.turns == 1
    assert len(written.notices) == 2
    assert "the last line is cut off" in written.file.read_text(encoding="utf-8")
