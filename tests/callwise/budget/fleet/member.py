"""Program of one process among several: asks as it is commanded, one JSON line for each command.

    {"do": "ask", "name": ..., "limits": {...}, "calls": 64}   ask so many calls together, for the
                             users in "users" by turns, with the deadline in "deadline_seconds"
    {"do": "hold", ...}      ask, and leave the calls in flight unanswered
    {"do": "answer"}         answer what is held back, and wait for its end

Each is answered by one line: how many calls were served, how many requests were sent, and what the
ledger comes to. The clock of its budgeter is wrong by `clock_error_seconds`.
"""

import asyncio
import json
import sys
from typing import Any

from callwise.budget import Budgeter, ScopeKind, SystemClock
from callwise.calls import Call, Endpoint, Message, Prices, Purpose, ReportedUsage, Role, Sampling
from callwise.calls.call import Outcome
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.testing.fakes import ScriptedClient

PRICES = Prices(1.0, 2.0)


class WrongClock(SystemClock):
    """The machine's clock, wrong by some seconds."""

    def __init__(self, error_seconds: float) -> None:
        self._error_seconds = error_seconds

    def now(self) -> float:
        """Return the wrong time."""
        return SystemClock.now() + self._error_seconds


class FixedCounter:
    """A token counter with one count for every call."""

    def call_tokens(self, call: Call) -> int:
        """Return 10: with the margin and 5 for the answer, an attempt reserves 17."""
        del call
        return 10


class Member:
    """One process of a name."""

    def __init__(self, command: dict[str, Any]) -> None:
        self.may_answer = asyncio.Event()
        self.all_at_rest = asyncio.Event()
        self._at_rest = 0
        self.client = ScriptedClient(
            self._answer,
            usage=ReportedUsage(input_tokens=12, output_tokens=5),
            is_simulated=True,  # teaches the estimates nothing
        )
        fleet = {key: command[key] for key in ("name", "limits", "heartbeat_seconds", "on_lost")}
        self.budgeter = Budgeter(
            {Role.MAIN: Endpoint("fake", "model-1", self.client, PRICES)},
            estimator=FixedCounter(),
            clock=WrongClock(command["clock_error_seconds"]),
            load=LoadKnobs.model_validate({"fleet": fleet, "rate": command.get("rate")}),
        )
        self.asking: set[asyncio.Task[object]] = set()
        users = command.get("users", [None])
        self._scopes = [
            self.budgeter.run.open(ScopeKind.CONVERSATION, str(user), user=user) for user in users
        ]
        self._deadline_seconds = command.get("deadline_seconds")

    async def _answer(self, call: Call) -> str:
        del call
        self._rest()
        await self.may_answer.wait()
        return "an answer"

    def ask(self, calls: int) -> None:
        """Begin to ask so many calls."""
        for number in range(calls):
            call = Call(
                Role.MAIN,
                Purpose.OTHER,
                (Message("user", str(number)),),
                sampling=Sampling(max_tokens=5),
                sample=number,
                deadline_seconds=self._deadline_seconds,
            )
            with self._scopes[number % len(self._scopes)].entered():
                asking = asyncio.ensure_future(self.budgeter.ask(call))
            asking.add_done_callback(self._rest)
            self.asking.add(asking)

    def _rest(self, _: object = None) -> None:
        """Note that one more call is at the endpoint or has ended."""
        self._at_rest += 1
        if self._at_rest >= len(self.asking):
            self.all_at_rest.set()

    async def end(self) -> dict[str, object]:
        """Answer all, close, and return what came of it."""
        self.may_answer.set()
        ends = await asyncio.gather(*self.asking, return_exceptions=True)
        await self.budgeter.aclose()
        self.budgeter.ledger.check()
        counts = self.budgeter.run.counts()
        usage = counts.usage
        return {
            "served": counts.outcomes[Outcome.SERVED],
            "sent": self.client.sent_requests,
            "errors": sorted({type(each).__name__ for each in ends if isinstance(each, Exception)}),
            "ledger": [
                counts.asked - counts.outcomes[Outcome.REFUSED],
                usage.requests,
                usage.charged_tokens,
                usage.charged_picodollars,
            ],
        }


async def main() -> None:
    """Follow the commands until there are no more."""
    loop = asyncio.get_running_loop()
    member: Member | None = None
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        if command["do"] != "answer":
            member = Member(command)
            member.ask(command["calls"])
        assert member is not None
        if command["do"] == "hold":
            await member.all_at_rest.wait()
            answer: dict[str, object] = {"sent": member.client.sent_requests}
        else:
            answer = await member.end()
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
