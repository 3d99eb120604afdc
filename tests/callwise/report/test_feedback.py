"""Feedback on a run, and its export: links, all or none, shapes, untrusted text."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import callwise as cw
from callwise.calls.errors import ConfigError, FormatError
from callwise.report import RunRecord, load_run
from callwise.report.feedback import add_feedback, candidates_of, feedback_of_lines, read_feedback
from callwise.report.training_export import export_training
from callwise.tuning.judge.labels import read_labels
from callwise.tuning.row import reply_id

TALKS = [
    {"conversation_id": "a", "turn": turn, "user_id": "u", "user_text": f"Hi number {turn}."}
    for turn in range(2)
]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two turns with its recording."""
    folder = tmp_path_factory.mktemp("feedback") / "run"
    cw.replay(TALKS, out=folder, preset="balanced")
    return folder


@pytest.fixture
def run(recorded: Path) -> RunRecord:
    """The run, without feedback."""
    (recorded / "feedback.jsonl").unlink(missing_ok=True)
    return load_run(recorded, keep_raw=True)


def _examples(run: RunRecord, form: Any, **options: Any) -> list[Any]:
    found = export_training(run, form, **options)
    lines = found.data.decode().splitlines()
    assert found.count == len(lines)
    return [json.loads(line) for line in lines]


def test_feedback_is_kept_with_its_turn_its_call_and_its_reply(run: RunRecord) -> None:
    """What is added is read back; the reply's digest is that of sweeps."""
    kept = run.feedback("a", 1, rating=4, by="ana", time="2026-01-01T10:00:00+00:00")
    assert kept.reply == reply_id(run.turns[1].reply)
    call = run.raw_rows[-1]
    of_call = run.feedback("a", 1, call=call["sequence"], correction="{}")
    assert of_call.key == call["key"]
    assert read_feedback(run) == ([kept, of_call], [])
    text = (run.folder / "feedback.jsonl").read_text()
    assert json.loads(text.splitlines()[0])["rating"] == 4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"conversation": "b", "turn": 0, "rating": 3}, "no turn 0 of 'b': it has 1 other"),
        ({"conversation": "a", "turn": 7, "rating": 3}, "it has the turns 0 to 1"),
        ({"conversation": "a", "turn": 0, "call": 999, "rating": 3}, "which has calls 1 to 8"),
        ({"conversation": "a", "turn": 0, "call": 9, "rating": 3}, "which has calls 1 to 8"),
        ({"conversation": "a", "turn": 0, "call": 1, "key": "0" * 64, "rating": 3}, "another run"),
        ({"conversation": "a", "turn": 0, "preferred": "none such"}, "no candidate 'none such'"),
        ({"conversation": "a", "turn": 0, "rating": 6}, "rating: .*less than or equal to 5"),
        ({"conversation": "a", "turn": 0, "stars": 5}, "stars: Extra inputs"),
        ({"conversation": "a", "turn": 0, "rating": 5, "time": "noon"}, "'noon' is no ISO 8601"),
        ({"conversation": "a", "turn": 0}, "no feedback in it"),
        ({"conversation": "a", "turn": 0, "call": 1, "preferred": "x"}, "leave out `call`"),
        ({"conversation": "a", "turn": 0, "correction": ""}, "correction: .*at least 1"),
        ({"conversation": "a", "turn": 0, "correction": " \n"}, "correction: the text is empty"),
        ({"conversation": "a", "turn": 0, "rating": True}, "rating: true is no number"),
        ({"conversation": "a", "turn": 0, "rating": 1, "thumb": "up"}, "give one of them"),
        ({"conversation": "a", "turn": 0, "reply": "0" * 16, "rating": 3}, "another run"),
        (["a"], "record 2 cannot be used: record: .*dictionary"),
    ],
)
def test_feedback_that_is_about_nothing_is_refused_and_nothing_is_kept(
    run: RunRecord, given: Any, message: str
) -> None:
    """All records of a file are added or none; the error names the record and the way out."""
    good = {"conversation": "a", "turn": 0, "thumb": "up"}
    with pytest.raises(ConfigError, match=message):
        add_feedback(run.folder, [good, given], where="file")
    assert not (run.folder / "feedback.jsonl").exists()


