"""The layer `similar`: what is similar, what is judged, what is served, and what a replay does."""

import asyncio
from collections import Counter
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from callwise.budget import Budgeter, VirtualClock
from callwise.budget.clock import ManualClock
from callwise.budget.layers.cache import MemoryCache
from callwise.budget.similar import SimilarKnobs, SimilarReuse
from callwise.budget.similar.proof import JudgedPair
from callwise.calls import Call, Endpoint, Message, Outcome, Purpose, Reply, Role, Sampling
from callwise.calls.errors import ConfigError, ServerFailed, UnknownRole
from callwise.testing.fakes import ScriptedClient
from tests.callwise.budget.conftest import FixedCounter, MemoryRecorder

ASKED, AGAIN, OTHER = (
    "How do I reset my password?",
    "Please, how can I reset my password?",
    "How do I not reset my password?",
)


class Verdict(BaseModel):
    """An answer with a form."""

    text: str


def reason(text, **changes):
    """Return a call of the purpose that opted in."""
    changes.setdefault("share", True)
    messages = (Message("system", "Answer."), Message("user", text))
    return Call(Role.MAIN, Purpose.REASON, messages, **changes)


def make(script=None, *, reuse=None, recorder=None, clock=None, **knobs):
    """Return a budgeter whose client numbers its answers, its reuse, and its client."""
    if reuse is None:
        knobs.setdefault("mode", "serve")
        reuse = SimilarReuse({"reason": SimilarKnobs(**knobs)})
    client = ScriptedClient(script or (lambda call: "the answer"))
    endpoint = Endpoint("fake", "model-1", client)
    budgeter = Budgeter(
        dict.fromkeys(Role, endpoint),
        similar=reuse,
        recorder=recorder,
        clock=clock or VirtualClock(),
        estimator=FixedCounter(),
    )
    return budgeter, reuse, client


async def ask(budgeter, *texts, user="ana", agent="lin", **changes):
    """Ask calls one after another in a conversation of a user with an agent."""
    with budgeter.scope("conv", "c", user=user, tenant=agent):
        return [await budgeter.ask(reason(text, **changes)) for text in texts]


async def prove(budgeter, reuse, count=299):
    """Let a budgeter judge so many of its pairs as right."""
    carried = [row.key for row in budgeter.ledger.rows]
    assert carried
    (proof,) = reuse.proofs(Purpose.REASON)
    for number in range(count):
        judged = JudgedPair("reason", "test", f"pair {number}", 1.0, True)
        reuse._proofs.add(proof, judged)
    return proof


async def test_nothing_is_served_below_the_bound():
    """Similar calls are asked and judged; the one after the proof is answered again."""
    budgeter, reuse, client = make(sample_share=1e-9)
    await ask(budgeter, ASKED, AGAIN)
    assert [row.outcome for row in budgeter.ledger.rows] == [Outcome.SERVED] * 2
    await prove(budgeter, reuse, 297)
    await ask(budgeter, "Hello, how can I reset my password?")
    assert client.sent_requests == 3
    (reply,) = await ask(budgeter, "Hi, how can I reset my password?")
    assert client.sent_requests == 3
    first, *_, last = budgeter.ledger.rows
    assert last.outcome is Outcome.CACHED
    assert reply.text == "the answer"
    assert reply.delivery.similar in {row.key for row in budgeter.ledger.rows} - {last.key}
    assert last.delivery.similarity >= 0.95
    assert "similar" not in first.as_dict().get("delivery", {})
    found = budgeter.statistics()["similar"]
    assert (found["would_be"], found["judged"], found["served"]) == (3, 299, 1)
    assert found["bound"] == pytest.approx(0.00997, abs=1e-5)
    assert found["served_reason"] == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"sample": 1},
        {"repair": 1},
        {"share": None},
        {"share": None, "sampling": Sampling(temperature=0.7)},
        {"share": False},
        {"tools": ({"type": "function", "function": {"name": "pay"}},)},
    ],
)
async def test_what_may_not_be_shared_is_never_similar(changes):
    """Resamples, repairs, temperatures above 0 and calls with tools."""
    budgeter, _, client = make()
    await ask(budgeter, ASKED, AGAIN, **changes)
    assert client.sent_requests == 2
    assert budgeter.statistics()["similar"]["would_be"] == 0


