"""Programs that ask one budgeter from many places concurrently; a script, run separately.

    python owner_loop_cases.py CALLERS

Each case asks over HTTP, and prints a line of JSON: its name, calls by outcome, requests by the
ledger and by the server's log. A case that hangs ends the process with every thread's stack.
"""

import asyncio
import faulthandler
import importlib.util
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from operator import add
from typing import Annotated, TypedDict

from langgraph.graph import START, StateGraph

from callwise.budget import Budgeter, Limits, ScopeKind
from callwise.calls import Call, CallRefused, Endpoint, Message, Purpose, Role
from callwise.calls.chat_model import BudgetedChatModel
from callwise.calls.errors import ConfigError
from callwise.calls.openai_http import OpenAIClient
from callwise.calls.owner_loop import OwnerLoop
from callwise.simulator.server import SimServer
from callwise.simulator.simulator_settings import SimulatedSettings
from callwise.testing.fakes import ScriptedClient

MAX_SECONDS = 120
MAX_REQUESTS = 20


class Program:
    """One budgeter on a real server, and two models of it."""

    def __init__(self, callers):
        self.callers = callers
        self.server_loop = OwnerLoop(is_private=True)
        self.server = SimServer(SimulatedSettings(latency_scale=0.0, real_time_scale=1.0))
        self.server_loop.wait(self.server.__aenter__)
        client = OpenAIClient(self.server.base_url, api_key="none", max_connections=8)
        endpoint = Endpoint("server", "model", client)
        self.budgeter = Budgeter(dict.fromkeys((Role.MAIN, Role.JUDGE), endpoint))
        self.main = BudgetedChatModel(llm=self.budgeter)
        self.judge = BudgetedChatModel(llm=self.budgeter, role=Role.JUDGE)

    def prompts(self, count=None):
        """Return prompts that are all alike."""
        return ["hello"] * (count or self.callers)

    async def ask_all(self):
        """Ask with both models, side by side, each in a separate turn."""

        async def ask(number):
            with self.budgeter.scope(ScopeKind.TURN, f"a{id(asyncio.current_task())}"):
                await (self.main, self.judge)[number % 2].ainvoke("hello")

        await asyncio.gather(*map(ask, range(self.callers)))

    def end(self):
        """Return what was counted on both sides."""
        self.budgeter.ledger.check()
        rows = self.budgeter.ledger.rows
        counts = self.budgeter.run.statistics().counts
        self.main.close()
        self.judge.close()
        # What left a moment ago may still be on its way to the server's handler.
        self.server_loop.wait(asyncio.sleep, 0.05)
        self.server_loop.wait(self.server.__aexit__, None, None, None)
        self.server_loop.close()
        return {
            "asked": counts.asked,
            "in_flight": counts.in_flight,
            "outcomes": Counter(str(row.outcome) for row in rows),
            "requests": sum(row.requests for row in rows),
            "received": len(self.server.log),
        }


def threads(program):
    """Ask from as many threads, each in a separate turn."""

    def ask(number):
        with program.budgeter.scope(ScopeKind.TURN, str(number)):
            (program.main, program.judge)[number % 2].invoke("hello")

    with ThreadPoolExecutor(program.callers) as pool:
        list(pool.map(ask, range(program.callers)))


def loops(program):
    """Ask from four loops at once."""
    program.callers //= 4
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: asyncio.run(program.ask_all()), range(4)))


def loops_in_turn(program):
    """Ask in two runs of asyncio, by the models and by the budgeter itself."""
    program.callers //= 4
    call = Call(Role.MAIN, Purpose.OTHER, (Message("user", "hello"),))

    async def ask():
        await asyncio.gather(*(program.budgeter.ask(call) for _ in range(program.callers)))

    for _ in range(2):
        asyncio.run(program.ask_all())
        asyncio.run(ask())


def batch_in_a_running_loop(program):
    """Ask as a notebook's cell does."""

    async def cell():
        half = program.callers // 2
        await program.main.ainvoke("hello")
        program.main.batch(program.prompts(half))
        program.main.invoke("hello")
        await program.main.abatch(program.prompts(program.callers - half - 2))

    asyncio.run(cell())


def eager_tasks(program):
    """Ask in tasks that begin where they are made."""
    if sys.version_info < (3, 12):
        return "needs Python 3.12"

    async def main():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        await program.ask_all()

    asyncio.run(main())
    return None


def another_loop(program):
    """Ask in uvloop."""
    if importlib.util.find_spec("uvloop") is None:
        return "needs uvloop"
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(program.ask_all())
    return None


def anyio_cancels(program):
    """Half of the callers are cancelled by anyio, which cancels again and again."""
    import anyio

    async def ask(number):
        with anyio.CancelScope() as scope:
            if number % 2:
                asyncio.get_running_loop().call_later(0.002 * (number % 7), scope.cancel)
            await program.main.ainvoke("hello")

    async def main():
        async with anyio.create_task_group() as group:
            for number in range(program.callers):
                group.start_soon(ask, number)

    anyio.run(main)


