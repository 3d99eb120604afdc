"""Feedback on replies of agents over HTTP: its records, its refusals, and training data of it."""

import asyncio
import json
import os

import orjson
import pytest

import callwise as cw
from callwise.calls.errors import ConfigError
from callwise.report import load_run
from callwise.report.feedback import read_feedback
from callwise.report.training_export import export_training
from callwise.serve.messages import MAX_MESSAGE_BYTES
from callwise.wake import WakeStore
from tests.callwise.serve.conftest import AUTHORIZED, settings_of

REPLY = "plaza:500000:a"
OTHER = "plaza:500000:b"
TEXTS = {REPLY: "No bread today.", OTHER: "The oven is warm."}


@pytest.fixture
def folder(tmp_path):
    """Return the folder of the feedback."""
    return tmp_path / "feedback"


@pytest.fixture
async def served(serve, folder):
    """Serve a room in which a person has asked, and two agents have answered."""
    settings = settings_of(room="plaza", intent_daily_calls=0)
    room = await serve(settings=settings, feedback=folder)
    says = room.store.rooms.say
    says("plaza", "Mia", "Is there bread?", id="~1", at=1_800_000_000.0)
    for message_id, text in TEXTS.items():
        says("plaza", message_id[-1], text, id=message_id, at=1_800_000_010.0)
    return room


def _kept(folder):
    run = load_run(folder, keep_raw=True)
    records, notices = read_feedback(run)
    assert not notices
    return run, records


async def test_a_record_is_that_of_a_run(served, folder):
    """It is linked to its reply, and the files are those that the CLI and Python write."""
    status, body = await served.post(
        "/feedback", {"message": REPLY, "rating": 5, "by": "ana", "time": "2027-01-15T08:00:20"}
    )
    assert status == 201
    assert body["message"] == body["conversation"] == REPLY
    run, (record,) = _kept(folder)
    assert (record.rating, record.by, record.turn) == (5, "ana", 0)
    (turn,) = run.raw_turns
    assert turn["reply"] == TEXTS[REPLY]
    assert turn["user_text"] == "Mia: Is there bread?"
    assert turn["candidates"] == {OTHER: TEXTS[OTHER]}
    assert run.is_simulated
    again = cw.report.load_run(folder).feedback(REPLY, 0, rating=5, by="ana", time=record.time)
    assert again == record
    first, second = (folder / "feedback.jsonl").read_bytes().splitlines()
    assert first == second


async def test_training_data_are_made_of_it(served, folder):
    """Ratings, corrections and preferred replies of the same wake, as of any run."""
    for given in (
        {"message": REPLY, "correction": "At six."},
        {"message": OTHER, "thumb": "up"},
        {"message": OTHER, "preferred": REPLY},
    ):
        assert (await served.post("/feedback", given))[0] == 201
    run, _ = _kept(folder)
    asked = [{"role": "user", "content": "Mia: Is there bread?"}]
    later = [{"role": "user", "content": "Mia: Is there bread?\na: No bread today."}]
    sft = [json.loads(line)["messages"] for line in export_training(run, "sft").data.splitlines()]
    assert sft == [
        [*asked, {"role": "assistant", "content": "At six."}],
        [*later, {"role": "assistant", "content": TEXTS[REPLY]}],
    ]
    dpo = [json.loads(line) for line in export_training(run, "dpo").data.splitlines()]
    pairs = [(each["chosen"][0]["content"], each["rejected"][0]["content"]) for each in dpo]
    assert pairs == [("At six.", TEXTS[REPLY]), (TEXTS[REPLY], TEXTS[OTHER])]
    assert export_training(run, "labels").count == 1


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}])
async def test_it_needs_the_token(served, folder, headers):
    """As the other routes with data do; nothing is written."""
    assert (await served.post("/feedback", {"message": REPLY, "rating": 1}, headers))[0] == 401
    assert not folder.exists()


@pytest.mark.parametrize(
    ("status", "given", "problem"),
    [
        (404, {"message": "plaza:500000:c", "rating": 5}, "no reply 'plaza:500000:c'"),
        (404, {"message": "~1", "rating": 5}, "no reply '~1' of an agent"),
        (404, {"message": "", "rating": 5}, "no reply ''"),
        (404, {"message": "plaza:%:a", "rating": 5}, "no reply"),
        (404, {"message": "x" * 10_000, "rating": 5}, "no reply"),
        (404, {"message": "../../a\u0000", "rating": 5}, "no reply"),
        (422, {"rating": 5}, "message: give the `id`"),
        (422, {"message": 7, "rating": 5}, "message: give the `id`"),
        (422, {"message": REPLY}, "there is no feedback in it"),
        (422, {"message": REPLY, "rating": "5"}, "rating: "),
        (422, {"message": REPLY, "rating": True}, "rating: "),
        (422, {"message": REPLY, "rating": 4.5}, "rating: "),
        (422, {"message": REPLY, "rating": 6}, "rating: "),
        (422, {"message": REPLY, "thumb": "sideways"}, "thumb: "),
        (422, {"message": REPLY, "rating": 5, "thumb": "up"}, "two ratings"),
        (422, {"message": REPLY, "correction": " "}, "the text is empty"),
        (422, {"message": REPLY, "correction": ["At six."]}, "correction: "),
        (422, {"message": REPLY, "rating": 5, "by": "x" * 201}, "by: "),
        (422, {"message": REPLY, "rating": 5, "time": "noon"}, "'noon' is no ISO 8601 time"),
        (422, {"message": REPLY, "rating": 5, "mood": "dry"}, "mood: "),
        (422, {"message": REPLY, "rating": 5, "call": 1}, "call: follows from the reply"),
        (422, {"message": REPLY, "rating": 5, "turn": 3}, "turn: follows from the reply"),
        (422, {"message": REPLY, "preferred": "plaza:500000:e"}, "has no candidate"),
    ],
    ids=lambda value: repr(value)[:60],
)
async def test_bad_feedback_is_refused(served, folder, status, given, problem):
    """The answer names what is wrong, and no record is written."""
    got, body = await served.post("/feedback", given)
    assert (got, problem in body["error"]) == (status, True), body
    assert len(body["error"]) < 400
    assert not (folder / "feedback.jsonl").exists() or not _kept(folder)[1]
    assert (await served.post("/feedback", {"message": REPLY, "rating": 5}))[0] == 201


