"""People's labels from a CSV file."""

import math
from pathlib import Path
from statistics import correlation
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callwise.calls import FormatError
from callwise.simulator import SimulatedClient, SimulatedSettings, true_quality
from callwise.tuning.judge.items import ReplyItem
from callwise.tuning.judge.labels import (
    agreement_of,
    read_labels,
    simulated_truth,
)
from callwise.tuning.judge.methods import Pairwise, Pointwise
from callwise.tuning.judge.reliability import reliability_of
from callwise.tuning.judge.scores import mean_values, scale_of
from callwise.tuning.quality_unit import TRUTH_SCALE
from callwise.tuning.row import TurnRow, reply_id

TEXT = 'Hm, "really"?\nTell me.'


@pytest.fixture
def rows(row_of: Any) -> list[TurnRow]:
    """Two settings on two turns; on turn 1 both give the same reply."""
    odd = reply_id(TEXT)
    return [
        row_of("frugal", "a" * 16, 0),
        row_of("classic", "b" * 16, 0),
        row_of("frugal", odd, 1),
        row_of("classic", odd, 1),
        row_of("frugal", "c" * 16, 0, conversation="=1+1"),
    ]


def _write(folder: Path, text: str, name: str = "labels.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_labels_join_by_reply_id(tmp_path: Path, rows: list[TurnRow]) -> None:
    """One score a reply and rater, under the file's name, on the file's scale."""
    path = _write(
        tmp_path,
        "conversation,turn,reply_id,value,rater,scale,note\n"
        f"talk,0,{'a' * 16},4,bo,1-5,good\n"
        f"talk,0,{'a' * 16},5,al,1-5,\n"
        f"talk,0,{'B' * 16},2,al,1-5,=HYPERLINK()\n"
        f"=1+1,0,{'c' * 16},3,al,,\n",
    )
    labels = read_labels(path, rows)
    assert labels.by == "human:labels.csv"
    assert [(s.conversation, s.reply_id[0], s.repeat, s.value) for s in labels.scores] == [
        ("=1+1", "c", 0, 3.0),
        ("talk", "a", 0, 5.0),
        ("talk", "a", 1, 4.0),
        ("talk", "b", 0, 2.0),
    ]
    assert {(s.scale_low, s.scale_high, s.kind) for s in labels.scores} == {(1.0, 5.0, "label")}
    assert labels.agreement is not None
    assert (labels.agreement.raters, labels.agreement.shared_replies) == (2, 1)
    assert (labels.unknown_turns, labels.unknown_replies) == (0, 0)
    assert len(labels.notices) == 1


def test_labels_join_by_setting(tmp_path: Path, rows: list[TurnRow]) -> None:
    """Two settings with one reply are one reply: one rater's labels of both are averaged."""
    path = _write(
        tmp_path,
        "setting;turn;conversation;value;rater\r\n"
        "frugal;1;talk;4;al\r\nclassic;1;talk;2;al\r\nfrugal;0;talk;1;al\r\n",
    )
    labels = read_labels(path, rows, scale=(1, 5))
    assert [(score.turn, score.value) for score in labels.scores] == [(0, 1.0), (1, 3.0)]
    assert labels.agreement is None


@pytest.mark.parametrize("text", [TEXT, TEXT.replace("\n", "\r\n"), f"  {TEXT}\n"])
def test_labels_join_by_text(tmp_path: Path, rows: list[TurnRow], text: str) -> None:
    """Also after a spreadsheet has changed its line ends and edges."""
    quoted = text.replace('"', '""')
    path = _write(tmp_path, f'\ufeffconversation,turn,reply,value\ntalk,1,"{quoted}",3\n')
    labels = read_labels(path, rows, scale=(1, 5))
    assert [score.reply_id for score in labels.scores] == [reply_id(TEXT)]


def test_unnamed_raters_are_several(tmp_path: Path, rows: list[TurnRow]) -> None:
    """Two labels of one reply without a rater are two people's."""
    path = _write(
        tmp_path,
        f"conversation,turn,reply_id,value\ntalk,0,{'a' * 16},4\ntalk,0,{'a' * 16},2",
    )
    labels = read_labels(path, rows)
    assert [(score.repeat, score.value) for score in labels.scores] == [(0, 4.0), (1, 2.0)]
    assert labels.agreement is not None
    assert labels.agreement.mean_distance == 2.0
    assert "states no scale" in labels.notices[0]
    assert (labels.scores[0].scale_low, labels.scores[0].scale_high) == (2.0, 4.0)


def test_what_the_sweep_does_not_have_is_counted_and_named(
    tmp_path: Path, rows: list[TurnRow]
) -> None:
    """Unknown turns apart from unknown replies of known ones."""
    path = _write(
        tmp_path,
        f"conversation,turn,reply_id,value\ntalk,7,{'a' * 16},4\nchat,0,{'a' * 16},4\n"
        f"talk,0,{'d' * 16},2\n",
    )
    labels = read_labels(path, rows, scale=(1, 5))
    assert (labels.scores, labels.unknown_turns, labels.unknown_replies) == ((), 2, 1)
    notices = " ".join(labels.notices)
    assert "2 rows are of turns" in notices
    assert "1 rows are of replies" in notices
    assert "no row is of a reply" in notices


HEAD = "conversation,turn,reply_id,value,scale\n"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", None, "is empty"),
        ("conversation,turn,value\ntalk,0,3\n", 1, "reply_id, reply"),
        ("conversation,reply_id,value\n", 1, "'turn' is missing"),
        ("conversation,turn,turn,reply_id,value\n", 1, "occurs twice"),
        (f"{HEAD}talk,0,{'a' * 16},=1+1,\n", 2, "expected a number"),
        (f"{HEAD}\ntalk,0,{'a' * 16},,\n", 3, "expected a number"),
        (f"{HEAD}talk,0,{'a' * 16},inf,\n", 2, "expected a number"),
        (f"{HEAD}talk,first,{'a' * 16},3,\n", 2, "whole number"),
        (f"{HEAD}talk,0.5,{'a' * 16},3,\n", 2, "whole number"),
        (f"{HEAD}talk,0,{'a' * 16}\n", 2, "expected 5 cells"),
        (f"{HEAD}talk,0,{'a' * 16},6,1-5\n", 2, "off the scale"),
        (f"{HEAD}talk,0,{'a' * 16},3,five\n", 2, "scale: expected"),
        (f"{HEAD}talk,0,{'a' * 16},3,5-1\n", 2, "scale: expected"),
        (f"{HEAD}talk,0,{'a' * 16},3,1-5\ntalk,0,{'b' * 16},3,1-7\n", 3, "differs from 1-5"),
        (f'{HEAD}talk,0,"{"a" * 16},3,1-5\n', 2, "row of CSV"),
    ],
)
def test_a_bad_cell_is_named_by_its_line(
    tmp_path: Path, rows: list[TurnRow], text: str, line: int | None, words: str
) -> None:
    """And nothing in a cell is ever run."""
    with pytest.raises(FormatError, match=words) as caught:
        read_labels(_write(tmp_path, text), rows)
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("scale", "expected"),
    [("-2..2", (-2, 2)), ("0-1", (0, 1)), (" 1 – 7 ", (1, 7)), ("1:3", (1, 3))],
)
def test_scales_may_be_written_as_people_do(
    tmp_path: Path, rows: list[TurnRow], scale: str, expected: tuple[float, float]
) -> None:
    """With a dash, dots or a colon."""
    labels = read_labels(_write(tmp_path, f"{HEAD}talk,0,{'a' * 16},1,{scale}\n"), rows)
    assert (labels.scores[0].scale_low, labels.scores[0].scale_high) == expected