def callers_that_cancel(program):
    """Half of the callers are cancelled: as they begin, or when a neighbour has its answer."""

    async def main():
        tasks = [asyncio.create_task(program.main.ainvoke("hello")) for _ in program.prompts()]
        for number, task in enumerate(tasks):
            if number % 2:
                await (asyncio.wait([tasks[number - 1]]) if number % 3 else asyncio.sleep(0))
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())


def graph_nodes(program):
    """Ask in parallel synchronous nodes of a graph, invoked inside a running loop."""

    class State(TypedDict):
        said: Annotated[list, add]

    graph = StateGraph(State)
    for number in range(program.callers):
        graph.add_node(f"n{number}", lambda state: {"said": [program.main.invoke("hello").text]})
        graph.add_edge(START, f"n{number}")

    async def cell():
        assert len(graph.compile().invoke({"said": []})["said"]) == program.callers

    asyncio.run(cell())


def shared_and_capped(program):
    """Equal calls of four loops share under a cap, and a third of the callers leave."""
    turn = program.budgeter.scope(ScopeKind.TURN, "t", limits=Limits(max_requests=MAX_REQUESTS))
    shared = program.main.bind(share=True)

    async def ask(number):
        with turn.entered():
            await shared.ainvoke(f"hello {number % (MAX_REQUESTS + 5)}")

    async def main():
        tasks = [asyncio.create_task(ask(number)) for number in range(program.callers // 4)]
        for leaving, staying in zip(tasks[::3], tasks[1::3], strict=False):
            await asyncio.wait([staying])
            leaving.cancel()
        for end in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(end, CallRefused | asyncio.CancelledError | None):
                raise end

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: asyncio.run(main()), range(4)))
    turn.close()
    assert turn.counts().requests <= MAX_REQUESTS


def an_interrupt(program):
    """Ctrl-C while a synchronous call waits: it is given up, and counted before that is raised."""
    sent = threading.Event()

    async def never(call):
        for _ in range(1000):  # the caller waits by now
            await asyncio.sleep(0)
        sent.set()
        await asyncio.Event().wait()

    budgeter = Budgeter({Role.MAIN: Endpoint("fake", "model", ScriptedClient(never))})
    model = BudgetedChatModel(llm=budgeter)

    def press():
        sent.wait()
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background has none
    threading.Thread(target=press).start()
    try:
        model.invoke("hello")
    except KeyboardInterrupt:
        [row] = budgeter.ledger.rows
        assert (str(row.outcome), row.requests) == ("cancelled", 1)
    else:
        raise AssertionError("it was not interrupted")
    model.close()


def a_fork(program):
    """A forked process is told to make a budgeter; the parent's connections live on."""
    program.main.invoke("hello")
    program.main.invoke("hello")
    faulthandler.cancel_dump_traceback_later()  # its thread would be missed in the child
    child = os.fork()
    faulthandler.dump_traceback_later(MAX_SECONDS, exit=True)
    if child == 0:
        status = 1
        try:
            program.main.invoke("hello")
        except ConfigError as error:
            status = 0 if "forked" in str(error) else 2
        with program.budgeter.scope(ScopeKind.TURN, "child"):
            pass
        sys.exit(status)  # by the usual way, with everything that runs at an exit
    assert os.waitpid(child, 0)[1] == 0
    program.main.batch(program.prompts(8))


def trio_is_refused(program):
    """Another kind of loop is named, with what works there."""
    if importlib.util.find_spec("trio") is None:
        return "needs trio"
    import trio

    async def main():
        for ask in (program.main.ainvoke, lambda text: anext(program.main.astream(text))):
            try:
                await ask("hello")
            except ConfigError:
                continue
            raise AssertionError("it was not refused")
        await trio.to_thread.run_sync(program.main.invoke, "hello")

    trio.run(main)
    return None


CASES = (
    threads,
    loops,
    loops_in_turn,
    batch_in_a_running_loop,
    eager_tasks,
    another_loop,
    anyio_cancels,
    callers_that_cancel,
    graph_nodes,
    shared_and_capped,
    an_interrupt,
    a_fork,
    trio_is_refused,
)


def main():
    """Run each case in a separate program."""
    for case in [case for case in CASES if case.__name__ in sys.argv[2:]] or CASES:
        faulthandler.dump_traceback_later(MAX_SECONDS, exit=True)
        program = Program(int(sys.argv[1]))
        began = time.monotonic()
        skipped = case(program)
        seconds = round(time.monotonic() - began, 2)
        report = {"case": case.__name__, "skipped": skipped, "seconds": seconds, **program.end()}
        sys.stdout.write(json.dumps(report) + "\n")
        sys.stdout.flush()
    faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main()
