"""What the gate says: which node, turn, count, and since which knob or prompt."""

from datetime import date

from tests.turnwise.testing.gate.conftest import KNOBS, rows_of, toy
from turnwise.testing.gate import (
    Baseline,
    Case,
    Gates,
    Quarantine,
    compare,
    finding_lines,
    put_in_quarantine,
    verdict,
)

SIX = {**KNOBS, "search": {"rollouts": 6, "rubrics": ["overall"]}}


def test_a_finding_names_node_count_turn_and_knob() -> None:
    """The sentence that the README promises."""
    drift = compare(toy(), toy({("one", 1): (1, 6)}, knobs=SIX))
    assert finding_lines(drift) == [
        "lats_search expand 4 -> 6 (+50 %), turn 1 of one, since knob search.rollouts 4 -> 6"
    ]
    assert verdict(drift, "b.json") == (
        "failed: 4.3 -> 5.0 calls a turn over 3 turns, 1 figure got worse in 1 turn, against b.json"
    )


def test_equal_findings_are_one_line() -> None:
    """A knob shows in every turn: the first is named, the others are counted."""
    drift = compare(toy(), toy({("one", 0): (1, 6), ("one", 1): (1, 6)}, knobs=SIX))
    (line,) = finding_lines(drift)
    assert line.startswith(
        "lats_search expand 4 -> 6 (+50 %), turn 0 of one and 1 more turn, since"
    )


def test_a_prompt_that_changed_is_named() -> None:
    """Prompts that changed, came or went are causes; so are knobs beside them."""
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
    assert line.endswith("since 20 knobs changed")
    assert causes.startswith("knobs that changed: knob0 1 -> 2, knob1 1 -> 2")
    assert causes.endswith("and 8 more")


def test_without_a_cause_it_says_what_is_left() -> None:
    """No knob and no prompt: the code or the answers. Unknown prompts are not unchanged ones."""
    more = {("one", 0): (2, 4)}
    assert finding_lines(compare(toy(), toy(more)))[-1] == (
        "no knob and no prompt changed: the code or the model's answers did"
    )
    unknown = finding_lines(compare(toy(), toy(more, prompts=None)))[-1]
    assert unknown.startswith("no knob changed, and the prompts are not recorded: a prompt, the")
    others = finding_lines(compare(toy(conversations=None), toy(more)))[-1]
    assert others.endswith("the code, the model's answers or the conversations did")


def test_a_knob_that_is_new_was_unset() -> None:
    """A knob that one side does not have is shown as unset there."""
    drift = compare(toy(), toy({("one", 0): (2, 4)}, knobs={**KNOBS, "extra": None}))
    assert finding_lines(drift)[0].endswith("since knob extra unset -> null")


def test_a_role_is_said_where_it_tells_two_apart() -> None:
    """One node asking one thing of two models: the line says of which."""
    rows = rows_of()
    moved = [{**row, "role": "fast"} if row["purpose"] == "expand" else row for row in rows]
    drift = compare(*(Baseline.of_rows(each, app="toy", knobs=KNOBS) for each in (rows, moved)))
    assert finding_lines(drift)[0].startswith("lats_search expand by fast 0 -> 4 (new), turn 0")


def test_a_saving_is_said_in_the_verdict() -> None:
    """A drop passes, and the way to keep it is named."""
    drift = compare(toy(), toy({("one", 0): (0, 4)}))
    line = verdict(drift, "b.json")
    assert line.startswith("ok: 4.0 calls a turn over 3 turns, 4.3 in b.json; 1 figure fell")
    assert "--update" in line
    assert finding_lines(drift) == [
        "detection detect 1 -> 0 (-100 %), turn 0 of one (better: --update keeps it)"
    ]


def test_simulated_is_said() -> None:
    """A simulated run's verdict says that it is one."""
    run = toy(row={"is_simulated": True})
    assert "(simulated)" in verdict(compare(run, run), "b.json")
    assert verdict(compare(toy(), toy()), "b.json") == (
        "ok: 4.3 calls a turn over 3 turns, as in b.json"
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


def test_allowed_and_quarantined_rises_are_said() -> None:
    """What does not fail is shown, with why."""
    case = Case(turn=0, reason="ties", owner="sam", until="2026-12-31")
    drift = compare(toy(), toy({("one", 0): (1, 9), ("one", 1): (1, 5)}), Gates(calls=0.25))
    drift = put_in_quarantine(drift, Quarantine([case], today=date(2026, 1, 1)))
    assert finding_lines(drift) == [
        "lats_search expand 4 -> 9 (+125 %), turn 0 of one (in quarantine until 2026-12-31, sam)",
        "lats_search expand 4 -> 5 (+25 %), turn 1 of one (allowed)",
    ]
    assert verdict(drift, "b").startswith("ok: 6.3 calls a turn over 3 turns, 4.3 in b; 1 figure ")


def test_names_stay_one_line_of_bounded_length() -> None:
    """Ids and knob values are untrusted: no control character, no flood."""
    hostile = "a\nok: \x1b[2J\u202e" + "x" * 5000
    before, now = (toy({(hostile, 0): (1, count)}, knobs={hostile: count}) for count in (1, 3))
    drift = compare(before, now)
    for line in (*finding_lines(drift), verdict(drift, "b.json")):
        assert line.isprintable()
        assert len(line) < 600
