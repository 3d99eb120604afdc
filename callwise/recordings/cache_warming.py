"""Warm-up of a cache: answers that are in it before the first call is asked.

From a cassette come the answers that the cache would have kept itself: of embeddings and of calls
at temperature 0 that were answered. A recording does not state which other calls were shared, so
those are left out, and so are answers to similar calls that were used again. It does not state
which answers fitted their form either; the cache checks that when one is used.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

from callwise.budget.budgeter import Budgeter
from callwise.budget.layers.cache import ENDLESS, Lifetime, ReplyCache
from callwise.calls.call import Call, Outcome, Priority, Purpose
from callwise.calls.errors import CallError
from callwise.calls.key import CallKey
from callwise.calls.kinds import kind_of
from callwise.calls.reply import Reply
from callwise.recordings.cassette_file import CassetteFile

__all__ = ["warm_by_asking", "warm_from_cassette"]

_LINES_TOGETHER = 256
"""Lines of a cassette that are read before other tasks may run."""

_ANSWERED = frozenset({Outcome.SERVED, Outcome.CACHED, Outcome.COALESCED})
"""Outcomes with a whole answer."""

_PURPOSES = {each.value: each for each in Purpose}


class _Answer(NamedTuple):
    """An answer of a cassette."""

    key: CallKey
    purpose: Purpose
    reply: Reply


async def warm_from_cassette(cache: ReplyCache, path: Path, *, is_timeless: bool = False) -> int:
    """Put a cassette's answers into a cache, and return how many that were.

    Of several answers to equal calls the one that was recorded first is put in. Each is kept for
    the time of its kind of work, from now.

    Args:
        is_timeless: keep them without end, as where time is simulated.

    Raises:
        FormatError: when there is no whole cassette.
    """
    file = await asyncio.to_thread(CassetteFile.open_reading, path)
    known: set[CallKey] = set()
    try:
        for start in range(0, len(file.index), _LINES_TOGETHER):
            entries = range(start, min(start + _LINES_TOGETHER, len(file.index)))
            for key, purpose, reply in await asyncio.to_thread(_answers, file, entries):
                seconds = inf if is_timeless else cache.ttl_seconds[kind_of(purpose)]
                if key not in known and seconds > 0:
                    known.add(key)
                    await cache.put(key, reply, ENDLESS if seconds == inf else Lifetime(seconds))
    finally:
        file.close()
    return len(known)


async def warm_by_asking(
    budgeter: Budgeter, calls: Iterable[Call], *, max_concurrency: int | None = None
) -> list[Reply | CallError]:
    """Ask calls ahead of their use, and return each one's reply or error in order.

    They are speculative and of the lowest class of urgency where they name none, and are counted
    and paid as any other. Those that may not share are asked, and answer no later call.

    Raises:
        CallError: a fatal one, once all have ended.
    """
    ahead = [
        replace(
            call,
            speculative=True,
            priority=Priority.BACKGROUND if call.priority is None else call.priority,
        )
        for call in calls
    ]
    return await budgeter.ask_all(ahead, max_concurrency=max_concurrency)


def _answers(file: CassetteFile, entries: Sequence[int]) -> list[_Answer]:
    """Return the answers among exchanges that a cache would have kept."""
    found = []
    for entry in entries:
        document = file.read(entry)
        exchange = file.decoded(entry, document)
        is_own = exchange.outcome in _ANSWERED and not exchange.delivery.similar
        if is_own and exchange.reply is not None and _is_shared(document):
            purpose = _PURPOSES.get(str(document.get("purpose")), Purpose.OTHER)
            found.append(_Answer(CallKey(document["key"]), purpose, exchange.reply))
    return found


def _is_shared(document: Mapping[str, Any]) -> bool:
    """Return whether the calls equal to a recorded one share its answer unasked."""
    if document.get("inputs"):
        return True
    settings = document.get("settings", {})
    body = settings.get("extra_body", {})
    return bool(body.get("temperature", settings.get("temperature")) == 0)