@pytest.mark.parametrize("purpose", ["judge", "check", "referee", "embed", "expand", "dance"])
def test_judgements_and_vectors_cannot_opt_in(purpose):
    """The error names those that can."""
    with pytest.raises(ConfigError, match="Use some of: detect"):
        SimilarReuse({purpose: {}})


def test_a_setting_that_is_none_is_named():
    """With the purpose and the value."""
    with pytest.raises(ConfigError, match=r"similar\.reason\.threshold: .*got 0\.5"):
        SimilarReuse({"reason": {"threshold": 0.5}})


async def test_another_instruction_model_setting_or_form_is_another_place():
    """Everything but the prompt's words is equal."""
    budgeter, _, _ = make(lambda call: '{"text": "x"}')
    with budgeter.scope("conv", "c", user="ana"):
        await budgeter.ask(reason(ASKED))
        await budgeter.ask(reason(AGAIN, sampling=Sampling(max_tokens=5)))
        await budgeter.ask(reason(AGAIN, response_model=Verdict))
        other = (Message("system", "Answer in French."), Message("user", AGAIN))
        await budgeter.ask(Call(Role.MAIN, Purpose.REASON, other, share=True))
        await budgeter.ask(Call(Role.FAST, Purpose.REASON, reason(AGAIN).messages, share=True))
        await budgeter.ask(reason(OTHER))
    assert budgeter.statistics()["similar"]["would_be"] == 0


async def test_a_call_of_no_user_and_no_conversation_takes_no_part():
    """None may be given what another one asked."""
    budgeter, _, client = make()
    await budgeter.ask(reason(ASKED))
    await budgeter.ask(reason(AGAIN))
    found = budgeter.statistics()["similar"]
    assert (client.sent_requests, found["would_be"], found["without_owner"]) == (2, 0, 2)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.sampled_from("pq")),
        min_size=2,
        max_size=12,
    )
)
def test_nothing_crosses_agents_or_users(asked):
    """Once everything is proved, each pair of agent and user still pays for a first answer."""

    async def run():
        budgeter, reuse, client = make(sample_share=1e-9)
        await ask(budgeter, ASKED, AGAIN, user="somebody else", agent="another")
        await prove(budgeter, reuse)
        answered = Counter()
        for number, (user, agent, word) in enumerate(asked):
            text = f"{'Please, ' * (number % 3)}how can I find the {word} in this place number 7?"
            before = client.sent_requests
            await ask(budgeter, text + " " * number, user=user, agent=agent)
            answered[user, agent, word] += 1
            is_first = answered[user, agent, word] == 1
            assert (client.sent_requests - before) == int(is_first)

    asyncio.run(run())


async def test_equal_answers_are_right_and_others_wait_for_the_judge():
    """The judge is a counted call of the purpose `check`, and decides."""
    answers = {ASKED: "Click on Forgot.", AGAIN: "Use the link Forgot."}

    def script(call):
        if call.purpose is Purpose.CHECK:
            assert answers[AGAIN] in call.messages[-1].content
            return '{"same": true}'
        return answers[call.messages[-1].content]

    budgeter, reuse, _ = make(script, check_share=1.0)
    await ask(budgeter, ASKED, AGAIN)
    found = budgeter.statistics()["similar"]
    assert (found["waiting"], found["judged"], found["bound"]) == (1, 0, 1.0)
    assert await reuse.check(budgeter) == 1
    row = budgeter.ledger.rows[-1]
    assert (row.role, row.purpose) == (Role.JUDGE, Purpose.CHECK)
    found = budgeter.statistics()["similar"]
    assert (found["waiting"], found["judged"], found["false"]) == (0, 1, 0)
    assert await reuse.check(budgeter) == 0


