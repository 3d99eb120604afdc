"""Background calls are on disk from their acceptance to their end, and answered once."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from callwise.budget import Budgeter
from callwise.budget.batch_api.store import QueueStore
from callwise.calls import Call, Message, Purpose, Role, Sampling
from callwise.calls.call import Priority
from callwise.calls.call_document import call_of_document, document_of_call
from callwise.calls.errors import BadRequest, ConfigError, FormatError, ServerFailed
from callwise.calls.key import call_key
from callwise.calls.load.background_knobs import BackgroundKnobs
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.testing.fakes import ScriptedClient


class Answer(BaseModel):
    """A form that an answer can have."""

    value: int


def background(question: str, **changes: Any) -> Call:
    """Return a call that may wait."""
    changes.setdefault("priority", Priority.BACKGROUND)
    return Call(Role.MAIN, Purpose.OTHER, (Message("user", question),), **changes)


@pytest.fixture
def queued(make_budgeter, tmp_path):
    """Return a function that makes a budgeter with one queue file for all."""

    def make(client: Any = None, **changes: Any) -> Budgeter:
        knobs = BackgroundKnobs(file=tmp_path / "queue.sqlite")
        return make_budgeter(client, load=LoadKnobs(background=knobs), **changes)

    return make


async def hang(_call: Call) -> str:
    """Never answer."""
    await asyncio.Event().wait()
    return ""


async def stopped(budgeter: Budgeter, calls: list[Call], asked: list[int]) -> None:
    """Ask calls, and end as a process that is stopped while they are under way."""
    tasks = [asyncio.create_task(budgeter.ask(call)) for call in calls]
    async with asyncio.timeout(60.0):
        while len(asked) < len(calls):  # noqa: ASYNC110 - the queue writes in a thread
            await asyncio.sleep(0.001)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await budgeter.aclose()


async def test_what_was_accepted_is_answered_once_by_the_next_process(queued):
    """The program need not ask again: the queue has the whole question."""
    asked: list[int] = []

    async def first_client(call: Call) -> str:
        asked.append(1)
        return await hang(call)

    calls = [background(f"q{i}", sampling=Sampling(temperature=1.0)) for i in range(3)]
    await stopped(queued(ScriptedClient(first_client)), calls, asked)
    second = queued()
    replies = await second.resume_background()
    assert [reply.text for reply in replies] == ["echo q0", "echo q1", "echo q2"]
    assert await second.resume_background() == []
    second.ledger.check()
    await second.aclose()
    third = queued()
    assert await third.resume_background() == []
    await third.aclose()


async def test_an_answer_that_was_not_given_out_is_not_asked_for_again(
    queued, make_budgeter, tmp_path
):
    """It was paid for: its tokens are counted by the process that gives it out."""
    first = queued()
    first_reply = await first.ask(background("q"))
    # The files as a process leaves them that is killed now.
    folder = tmp_path / "killed"
    folder.mkdir()
    for file in tmp_path.glob("queue.sqlite*"):
        shutil.copy(file, folder)
    await first.aclose()
    knobs = BackgroundKnobs(file=folder / "queue.sqlite")
    second = make_budgeter(ScriptedClient(hang), load=LoadKnobs(background=knobs))
    (reply,) = await second.resume_background()
    assert reply.text == first_reply.text == "echo q"
    (row,) = second.ledger.rows
    assert row.requests == 0
    assert row.input_tokens == first.ledger.rows[0].input_tokens > 0
    second.ledger.check()
    await second.aclose()


async def test_a_call_that_ends_in_an_error_leaves_the_queue(queued):
    """The error was its answer."""
    budgeter = queued(ScriptedClient(lambda _call: BadRequest("no")))
    with pytest.raises(BadRequest):
        await budgeter.ask(background("q"))
    await budgeter.aclose()
    second = queued()
    assert await second.resume_background() == []
    await second.aclose()


async def test_an_attempt_that_fails_keeps_the_call_queued(queued):
    """Only the end of the call decides."""
    answers = iter([ServerFailed("down"), "fine"])
    budgeter = queued(ScriptedClient(lambda _call: next(answers)))
    assert (await budgeter.ask(background("q"))).text == "fine"
    assert budgeter.statistics()["queue"] == {"accepted": 1, "resumed": 0}
    await budgeter.aclose()


def test_a_budgeter_goes_on_in_another_loop(queued):
    """What the first loop left is free for the second, as after a crash."""
    is_hanging = [True]
    came = asyncio.Event()

    async def client(call: Call) -> str:
        came.set()
        return await hang(call) if is_hanging.pop() else "fine"

    budgeter = queued(ScriptedClient(client))

    async def give_up() -> None:
        asking = asyncio.create_task(budgeter.ask(background("q")))
        await came.wait()
        asking.cancel()
        await asyncio.wait((asking,))

    async def resume() -> list[Any]:
        replies = await budgeter.resume_background()
        await budgeter.aclose()
        return replies

    asyncio.run(give_up())
    is_hanging.append(False)
    (reply,) = asyncio.run(resume())
    assert reply.text == "fine"


async def test_more_urgent_calls_touch_no_disk(queued, tmp_path):
    """The queue is opened at its first use."""
    budgeter = queued()
    await budgeter.ask(background("q", priority=Priority.LOW))
    await budgeter.aclose()
    assert not (tmp_path / "queue.sqlite").exists()


async def test_nothing_is_resumed_without_a_queue(make_budgeter):
    """The error names the knob."""
    with pytest.raises(ConfigError, match=r"load\.background\.file"):
        await make_budgeter().resume_background()


async def test_another_file_is_not_a_queue(queued, tmp_path):
    """It is not changed."""
    file = tmp_path / "queue.sqlite"
    file.write_bytes(b"my diary, and nothing of SQLite in it" * 100)
    before = file.read_bytes()
    budgeter = queued()
    with pytest.raises(FormatError, match="expected a queue"):
        await budgeter.ask(background("q"))
    await budgeter.aclose()
    assert file.read_bytes() == before


def test_the_queue_is_readable_by_its_owner_alone(tmp_path):
    """It has what people said."""
    QueueStore(tmp_path / "queue.sqlite").close()
    assert (tmp_path / "queue.sqlite").stat().st_mode & 0o077 == 0


texts = st.text(max_size=20)
values = st.one_of(st.none(), st.integers(-(2**31), 2**31), texts)


@given(
    texts,
    st.builds(
        Sampling,
        temperature=st.floats(0, 2) | st.none(),
        stop=st.lists(texts, max_size=3).map(tuple),
        extra_body=st.dictionaries(texts, values, max_size=3),
    ),
    st.sampled_from([None, *Priority]),
    st.sampled_from([None, Answer]),
)
def test_a_call_read_back_is_the_same_question(
    question: str, sampling: Sampling, priority: Any, model: Any
) -> None:
    """Its identity is the same, whatever is in it."""
    call = Call(
        Role.JUDGE,
        Purpose.JUDGE,
        (Message("system", "s"), Message("user", question, tool_calls=({"id": "1"},))),
        sampling=sampling,
        tools=({"type": "function", "function": {"name": "f"}},),
        sample=3,
        priority=priority,
        response_model=model,
        unkeyed_body=sampling.extra_body,
    )
    again = call_of_document(document_of_call(call))
    assert again == call
    assert call_key(again, endpoint="e", model="m") == call_key(call, endpoint="e", model="m")


def test_a_response_model_that_is_not_loaded_is_named() -> None:
    """Nothing is imported for a document."""
    data = document_of_call(background("q", response_model=Answer))
    gone = data.replace(b":Answer", b":Gone")
    with pytest.raises(ValueError, match="Gone is not loaded"):
        call_of_document(gone)


def test_a_queue_needs_its_file_in_a_folder_that_can_be_written(tmp_path) -> None:
    """The error names the file."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot open the queue"):
        QueueStore(Path(tmp_path / "file" / "queue.sqlite"))