def test_half_a_line_is_left_out_and_replaced(run: RunRecord) -> None:
    """A process that was killed while it wrote loses its record and no other."""
    run.feedback("a", 0, rating=5)
    path = run.folder / "feedback.jsonl"
    path.write_bytes(path.read_bytes() + b'{"conversation": "a", "tu')
    found, notices = read_feedback(run)
    assert len(found) == 1
    assert "cut off" in notices[0]
    run.feedback("a", 0, rating=1)
    assert [each.rating for each in read_feedback(run)[0]] == [5, 1]


def test_feedback_on_a_reply_that_is_gone_is_not_used(run: RunRecord) -> None:
    """It is kept and counted; a damaged line is an error with its number."""
    run.feedback("a", 0, rating=5)
    path = run.folder / "feedback.jsonl"
    path.write_text(path.read_text().replace(reply_id(run.turns[0].reply), "0" * 16))
    found, notices = read_feedback(run)
    assert found == []
    assert "1 records are about replies" in notices[0]
    path.write_text('{"conversation": "a"}\n')
    with pytest.raises(FormatError, match=r"feedback.jsonl.*turn"):
        read_feedback(run)
    path.write_text("nonsense\n")
    with pytest.raises(FormatError, match="one JSON object a line"):
        feedback_of_lines(path)


def test_a_link_in_place_of_the_file_is_refused(run: RunRecord, tmp_path: Path) -> None:
    """What is written by its name would change another file."""
    (run.folder / "feedback.jsonl").symlink_to(tmp_path / "other")
    with pytest.raises(ConfigError, match="is a link"):
        run.feedback("a", 0, rating=5)


def test_sft_has_corrections_then_preferred_replies_then_good_ones(run: RunRecord) -> None:
    """The messages are the conversation up to the reply, as it was."""
    run.feedback("a", 0, rating=5)
    run.feedback("a", 0, thumb="down")
    assert _examples(run, "sft") == []
    run.feedback("a", 0, rating=5)
    run.feedback("a", 0, thumb="up")
    run.feedback("a", 1, rating=5)
    run.feedback("a", 1, correction="Look in the coat.")
    first, second = _examples(run, "sft")
    assert first["messages"] == [
        {"role": "user", "content": "Hi number 0."},
        {"role": "assistant", "content": run.turns[0].reply},
    ]
    assert [each["role"] for each in second["messages"]] == ["user", "assistant"] * 2
    assert second["messages"][-1]["content"] == "Look in the coat."


def test_dpo_has_a_prompt_a_chosen_and_a_rejected_text(run: RunRecord) -> None:
    """A correction is chosen before the reply, a preferred candidate before all others."""
    run.feedback("a", 0, correction="Better.")
    candidates = run.raw_turns[1]["search"]["candidates"]
    preferred = next(each for each in candidates if each["reply"] != run.turns[1].reply)
    assert run.feedback("a", 1, preferred=preferred["id"]).preferred == preferred["reply"]
    pairs = _examples(run, "dpo")
    assert pairs[0] == {
        "prompt": [{"role": "user", "content": "Hi number 0."}],
        "chosen": [{"role": "assistant", "content": "Better."}],
        "rejected": [{"role": "assistant", "content": run.turns[0].reply}],
    }
    texts = {each["reply"] for each in candidates}
    assert {pair["chosen"][0]["content"] for pair in pairs[1:]} == {preferred["reply"]}
    assert {p["rejected"][0]["content"] for p in pairs[1:]} == texts - {preferred["reply"]}


def test_the_searchs_own_candidates_are_pairs_only_where_asked_for(run: RunRecord) -> None:
    """Its answer is chosen before those that its judge put lower, and a notice names the judge."""
    assert _examples(run, "dpo") == []
    pairs = _examples(run, "dpo", with_candidates=True)
    assert pairs
    assert all(pair["chosen"] != pair["rejected"] for pair in pairs)
    assert "not of people" in export_training(run, "dpo", with_candidates=True).notices[-1]
    run.feedback("a", 0, comment="nothing to learn")
    fewer = _examples(run, "dpo", with_candidates=True)
    assert 0 < len(fewer) < len(pairs)