@pytest.mark.parametrize("half", ["question", "answer"])
async def test_half_a_character_costs_no_call(half):
    """The judge is given a replacement in its place."""
    place = "\ud800 password"
    question = ASKED.replace("password", place) if half == "question" else ASKED
    numbers = count()

    def script(call):
        if call.purpose is Purpose.CHECK:
            return '{"same": true}'
        return Reply(f"{next(numbers)} {place if half == 'answer' else ''}")

    budgeter, reuse, _ = make(script, check_share=1.0)
    answers = await ask(budgeter, question, f"Please, {question.replace('How', 'how')}")
    assert [each.text[0] for each in answers] == ["0", "1"]
    assert await reuse.check(budgeter) == 1


async def test_a_pair_whose_process_ended_before_its_judge_is_judged_again(tmp_path):
    """It counts as wrong until then; asked twice, it waits once."""
    numbers = count()

    def script(call):
        is_check = call.purpose is Purpose.CHECK
        return '{"same": true}' if is_check else f"answer {next(numbers)}"

    for is_last in (False, True):
        reuse = SimilarReuse(
            {"reason": SimilarKnobs(check_share=1.0)}, proof_file=tmp_path / "proofs.jsonl"
        )
        budgeter, _, _ = make(script, reuse=reuse)
        await ask(budgeter, ASKED, AGAIN, ASKED, AGAIN)
        assert reuse.waiting == budgeter.statistics()["similar"]["waiting"] == 1
        if is_last:
            assert await reuse.check(budgeter) == 1
    found = budgeter.statistics()["similar"]
    assert (found["judged"], found["waiting"], found["false"]) == (1, 0, 0)


@pytest.mark.parametrize("changes", [{"ttl_seconds": 301}, {"threshold": 0.96}])
async def test_a_proof_is_none_of_other_settings(tmp_path, changes):
    """An answer that may be older, or less alike, was not judged."""
    for knobs, judged in (({}, 1), (changes, 1), ({}, 2)):
        reuse = SimilarReuse(
            {"reason": SimilarKnobs(**knobs)}, proof_file=tmp_path / "proofs.jsonl"
        )
        budgeter, _, _ = make(reuse=reuse)
        again = AGAIN if judged == 1 else f"Hello, {ASKED.lower()}"
        await ask(budgeter, ASKED, again)
        assert budgeter.statistics()["similar"]["judged"] == judged


async def test_checks_are_a_share_of_the_calls():
    """And a pair whose check fails waits on."""

    def script(call):
        if call.purpose is Purpose.CHECK:
            return ServerFailed("busy", status=500)
        return call.messages[-1].content

    texts = [f"{'Hello, ' * (n % 2)}is the number {n // 2} odd?" for n in range(10)]
    budgeter, reuse, _ = make(script, check_share=0.2)
    await ask(budgeter, *texts)
    assert reuse.waiting == 5
    assert await reuse.check(budgeter) == 0
    checks = [row for row in budgeter.ledger.rows if row.purpose is Purpose.CHECK]
    assert (len(checks), reuse.waiting) == (2, 5)


async def test_without_judges_an_answer_that_differs_is_wrong():
    """`check_share` 0."""
    budgeter, reuse, _ = make(lambda call: call.messages[-1].content, check_share=0.0)
    await ask(budgeter, ASKED, AGAIN)
    assert reuse.waiting == 0
    assert budgeter.statistics()["similar"]["false"] == 1


async def test_answers_are_used_for_their_time():
    """Not from one second on after it."""
    clock = ManualClock()
    budgeter, _, _ = make(clock=clock, ttl_seconds=300)
    for seconds, would_be in ((299.0, 1), (301.0, 1)):
        await ask(budgeter, ASKED)
        clock.advance(seconds)
        await ask(budgeter, AGAIN)
        assert budgeter.statistics()["similar"]["would_be"] == would_be
        clock.advance(1000)


async def test_an_answer_used_again_is_kept_by_no_cache_and_used_no_third_time():
    """An equal call that comes later is similar again, by the same answered call."""
    reuse = SimilarReuse({"reason": {"mode": "serve", "sample_share": 1e-9}})
    client = ScriptedClient(lambda call: "the answer")
    budgeter = Budgeter(
        {Role.MAIN: Endpoint("fake", "m", client)},
        similar=reuse,
        cache=MemoryCache(),
        clock=VirtualClock(),
        estimator=FixedCounter(),
    )
    await ask(budgeter, ASKED, AGAIN)
    await prove(budgeter, reuse)
    await ask(budgeter, *["Hi, how can I reset my password?"] * 2)
    one, other = budgeter.ledger.rows[-2:]
    assert one.delivery == other.delivery
    assert one.delivery.similar == budgeter.ledger.rows[1].key