def test_a_file_that_is_no_text_is_named(tmp_path: Path, rows: list[TurnRow]) -> None:
    """Missing, a folder, or a spreadsheet's own format."""
    (tmp_path / "labels.xlsx").write_bytes(b"PK\x03\x04\n\xff\xfe")
    for name in ("gone.csv", ".", "labels.xlsx"):
        with pytest.raises(FormatError):
            read_labels(tmp_path / name, rows)


NAN = math.nan
# The worked example of Krippendorff (2011): four coders, twelve units, ratings missing.
EXAMPLE = {
    "A": (1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN),
    "B": (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3),
    "C": (NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN),
    "D": (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN),
}

RATINGS = st.dictionaries(
    st.tuples(st.just("talk"), st.integers(0, 9), st.just("a")),
    st.dictionaries(st.sampled_from("abc"), st.integers(1, 5).map(float), max_size=3),
    max_size=8,
)


def test_alpha_is_that_of_the_published_example() -> None:
    """Interval data with missing ratings: .849."""
    ratings = {
        ("talk", unit, "a"): {
            coder: float(values[unit])
            for coder, values in EXAMPLE.items()
            if not math.isnan(values[unit])
        }
        for unit in range(12)
    }
    found = agreement_of(ratings)
    assert found is not None
    assert found.alpha == pytest.approx(0.849, abs=0.0005)
    assert (found.raters, found.shared_replies) == (4, 11)
    assert "0.849" in found.sentence()


