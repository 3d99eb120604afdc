"""Output of the gate: the node, turn and count, and since which knob or prompt."""

import re
from datetime import date
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from callwise.calls.errors import ConfigError, FormatError
from callwise.testing.gate import (
    Baseline,
    GateException,
    Gates,
    Quarantine,
    compare,
    compare_live,
    finding_lines,
    verdict,
)
from callwise.testing.gate.comparison_forms import MAX_ROWS, comparison_markdown
from callwise.testing.gate.presenter import renew
from callwise.testing.gate.run_figures import baseline_of_rows
from tests.callwise.testing.gate.conftest import KNOBS, rows_of, toy

SIX = {**KNOBS, "search": {"rollouts": 6, "rubrics": ["overall"]}}


def test_a_finding_names_node_count_turn_and_knob() -> None:
    """The sentence that the README promises."""
    drift = compare(toy(), toy({("one", 1): (1, 6)}, knobs=SIX))
    assert finding_lines(drift) == [
        "lats_search expand 4 -> 6 (+50 %), turn 1 of one, since knob search.rollouts 4 -> 6"
    ]
    assert verdict(drift, "b.json") == (
        "failed: 4.3 -> 5.0 calls per turn over 3 turns, 1 figure got worse in 1 turn, "
        "against b.json"
    )


def test_equal_findings_are_one_line() -> None:
    """A knob shows in every turn: the first is named, the others are counted."""
    drift = compare(toy(), toy({("one", 0): (1, 6), ("one", 1): (1, 6)}, knobs=SIX))
    (line,) = finding_lines(drift)
    assert line.startswith(
        "lats_search expand 4 -> 6 (+50 %), turn 0 of one and 1 more turn, since"
    )


def test_a_prompt_that_changed_is_named() -> None:
    """Prompts that changed, came or went are causes; so are knobs next to them."""
    now = toy({("one", 0): (2, 4)}, knobs=SIX, prompts={"plan": "1" * 16, "new": "2" * 16})
    (line,) = finding_lines(compare(toy(), now))
    assert line.endswith(
        ", since knob search.rollouts 4 -> 6 and prompt new changed and prompt plan changed"
    )


def test_many_causes_are_counted_and_listed_once() -> None:
    """Past three, a finding's line counts them and one line below names them."""
    before, now = ({f"knob{n}": value for n in range(20)} for value in (1, 2))
    drift = compare(toy(knobs=before), toy({("one", 0): (2, 4)}, knobs=now))
    line, causes = finding_lines(drift)
    assert line.endswith("since 20 knobs and prompts changed")
    assert causes.startswith("changed: knob knob0 1 -> 2, knob knob1 1 -> 2")
    assert causes.endswith("and 8 more")


def test_without_a_cause_it_names_what_is_left() -> None:
    """No knob and no prompt: the code or the answers. Unknown prompts are not unchanged ones."""
    more = {("one", 0): (2, 4)}
    assert finding_lines(compare(toy(), toy(more)))[-1] == (
        "no knob and no prompt changed: the code or the model's answers did"
    )
    unknown = finding_lines(compare(toy(), toy(more, prompts=None)))[-1]
    assert unknown.startswith("no knob changed, and the prompts are not recorded: a prompt, the")
    others = finding_lines(compare(toy(conversations=None), toy(more)))[-1]
    assert others.endswith("the code, the model's answers or the conversations did")


def test_a_knob_that_is_not_recorded_has_its_default() -> None:
    """A knob that only one side records is shown as default on the other."""
    drift = compare(toy(), toy({("one", 0): (2, 4)}, knobs={**KNOBS, "extra": None}))
    assert finding_lines(drift)[0].endswith("since knob extra default -> null")


def test_a_role_is_shown_where_several_share_node_and_purpose() -> None:
    """One node asking one thing of two models: the line says of which."""
    rows = rows_of()
    moved = [{**row, "role": "fast"} if row["purpose"] == "expand" else row for row in rows]
    drift = compare(*(baseline_of_rows(each, app="toy", knobs=KNOBS) for each in (rows, moved)))
    assert finding_lines(drift)[0].startswith("lats_search expand by fast 0 -> 4 (new), turn 0")


def test_a_saving_is_in_the_verdict() -> None:
    """A drop passes, and the way to keep it is named."""
    drift = compare(toy(), toy({("one", 0): (0, 4)}))
    line = verdict(drift, "b.json")
    assert line.startswith("ok: 4.0 calls per turn over 3 turns, 4.3 in b.json; 1 figure fell")
    assert "--update" in line
    assert finding_lines(drift) == [
        "detection detect 1 -> 0 (-100 %), turn 0 of one (better: --update keeps it)"
    ]