async def test_a_body_is_read_as_of_the_other_routes(served, folder):
    """Too long, no JSON, no object: the statuses of POST /messages."""
    long = orjson.dumps({"message": REPLY, "comment": "x" * MAX_MESSAGE_BYTES})
    for data, status in ((long, 413), (b"{", 400), (b"[]", 400), (b"\xff", 400)):
        assert (await served.post("/feedback", data=data, headers=AUTHORIZED))[0] == status
    assert not folder.exists()


async def test_texts_stay_text(served, folder):
    """Markup, half characters and line breaks are in the record as they came."""
    text = '<script>alert("x")</script>\n{"message": "y"}'
    given = {"message": REPLY, "correction": text, "by": "=1+1"}
    assert (await served.post("/feedback", given))[0] == 201
    half = b'{"message": "plaza:500000:a", "comment": "\\ud83d"}'
    assert (await served.post("/feedback", data=half, headers=AUTHORIZED))[0] in {201, 400}
    _, records = _kept(folder)
    assert (records[0].correction, records[0].by) == (text, "=1+1")


async def test_concurrent_feedback_loses_nothing(served, folder):
    """Fifty clients at once: each record is there once, and each reply is one turn."""
    posts = [
        served.post("/feedback", {"message": each, "rating": 1 + n % 5, "by": f"p{n}"})
        for n in range(25)
        for each in TEXTS
    ]
    assert {status for status, _ in await asyncio.gather(*posts)} == {201}
    run, records = _kept(folder)
    assert {(record.conversation, record.by) for record in records} == {
        (each, f"p{n}") for each in TEXTS for n in range(25)
    }
    assert len(records) == len(posts)
    assert sorted(turn.conversation_id for turn in run.turns) == sorted(TEXTS)


async def test_a_named_person_may_send_it_again(served, folder):
    """A client whose answer was lost sends the same record; it is counted once."""
    given = {"message": OTHER, "preferred": REPLY, "by": "ana"}
    (first, one), (second, other) = [await served.post("/feedback", given) for _ in range(2)]
    assert (first, second) == (201, 201)
    assert one == other
    assert (await served.post("/feedback", {**given, "by": "bob"}))[0] == 201
    assert len(_kept(folder)[1]) == 2


async def test_a_folder_that_cannot_be_written_is_a_later_try(served, folder):
    """The client is answered with no path of the machine, and can send it again."""
    folder.mkdir()
    (folder / "other.txt").write_text("no run")
    status, body = await served.post("/feedback", {"message": REPLY, "rating": 5})
    assert (status, os.sep in body["error"]) == (503, False)
    (folder / "other.txt").unlink()
    assert (await served.post("/feedback", {"message": REPLY, "rating": 5}))[0] == 201


async def test_a_server_without_a_folder_keeps_none(serve):
    """The answer names the option."""
    room = await serve()
    status, body = await room.post("/feedback", {"message": REPLY, "rating": 5})
    assert (status, "--feedback" in body["error"]) == (409, True)


async def test_a_server_that_begins_again_goes_on(serve, folder, tmp_path):
    """Replies of before are in the store, and their feedback is in the same folder."""
    settings = settings_of(room="plaza", intent_daily_calls=0)
    with WakeStore(tmp_path / "wake.sqlite") as store:
        store.rooms.say("plaza", "a", TEXTS[REPLY], id=REPLY, at=1_800_000_010.0)
        for rating in (1, 5):
            room = await serve(store=store, settings=settings, feedback=folder)
            assert (await room.post("/feedback", {"message": REPLY, "rating": rating}))[0] == 201
            await room.host.drain(0.0, reason="the test ends")
            await asyncio.wait({room.task})
    run, records = _kept(folder)
    assert [record.rating for record in records] == [1, 5]
    assert len(run.turns) == 1


async def test_a_line_that_a_killed_process_left_costs_no_further_feedback(served, folder):
    """It is replaced by the next record, and also one of a named person is taken."""
    given = {"message": REPLY, "rating": 4, "by": "ana"}
    await served.post("/feedback", given)
    with (folder / "feedback.jsonl").open("ab") as file:
        file.write(b'{"conversation":"pla')
    assert (await served.post("/feedback", given | {"by": "ben"}))[0] == 201
    assert [record.by for record in _kept(folder)[1]] == ["ana", "ben"]


async def test_a_folder_of_something_else_is_refused_before_the_room_is_served(
    serve, served, folder, tmp_path
):
    """Another room's feedback, a folder of other files, a file: later all feedback would fail."""
    await served.post("/feedback", {"message": REPLY, "rating": 4})
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "notes.txt").write_text("mine")
    lane = settings_of(room="lane", intent_daily_calls=0)
    for path, problem in (
        (folder, "has another run: .*'plaza'"),
        (tmp_path / "files", "has files and is no run"),
        (tmp_path / "files" / "notes.txt", "is a file"),
    ):
        with pytest.raises(ConfigError, match=f"{problem}.*another folder with --feedback"):
            await serve(settings=lane, feedback=path)