def test_without_two_ratings_of_one_reply_there_is_nothing_to_agree_on() -> None:
    """And where all are equal, nothing varies."""
    assert agreement_of({}) is None
    assert agreement_of({("talk", 0, "a"): {"x": 3.0}, ("talk", 1, "a"): {"y": 3.0}}) is None
    equal = agreement_of({("talk", 0, "a"): {"x": 0.1, "y": 0.1}})
    assert equal is not None
    assert (equal.alpha, equal.equal_share, equal.mean_distance) == (None, 1.0, 0.0)
    assert "not defined" in equal.sentence()


@settings(deadline=None)
@given(RATINGS, st.floats(0.5, 3), st.floats(-5, 5))
def test_alpha_knows_no_unit(
    ratings: dict[tuple[str, int, str], dict[str, float]], factor: float, offset: float
) -> None:
    """Another scale for the same ratings agrees as much; 1 is the most."""
    moved = {
        key: {rater: offset + factor * value for rater, value in own.items()}
        for key, own in ratings.items()
    }
    one, two = agreement_of(ratings), agreement_of(moved)
    assert (one is None) == (two is None)
    if one is not None and two is not None and one.alpha is not None:
        assert two.alpha == pytest.approx(one.alpha, abs=1e-6)
        assert one.alpha <= 1 + 1e-9


def test_the_truth_of_a_simulated_reply_is_read_off_its_text() -> None:
    """In within-prompt SD, by the seed of the model that gave it; once a reply."""
    items = [ReplyItem("talk", 0, "Hi.", text) for text in ("I hear you.", "Hm.", "Hm.")]
    scores = simulated_truth(items, seed=3)
    assert len(scores) == 2
    assert {score.by for score in scores} == {"truth:simulated"}
    assert {score.value for score in scores} == {
        true_quality(text, seed=3) for text in ("I hear you.", "Hm.")
    }
    assert scale_of(scores) == TRUTH_SCALE
    assert TRUTH_SCALE == (-2.0, 2.0)


def _simulated_replies(count: int) -> list[ReplyItem]:
    """Return replies of the simulated model, four to a turn."""
    model = SimulatedClient(SimulatedSettings()).model
    items = []
    for number in range(count):
        turn = number // 4
        text = f"What do you make of day {turn} in Lyon?"
        body = {"model": "m", "messages": [{"role": "user", "content": text}]}
        items.append(ReplyItem("talk", turn, text, model.answer(body, number % 4).text))
    return items


@pytest.mark.slow
async def test_a_simulated_referee_sees_quality_dimly(opened: Any) -> None:
    """Its marks are valid, vary, and go with the hidden quality; more passes see more."""
    items = _simulated_replies(400)
    truth = mean_values(simulated_truth(items))
    async with opened(SimulatedClient()) as referee:
        judged = await referee.judge(items, Pointwise(repeats=4))
    assert judged.unscored == ()
    assert judged.is_simulated
    once = mean_values(score for score in judged.scores if score.repeat == 0)
    often = mean_values(judged.scores)
    keys = sorted(often)
    true = [truth[key] for key in keys]
    seen_once = correlation([once[key] for key in keys], true)
    seen_often = correlation([often[key] for key in keys], true)
    assert 0.2 < seen_once < seen_often < 0.6
    assert all(1 <= score.value <= 10 for score in judged.scores)


async def test_a_simulated_comparison_favours_the_better_and_the_first(opened: Any) -> None:
    """Against one reference of each turn; some verdicts change with the order."""
    items = _simulated_replies(400)
    truth = mean_values(simulated_truth(items))
    references = {(item.conversation, item.turn): item for item in items}
    texts = {where: item.reply for where, item in references.items()}
    async with opened(SimulatedClient()) as referee:
        judged = await referee.judge(items, Pairwise(texts))
    found = mean_values(score for score in judged.scores if score.order)
    keys = sorted(found)
    gains = [truth[key] - truth[references[key[0], key[1]].key] for key in keys]
    assert correlation([found[key] for key in keys], gains) > 0.15
    consistency = reliability_of(judged.scores).order_consistency
    assert consistency is not None
    assert 0.4 < consistency.mean < 0.9
    first = [score.value for score in judged.scores if score.order == "first"]
    second = [score.value for score in judged.scores if score.order == "second"]
    assert sum(first) > sum(second)