def test_a_search_that_is_no_record_has_no_candidates(recorded: Path, tmp_path: Path) -> None:
    """A turn whose search is a list is a turn without one."""
    folder = shutil.copytree(recorded, tmp_path / "run")
    lines = [json.loads(line) for line in (folder / "turns.jsonl").read_text().splitlines()]
    turns = [{**line, "search": [{"id": "s1", "reply": "Hi"}]} for line in lines]
    (folder / "turns.jsonl").write_text("".join(f"{json.dumps(turn)}\n" for turn in turns))
    assert candidates_of(turns[0]) == {}
    assert add_feedback(folder, [{"conversation": "a", "turn": 0, "rating": 4}])
    with pytest.raises(ConfigError, match="has no candidate 's1'; its candidates: none"):
        add_feedback(folder, [{"conversation": "a", "turn": 0, "preferred": "s1"}])


def test_feedback_on_a_call_has_the_prompt_of_that_call(run: RunRecord) -> None:
    """Messages come from the recording, with the corrected answer."""
    row = run.raw_rows[0]
    run.feedback("a", 0, call=row["sequence"], correction='{"mode": "warm"}')
    (example,) = _examples(run, "sft")
    roles = [each["role"] for each in example["messages"]]
    assert roles[0] == "system"
    assert roles[-1] == "assistant"
    assert example["messages"][-1]["content"] == '{"mode": "warm"}'
    (pair,) = _examples(run, "dpo")
    assert pair["prompt"] == example["messages"][:-1]


def test_texts_stay_text_and_keys_do_not_leave(run: RunRecord) -> None:
    """Markup, formulas and lone surrogates are strings; a key of a known shape is replaced."""
    run.feedback("a", 0, correction='<b>=1+1</b> "sk-abcdefghijklmnop" \ud800', by="=cmd")
    (example,) = _examples(run, "sft")
    content = example["messages"][-1]["content"]
    assert content.startswith("<b>=1+1</b>")
    assert "abcdefghij" not in content
    run.feedback("a", 0, rating=2, by="=cmd")
    found = export_training(run, "labels")
    rows = list(csv.DictReader(found.data.decode().splitlines()))
    assert rows[0]["rater"] == "'=cmd"
    assert rows[0]["value"] == "2"


def test_ratings_are_labels_of_a_sweep(run: RunRecord, tmp_path: Path) -> None:
    """The table is read as people's labels of the replies that were rated, with their scale."""
    run.feedback("a", 0, rating=4, by="ana")
    run.feedback("a", 1, thumb="down", by="ben")
    path = tmp_path / "labels.csv"
    path.write_bytes(export_training(run, "labels").data)
    rows = cw.tune(run.folder, tmp_path / "sweep", knobs={"search.max_calls": [6]}).rows
    labels = read_labels(path, rows)
    assert [(each.turn, each.value) for each in labels.scores] == [(0, 4.0), (1, 1.0)]
    assert {(each.scale_low, each.scale_high) for each in labels.scores} == {(1.0, 5.0)}
    assert (labels.unknown_turns, labels.unknown_replies) == (0, 0)


def test_the_datasets_library_reads_both_forms(run: RunRecord, tmp_path: Path) -> None:
    """Where it is installed: columns and types are those of conversational data sets."""
    datasets: Any = pytest.importorskip("datasets")
    load: Callable[..., Any] = datasets.load_dataset
    run.feedback("a", 0, correction="Better.")
    run.feedback("a", 1, correction="Best.")
    for form, columns in (("sft", ["messages"]), ("dpo", ["prompt", "chosen", "rejected"])):
        path = tmp_path / f"{form}.jsonl"
        path.write_bytes(export_training(run, form).data)
        found = load("json", data_files=str(path), split="train", cache_dir=str(tmp_path / form))
        assert (found.column_names, len(found)) == (columns, 2)


def test_a_run_that_is_made_again_keeps_its_feedback(tmp_path: Path) -> None:
    """`--fresh` deletes answers, which can be had again, and not what people said."""
    from callwise.recordings.run_folder import RunFolder

    folder = tmp_path / "run"
    record = cw.replay(TALKS[:1], out=folder, preset="instant")
    record.feedback("a", 0, rating=5)
    RunFolder.clear(folder)
    assert [path.name for path in folder.iterdir()] == ["feedback.jsonl"]
    again = cw.replay(TALKS[:1], out=folder, preset="instant")
    assert len(read_feedback(again)[0]) == 1
    assert cw.replay(TALKS[:1], out=folder, preset="instant").turns
