"""Rate limits of several processes: requests and tokens per minute that they send together.

Problem: processes that each keep to the limit of an endpoint, a key or a user pass it together;
and a process that asks the server again and again until it may send waits longer than the others,
or polls.

Choice: one script gives a request its time under all limits that cover it, and takes its amounts
as of that time (`rate_scripts`). So no process asks twice, none delays a request that was given
its time before, and one that waits for the limit of its user is in the way of no other user. What
a request has not used is given back when it has ended, as far as it was still in the way of
others; what it used beyond is a debt, which later ones wait for.

The times are the server's. Those of what was asked and not yet sent are kept by the process,
which sleeps until then on its own clock: by durations, so that wrong clocks do not matter.
"""

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2s
from typing import Any, NamedTuple

from callwise.budget.fleet.rate_lines import RateLine
from callwise.budget.fleet.rate_scripts import RateScripts
from callwise.budget.fleet.redis_link import RedisLink, Script
from callwise.budget.rate.meters import MINUTE_SECONDS
from callwise.calls.errors import BudgetStoreLost
from callwise.calls.load.rate_limits import RateLimits

__all__ = ["SharedRates", "SharedTurn"]

FORGET_SECONDS = 3600
"""Time after which what is in use of a limit that is not asked for any more is dropped."""

OPEN_SECONDS = 900
"""Time after which a request counts as ended that its process has not settled."""

_LOGGER = logging.getLogger(__name__)
_SCRIPTS = RateScripts()


class SharedTurn(NamedTuple):
    """The turn of one request, and what it takes of the limits.

    Args:
        number: of the request, in all processes.
        wait_seconds: time until it may leave.
        bound: name of the limit that it waits for; empty for none.
    """

    number: str
    limits: RateLimits
    lines: Sequence[RateLine]
    wait_seconds: float = 0.0
    bound: str = ""


class SharedRates:
    """The part of one process in the rate limits of several.

    Args:
        name: processes of one name share.
        make_link: returns the link to the server.
    """

    def __init__(
        self, name: str, make_link: Callable[[], RedisLink], *, scripts: RateScripts = _SCRIPTS
    ) -> None:
        self._prefix = f"callwise:{{{name}}}:rate:"
        self._make_link = make_link
        self._scripts = scripts
        self._process = uuid.uuid4().hex[:12]
        self._count = self._lost = 0
        self._waited_seconds = 0.0
        self._delayed: Counter[str] = Counter()

    async def take(self, limits: RateLimits, lines: Sequence[RateLine]) -> SharedTurn:
        """Return the turn of a request under its limits.

        Args:
            limits: how they are counted.
            lines: at least one; the first is that of the endpoint.

        Raises:
            BudgetStoreLost: when the server cannot be reached.
            ConfigError: when it cannot be used.
        """
        self._count += 1
        turn = SharedTurn(f"{self._process}-{self._count}", limits, lines)
        further = [*(line.factor for line in lines), limits.adaptive_threshold]
        amounts = [line.amounts for line in lines]
        try:
            wait, place = await self._run(self._scripts.take, turn, amounts, further)
        except BudgetStoreLost:
            self._lost += 1
            raise
        except BaseException:
            self.settle(turn, [(0.0,) * len(each) for each in amounts])
            raise
        wait_seconds = float(wait) / 1e6
        if not place:
            return turn._replace(wait_seconds=wait_seconds)
        self._waited_seconds += wait_seconds
        bound = lines[place - 1].name
        self._delayed["rate_delayed_by_" + (bound.split()[0] if place > 1 else "endpoint")] += 1
        return turn._replace(wait_seconds=wait_seconds, bound=bound)

    def settle(self, turn: SharedTurn, used: Sequence[Sequence[float]]) -> None:
        """Correct a turn to what was used of each of its limits. Does not wait.

        Where the server is lost, what was given counts, until its minute is over.
        """
        try:
            settled = self._run(self._scripts.settle, turn, used)
        except RuntimeError:  # the event loop is gone, as the server may be
            return
        settled.add_done_callback(_report)

    def statistics(self) -> Mapping[str, int | float]:
        """Return requests that asked for a turn, seconds that they were given, and lost ones.

        And how many waited for a limit of the endpoint, the key, a user and so on.
        """
        counts = {"turns": self._count, "waited_seconds": self._waited_seconds, "lost": self._lost}
        return counts | dict(sorted(self._delayed.items()))

    def _run(
        self,
        script: Script,
        turn: SharedTurn,
        amounts: Sequence[Sequence[float]],
        further: Sequence[float] = (),
    ) -> "asyncio.Future[Any]":
        limits = turn.limits
        is_sliding = limits.window == "sliding"
        seconds = MINUTE_SECONDS + limits.slack_seconds
        if not is_sliding:
            seconds = max(limits.burst_seconds - limits.slack_seconds, 0.0)
        per = 1.0 if is_sliding else MINUTE_SECONDS
        arguments = [turn.number, limits.window, repr(seconds), FORGET_SECONDS, OPEN_SECONDS]
        keys = []
        for line, given in zip(turn.lines, amounts, strict=True):
            keys.append(f"{self._prefix}{line.name}:{limits.window}")
            if line.is_of_all_endpoints:
                counted_as = repr((line.per_minute, seconds)).encode()
                keys[-1] += blake2s(counted_as, digest_size=6).hexdigest()
            of_line = list(zip(line.per_minute, given, strict=True))
            arguments.append(" ".join(repr((most or 0.0) / per) for most, _ in of_line))
            arguments.append(" ".join(repr(float(each) if most else 0.0) for most, each in of_line))
        arguments += [repr(each) for each in further]
        return self._make_link().run(script, keys, arguments)


def _report(settled: "asyncio.Future[Any]") -> None:
    error = None if settled.cancelled() else settled.exception()
    if error is not None and not isinstance(error, BudgetStoreLost):
        _LOGGER.error("the shared rate limits have not counted a request: %s", error)