def test_a_simulated_run_is_labelled() -> None:
    """A simulated run's verdict says that it is one."""
    run = toy(row={"is_simulated": True})
    assert "(simulated)" in verdict(compare(run, run), "b.json")
    assert verdict(compare(toy(), toy()), "b.json") == (
        "ok: 4.3 calls per turn over 3 turns, as in b.json"
    )


def test_only_so_many_are_shown() -> None:
    """The largest are shown, the rest is counted."""
    counts = {("one", turn): (1, 1) for turn in range(12)}
    more = {("one", turn): (1, 2 + turn) for turn in range(12)}
    lines = finding_lines(compare(toy(counts), toy(more)), max_shown=3)
    assert [line.split(",")[0] for line in lines[:3]] == [
        f"lats_search expand 1 -> {now} (+{now - 1}00 %)" for now in (13, 12, 11)
    ]
    assert lines[3] == "and 9 more like these, in 9 turns"


def test_allowed_and_quarantined_rises_are_shown() -> None:
    """What does not fail is shown, with why."""
    case = GateException(turn=0, reason="ties", owner="sam", until="2026-12-31")
    now = toy({("one", 0): (1, 9), ("one", 1): (1, 5)})
    quarantine = Quarantine([case], today=date(2026, 1, 1))
    drift = compare(toy(), now, Gates(calls=0.25), quarantine=quarantine)
    assert finding_lines(drift) == [
        "lats_search expand 4 -> 9 (+125 %), turn 0 of one (in quarantine until 2026-12-31, sam)",
        "lats_search expand 4 -> 5 (+25 %), turn 1 of one (allowed)",
    ]
    assert verdict(drift, "b").startswith(
        "ok: 6.3 calls per turn over 3 turns, 4.3 in b; 1 figure "
    )


def test_names_stay_one_line_of_bounded_length() -> None:
    """Ids and knob values are untrusted: no control character, no flood."""
    hostile = "a\nok: \x1b[2J\u202e" + "x" * 5000
    before, now = (toy({(hostile, 0): (1, count)}, knobs={hostile: count}) for count in (1, 3))
    drift = compare(before, now)
    for line in (*finding_lines(drift), verdict(drift, "b.json")):
        assert line.isprintable()
        assert len(line) < 600


HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "a | b | c",
    "`` ` ``` code",
    "[click](https://evil.example)",
    "![x](https://evil.example/x.png)",
    "@everyone #1 https://evil.example",
    "a\n\n# heading\n\n| a | b |\n|---|---|",
    "back\\slash \\| pipe \\` tick",
    "</details><!-- -->",
    "\u202eright to left\x1b[31m",
    "",
    "   ",
)


TAGS = {"h3", "p", "table", "thead", "tbody", "tr", "th", "td", "code", "strong", "ul", "li"}
"""All that a comment is made of."""


SPAN = re.compile(r"`[^`\n]*`")


def _assert_is_harmless(text: str) -> None:
    """Assert that nothing untrusted is outside of a code span, and that tables keep their form."""
    heads = 0
    for line in text.splitlines():
        assert line.count("`") % 2 == 0, line
        outside = SPAN.sub("", line)
        for mark in ("<", ">", "[", "]", "@", "http", "\\", "alert", "\u202e", "\x1b"):
            assert mark not in outside, line
        if line.startswith("|"):
            if set(line) <= set("|-: "):
                heads = line.count("|")
            elif heads:
                assert line.count("|") == heads, line
        else:
            heads = 0
        if line.startswith("#"):
            assert line.startswith("### Calls per turn: ")
    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    assert set(re.findall(r"<([a-zA-Z!][^\s>]*)", rendered)) <= TAGS


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_in_its_cell(text: str) -> None:
    """As conversation, node, knob, value, prompt, owner, reason and file."""
    row = {"node": f"{text} "}
    before = toy({(text, 0): (1, 2), (text, 1): (1, 1)}, row=row, knobs={text: text}, prompts={})
    now = toy(
        {(text, 0): (1, 4), (text, 1): (1, 3)}, row=row, knobs={text: 1}, prompts={text: text}
    )
    words = {"reason": f"because {text}", "owner": f"sam {text}"}
    cases = [
        GateException(turn=0, until="2026-12-31", **words),
        GateException(conversation=f"x{text}", until="2020-12-31", **words),
    ]
    quarantine = Quarantine(cases, today=date(2026, 1, 1))
    drift = compare(before, now, Gates(rounds=0.0, tokens=0.0), quarantine=quarantine)
    assert drift.failures
    assert drift.excepted
    assert drift.expired
    _assert_is_harmless(comparison_markdown(drift, f"{text}.json"))
    _assert_is_harmless(comparison_markdown(compare_live(before, now, alpha=0.25), text))