async def test_a_strict_replay_serves_the_same_and_decides_nothing():
    """Whatever its own settings; rows, answers and deliveries are those of the run."""
    recorder = MemoryRecorder()
    budgeter, reuse, _ = make(recorder=recorder, sample_share=1e-9)
    await ask(budgeter, ASKED, AGAIN)
    await prove(budgeter, reuse)
    given_out = await ask(budgeter, "Hi, how can I reset my password?")
    for mode in ("shadow", "serve"):
        again, _, client = make(recorder=recorder.played(), mode=mode)
        played = await ask(again, ASKED, AGAIN, "Hi, how can I reset my password?")
        assert played[2:] == given_out
        assert client.sent_requests == 0
        rows = again.ledger.rows
        assert [row.outcome for row in rows] == [Outcome.REPLAYED] * 3
        assert [row.delivery for row in rows] == [row.delivery for row in budgeter.ledger.rows]
        assert again.statistics()["similar"]["would_be"] == 0


async def test_vectors_of_a_model_are_counted_calls_that_a_replay_asks_too():
    """One before each call; vectors that are not alike are no hit; a failure costs no call."""
    vectors = {ASKED: (1.0, 0.0), AGAIN: (0.0, 1.0), "Hi! " + ASKED: (1.0, 0.1)}
    vectors["Hello, how can I reset my password?"] = (0.1, 1.0)

    def script(call):
        if call.is_embedding:
            vector = vectors.get(call.inputs[0])
            return (
                ServerFailed("no", status=500) if vector is None else Reply("", vectors=(vector,))
            )
        return "the answer"

    recorder = MemoryRecorder()
    texts = (ASKED, AGAIN, "Hello, how can I reset my password?", OTHER)
    budgeter, _, _ = make(script, recorder=recorder, vectors="embed")
    await ask(budgeter, *texts)
    rows = budgeter.ledger.rows
    assert [row.purpose for row in rows] == [Purpose.EMBED, Purpose.REASON] * 4
    assert rows[1].end_round == 2
    found = budgeter.statistics()
    assert found["embed"] == {"embedded": 3, "failed": 1}
    assert found["similar"]["would_be"] == 1
    again, _, client = make(script, recorder=recorder.played(), vectors="embed")
    await ask(again, *texts)
    assert client.sent_requests == 0
    assert [row.key for row in again.ledger.rows] == [row.key for row in rows]
    assert [row.end_round for row in again.ledger.rows] == [row.end_round for row in rows]


async def test_vectors_without_a_model_are_an_error_that_names_the_ways_out():
    """Before anything is asked."""
    client = ScriptedClient(lambda call: "the answer")
    budgeter = Budgeter(
        {Role.MAIN: Endpoint("fake", "model-1", client)},
        similar=SimilarReuse({"reason": {"vectors": "embed"}}),
        clock=VirtualClock(),
    )
    with pytest.raises(UnknownRole, match=r"reason\.vectors=embed.*CALLWISE_EMBED_MODEL.*lexical"):
        await ask(budgeter, ASKED)
    assert client.sent_requests == 0


async def test_a_sample_is_asked_while_others_are_served():
    """With a share of 1 everything is."""
    budgeter, reuse, client = make(sample_share=1.0)
    await ask(budgeter, ASKED, AGAIN)
    await prove(budgeter, reuse)
    await ask(budgeter, "Hi, how can I reset my password?")
    assert client.sent_requests == 3
    assert budgeter.statistics()["similar"]["judged"] == 301


async def test_a_budgeter_without_reuse_has_no_such_layers(make_budgeter):
    """Nor the one that asks for vectors where words are compared."""
    assert not {"similar", "embed"} & set(make_budgeter().statistics())
    assert "embed" not in make()[0].statistics()
