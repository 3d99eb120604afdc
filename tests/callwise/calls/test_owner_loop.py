"""One owner loop for each LLM, under many programs at a time; refused uses."""

import asyncio
import gc
import json
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from callwise.budget import Budgeter, Limits, ScopeKind
from callwise.calls import Call, CallRefused, Endpoint, Message, Purpose, Role
from callwise.calls.chat_model import BudgetedChatModel
from callwise.calls.errors import ConfigError
from callwise.calls.owner_loop import OwnerLoop
from callwise.testing.fakes import ScriptedClient

ASKERS = 300
ROOT = Path(__file__).parents[3]
CALL = Call(Role.MAIN, Purpose.OTHER, (Message("user", "hello"),))


def budgeter_of(script, **settings):
    """Return a budgeter whose main role a script answers."""
    client = ScriptedClient(script)
    return Budgeter({Role.MAIN: Endpoint("fake", "model", client)}, **settings)


def yes(call):
    """Answer anything."""
    return "yes"


class Held:
    """Answers that are held back for ever; a test waits until the first is asked for."""

    def __init__(self):
        self.asked = threading.Event()

    async def __call__(self, call):
        """Never answer."""
        self.asked.set()
        await asyncio.Event().wait()


def run_python(*arguments):
    """Return what another Python printed, having ended well."""
    done = subprocess.run(  # noqa: S603 - this Python, with a script of ours
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", *arguments],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.slow
def test_no_program_hangs_and_all_counts_are_the_servers():
    """Threads, loops, eager tasks, batch in a running loop, cancellations, an interrupt, a fork."""
    script = Path(__file__).with_name("owner_loop_cases.py")
    cases = [json.loads(line) for line in run_python(str(script), str(ASKERS)).splitlines()]
    assert len(cases) == 13
    for case in cases:
        assert case["requests"] == case["received"], case
        assert (case["in_flight"], case["asked"]) == (0, sum(case["outcomes"].values())), case
    asked = {case["case"]: case["asked"] for case in cases if case["skipped"] is None}
    for name in ("threads", "loops", "loops_in_turn", "batch_in_a_running_loop", "graph_nodes"):
        assert asked[name] == ASKERS
    capped = next(case for case in cases if case["case"] == "shared_and_capped")
    assert capped["outcomes"]["coalesced"] > 0


EXIT = """
import asyncio, threading
from callwise.budget import Budgeter
from callwise.calls import Endpoint, Role
from callwise.calls.chat_model import BudgetedChatModel
from callwise.calls.errors import ConfigError
from callwise.testing.fakes import ScriptedClient

async def never(call):
    await asyncio.Event().wait()

client = ScriptedClient(never)
model = BudgetedChatModel(llm=Budgeter({Role.MAIN: Endpoint("fake", "model", client)}))

def wait_in_vain():
    try:
        model.invoke("hello")
    except ConfigError:
        print("told")

threading.Thread(target=wait_in_vain, daemon=True).start()

async def main():
    task = asyncio.create_task(model.ainvoke("hello"))
    while client.sent_requests < 2:
        await asyncio.sleep(0)

asyncio.run(main())
print(client.sent_requests, client.cancelled_calls)
"""


@pytest.mark.slow
def test_a_program_ends_with_calls_in_flight():
    """The task's call was cancelled with its loop, the thread's ends with the program."""
    assert run_python("-c", EXIT).splitlines()[0] == "2 1"


def test_used_from_two_loops_directly_it_says_what_to_do():
    """Nothing is counted of the second call, and the first goes on."""
    held = Held()
    budgeter = budgeter_of(held)
    other = OwnerLoop(is_private=True)

    def wait_in_vain():
        with pytest.raises(ConfigError, match="closed"):
            other.wait(budgeter.ask, CALL)

    first = threading.Thread(target=wait_in_vain)
    first.start()
    assert held.asked.wait(5)
    with pytest.raises(ConfigError, match="1 calls in flight on another event loop"):
        asyncio.run(budgeter.ask(CALL))
    with pytest.raises(ConfigError, match="own_loop=True"):
        BudgetedChatModel(llm=budgeter).invoke("hello")
    assert budgeter.run.counts().asked == 1
    other.close()
    first.join()
    assert budgeter.run.counts().in_flight == 0


def test_on_a_private_loop_it_answers_callers_anywhere():
    """From several loops, one after the other and side by side."""
    budgeter = budgeter_of(yes, own_loop=True)

    def ask():
        return asyncio.run(budgeter.ask(CALL)).text

    assert ask() == "yes"
    with ThreadPoolExecutor(4) as pool:
        assert [each.result() for each in [pool.submit(ask) for _ in range(20)]] == ["yes"] * 20
    assert budgeter.run.counts().asked == 21
    budgeter.close()
    budgeter.close()


def test_one_loop_after_the_other_needs_no_private_loop():
    """`asyncio.run` twice, and a model in between: nothing is in flight when the loop changes."""
    budgeter = budgeter_of(yes)
    assert asyncio.run(budgeter.ask(CALL)).text == "yes"
    assert asyncio.run(budgeter.ask(CALL)).text == "yes"
    assert BudgetedChatModel(llm=budgeter).invoke("hello").text == "yes"
    assert asyncio.run(budgeter.ask(CALL)).text == "yes"
    asyncio.run(budgeter.aclose())
    assert budgeter.run.counts().asked == 4


def test_limits_hold_for_threads_with_scopes_of_their_own():
    """Each caller's scope is seen where its call is counted."""
    budgeter = budgeter_of(yes, limits=Limits(max_calls=50))
    model = BudgetedChatModel(llm=budgeter)

    def talk(number):
        outcomes = Counter()
        with budgeter.scope(ScopeKind.TURN, str(number), limits=Limits(max_calls=3)):
            for _ in range(4):
                try:
                    model.invoke("hello")
                except CallRefused as error:
                    outcomes[error.limit, error.scope.count("/")] += 1
                else:
                    outcomes["served"] += 1
        return outcomes

    with ThreadPoolExecutor(20) as pool:
        turns = list(pool.map(talk, range(20)))
    total = sum(turns, Counter())
    assert total["served"] == 50
    assert all(turn["served"] <= 3 for turn in turns)
    assert budgeter.run.statistics().counts.asked == 80
    budgeter.ledger.check()
    model.close()


def test_closing_ends_calls_in_flight_and_counts_them():
    """Their callers are told why, clients are closed, and a later call opens all again."""
    held = Held()
    client = ScriptedClient(held)
    budgeter = Budgeter({Role.MAIN: Endpoint("fake", "model", client)})
    model = BudgetedChatModel(llm=budgeter)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(model.invoke, "hello")
        assert held.asked.wait(5)
        model.close()
        with pytest.raises(ConfigError, match="closed while this call was in flight"):
            waiting.result()
    assert client.is_closed
    [row] = budgeter.ledger.rows
    assert (row.outcome, row.requests) == ("cancelled", 1)
    client._function = yes
    assert model.invoke("hello").text == "yes"
    model.close()


def test_a_forgotten_budgeter_ends_its_loop():
    """With its models; nothing is left behind."""
    client = ScriptedClient(lambda call: threading.current_thread().name)
    model = BudgetedChatModel(llm=Budgeter({Role.MAIN: Endpoint("fake", "model", client)}))
    assert model.invoke("hello").text == "callwise-loop"
    thread = model.llm.owner._thread._thread
    del model
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()


def test_a_failed_close_leaves_it_usable():
    """What a client raises reaches who closes, and a later call opens a new loop."""

    class Stubborn(ScriptedClient):
        async def aclose(self):
            raise OSError("still busy")

    model = BudgetedChatModel(llm=Budgeter({Role.MAIN: Endpoint("fake", "m", Stubborn(yes))}))
    assert model.invoke("hello").text == "yes"
    with pytest.raises(OSError, match="still busy"):
        model.close()
    assert model.invoke("hello").text == "yes"
    with pytest.raises(OSError, match="still busy"):
        asyncio.run(model.llm.aclose())


def test_a_caller_whose_loop_is_closed_is_counted():
    """It can neither wait nor be told; its call is cancelled where it runs."""
    held = Held()
    budgeter = budgeter_of(held, own_loop=True)
    loop = asyncio.new_event_loop()
    asking = budgeter.ask(CALL)
    step = loop.create_task(asyncio.to_thread(held.asked.wait, 5))
    task = loop.create_task(asking)
    assert loop.run_until_complete(step)
    task._log_destroy_pending = False
    loop.close()
    asking.close()
    del task
    budgeter.close()
    [row] = budgeter.ledger.rows
    assert (row.outcome, row.requests) == ("cancelled", 1)


def test_a_client_that_asks_its_own_budgeter_is_told():
    """Synchronously it would wait for itself."""
    problems = []

    def ask_again(call):
        with pytest.raises(ConfigError, match="would wait for itself") as caught:
            model.invoke("hello")
        problems.append(caught.value)
        return "yes"

    model = BudgetedChatModel(llm=budgeter_of(ask_again))
    assert model.invoke("hello").text == "yes"
    assert len(problems) == 1
    model.close()


def test_in_a_forked_process_it_is_refused(monkeypatch):
    """Before anything is touched that the parent has open."""
    budgeter = budgeter_of(yes)
    model = BudgetedChatModel(llm=budgeter)
    model.invoke("hello")
    monkeypatch.setattr(budgeter.owner, "_process_id", 1)
    with pytest.raises(ConfigError, match="used in process 1 before this process was forked"):
        model.invoke("hello")
    with pytest.raises(ConfigError, match="Make a budgeter in each process"):
        asyncio.run(model.ainvoke("hello"))
    with budgeter.scope(ScopeKind.TURN, "child"):
        assert budgeter.run.counts().asked == 1
    model.close()  # the parent's loop is left alone
    thread = budgeter.owner._thread
    assert thread.is_open
    monkeypatch.undo()
    model.close()
    assert not thread.is_open