def test_the_table_has_what_the_lines_have() -> None:
    """Sums of the run, each finding with its place and change, and what changed."""
    knobs = {**KNOBS, "search": {"rollouts": 6, "rubrics": ["overall"]}}
    text = comparison_markdown(compare(toy(), toy({("one", 1): (1, 6)}, knobs=knobs)), "b.json")
    assert text.startswith("### Calls per turn: **failed**\n\n3 turns against `b.json`.\n")
    assert "| calls per turn | 4.3 | 5.0 |" in text
    assert "| `lats_search expand` | turn 1 of `one` | 4 | 6 | +50 % | **worse** |" in text
    assert "- knob `search.rollouts`: `4` → `6`" in text


def test_a_pass_is_short() -> None:
    """Nothing to say but the sums; simulated is shown."""
    run = toy(row={"is_simulated": True})
    text = comparison_markdown(compare(run, run), "b.json")
    assert text.startswith("### Calls per turn: ok\n")
    assert "simulated" in text
    assert text.count("\n|") == 6


def test_a_comment_has_an_end() -> None:
    """The rest of many findings is counted: a forge refuses a comment that is too long."""
    counts = {(f"c{number}", 0): (1, 1) for number in range(70)}
    more = {key: (1, 2 + place) for place, key in enumerate(counts)}
    text = comparison_markdown(compare(toy(counts), toy(more)), "b.json")
    assert text.count("**worse**") == MAX_ROWS
    assert "40 more rows not shown." in text
    assert len(text) < 20_000


def test_a_live_run_has_its_test() -> None:
    """Means, p and rate, and where it rose."""
    before, now = (toy({(f"s{n}", 0): (1, count) for n in range(9)}) for count in (4, 6))
    text = comparison_markdown(compare_live(before, now), "b.json")
    assert "| p, one-sided | 0.00195 |" in text
    assert "| `lats_search expand` | +1.500 |" in text
    assert "No knob and no prompt changed" in text


def test_a_first_baseline_is_made(tmp_path: Path) -> None:
    """A file that was not there is shown to be made; the same again is unchanged."""
    path = tmp_path / "b.json"
    assert renew(path, toy(), name="b").verdict == "made: b, 4.3 calls per turn over 3 turns"
    again = renew(path, toy(), name="b")
    assert (again.has_changed, again.verdict.split(":")[0]) == (False, "unchanged")


def test_changes_are_listed(tmp_path: Path) -> None:
    """Counts up and down, knobs and prompts."""
    path = tmp_path / "b.json"
    toy().write(path)
    now = toy({("one", 0): (2, 3)}, knobs={**KNOBS, "seed": 1}, prompts={"plan": "1" * 16})
    found = renew(path, now, name="b")
    assert found.lines == [
        "detection detect 1 -> 2 (+100 %) in 1 turn",
        "lats_search expand 4 -> 3 (-25 %) in 1 turn",
        "knob seed default -> 1",
        "prompt plan changed",
    ]
    assert Baseline.read(path) == now


def test_other_figures_may_change_alone(tmp_path: Path) -> None:
    """More tokens and the same calls: said as that."""
    path = tmp_path / "b.json"
    toy().write(path)
    found = renew(path, toy(row={"input_tokens": 7}))
    assert found.has_changed
    assert found.lines == ["calls are as before; other figures or digests changed"]


@pytest.mark.parametrize(("fields", "said"), [({"preset": "other"}, "preset"), ({"app": "x"}, "x")])
def test_a_baseline_of_something_else_is_replaced_and_reported(
    tmp_path: Path, fields: dict[str, str], said: str
) -> None:
    """Another preset or app is meant, since it was asked for; it does not pass in silence."""
    path = tmp_path / "b.json"
    toy().write(path)
    (line,) = renew(path, toy(**fields)).lines
    assert said in line


def test_a_torn_baseline_is_made_again(tmp_path: Path) -> None:
    """One that cannot be read any more is replaced, and that is shown; a stranger is not."""
    path = tmp_path / "b.json"
    path.write_text(toy().text()[:-40])
    (line,) = renew(path, toy()).lines
    assert "cut off or edited" in line
    assert Baseline.read(path) == toy()
    path.write_text("precious")
    with pytest.raises(ConfigError, match="no baseline"):
        renew(path, toy())
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (3, "<<<<<<< HEAD\n"),
        (2, "<<<<<<< ours\r\n"),
        (4, "=======\n"),
        (3, ">>>>>>> branch\n"),
        (2, "||||||| merged common ancestors\n"),
    ],
)
def test_a_merge_that_is_not_finished_is_not_written_over(tmp_path, line, text):
    """One side of it may be the only record of a change; the line of the first marker is named."""
    path = tmp_path / "b.json"
    renew(path, toy())
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_bytes("".join([*lines[: line - 1], text, *lines[line - 1 :]]).encode())
    before = path.read_bytes()
    with pytest.raises(FormatError, match="conflict markers") as caught:
        renew(path, toy())
    assert f":{line}" in str(caught.value)
    with pytest.raises(FormatError, match="conflict markers"):
        Baseline.read(path)
    assert path.read_bytes() == before
