"""Calls and budgeters that several measurements use."""

import time
from typing import Any

from callwise.budget import Budgeter, Limits
from callwise.budget.clock import Clock
from callwise.calls import (
    Call,
    Client,
    Endpoint,
    Message,
    Prices,
    Priority,
    Purpose,
    Role,
    Sampling,
)
from callwise.calls.errors import CallError
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.retry import RetryPolicy

__all__ = ["MODEL", "PRICES", "ROOMY", "chat_call", "loaded", "timed"]

MODEL = "gpt-4o-mini"
PRICES = Prices(0.15, 0.6)
ROOMY = Limits(max_calls=10**9, max_requests=10**9, max_tokens=10**12, max_usd=1e6)
"""Limits of every kind, none of which is ever met."""


def chat_call(text: str, *, max_tokens: int = 16, **fields: Any) -> Call:
    """Return a chat call that is not shared; `fields` are further ones of `Call`."""
    return Call(
        role=Role.MAIN,
        purpose=fields.pop("purpose", Purpose.REASON),
        messages=(Message("user", text),),
        sampling=fields.pop("sampling", Sampling(temperature=0.7, max_tokens=max_tokens)),
        priority=fields.pop("priority", Priority.NORMAL),
        **fields,
    )


def loaded(
    client: Client,
    load: LoadKnobs,
    *,
    clock: Clock | None = None,
    retry: RetryPolicy | None = None,
    **options: Any,
) -> Budgeter:
    """Return a budgeter with these knobs, whose roles are served by one client.

    Args:
        options: further arguments of `Budgeter`.
    """
    endpoint = Endpoint("local", MODEL, client, PRICES)
    return Budgeter(
        {Role.MAIN: endpoint, Role.EMBED: Endpoint("vectors", "embed", client, PRICES)},
        clock=clock,
        limits=options.pop("limits", ROOMY),
        retry=retry,
        load=load,
        **options,
    )


async def timed(budgeter: Budgeter, call: Call) -> float | None:
    """Ask, and return the seconds until the answer; None where there is none."""
    began = time.perf_counter()
    try:
        await budgeter.ask(call)
    except CallError:
        return None
    return time.perf_counter() - began
