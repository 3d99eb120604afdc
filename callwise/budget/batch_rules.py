"""Rules of batches: what calls must share, how long lists are split, and what a failure means.

A failure that every call would have met alone (a limit of the rate, a wrong key) reaches each of
them as it came. Another one may be the fault of one of them: then they are set apart.
"""

import sys
from collections.abc import Hashable, Sequence
from copy import copy
from dataclasses import replace

import orjson

from callwise.budget.usage import is_turned_away
from callwise.budget.work import Work
from callwise.budget.work_batch import BatchMember, WorkBatch
from callwise.calls.call import Call
from callwise.calls.errors import (
    AuthFailed,
    BadRequest,
    BadResponse,
    BatchFailed,
    CallError,
    ContentRefused,
    EndpointError,
    ModelLoading,
    ParameterRefused,
    QuotaExhausted,
    RateLimited,
    UnknownModel,
)
from callwise.calls.load.batch_knobs import BatchLimits
from callwise.calls.load.timeout_knobs import TimeoutKnobs
from callwise.calls.reply import Reply
from callwise.calls.together import usage_sum

__all__ = [
    "end_of_one",
    "is_of_unknown_usage",
    "merged_reply",
    "pieces_of",
    "set_apart",
    "shared_parameters",
    "untimed_call",
]

_NOT_ABOUT_CONTENT = (RateLimited, AuthFailed, QuotaExhausted, ModelLoading, UnknownModel)
"""Errors that each of the calls would have met alone."""

_ABOUT_CONTENT = (BadRequest, BadResponse, ContentRefused)
"""Errors that one of several texts may have caused for all."""


def pieces_of(inputs: Sequence[str], limits: BatchLimits) -> list[tuple[str, ...]]:
    """Return texts in pieces that are within the limits of one request, in order."""
    most_items = limits.items or sys.maxsize
    most_bytes = limits.text_bytes or sys.maxsize
    pieces: list[list[str]] = [[]]
    size = 0
    for text in inputs:
        text_bytes = len(text.encode("utf-8", "surrogatepass"))
        if pieces[-1] and (len(pieces[-1]) >= most_items or size + text_bytes > most_bytes):
            pieces.append([])
            size = 0
        pieces[-1].append(text)
        size += text_bytes
    return list(map(tuple, pieces))


def merged_reply(
    pieces: Sequence[tuple[str, ...]],
    answered: dict[tuple[str, ...], Reply],
    results: Sequence[tuple[tuple[str, ...], Reply | BaseException]],
) -> Reply:
    """Return the reply to all pieces, and keep those that have one for the next attempt.

    Its usage is that of the requests of this attempt.

    Args:
        answered: replies by piece, of earlier attempts; those of this one are added.
        results: ends of the pieces that this attempt has sent.

    Raises:
        CallError: of the first piece without a reply, with the usage of the others.
    """
    replies = [result for _, result in results if isinstance(result, Reply)]
    answered.update((piece, result) for piece, result in results if isinstance(result, Reply))
    for _, result in results:
        if isinstance(result, CallError) and replies:
            usage = usage_sum([reply.usage for reply in replies])
            # What a request that was not turned away has used is not known.
            is_unknown = is_of_unknown_usage(result)
            result.usage = replace(usage, output_tokens=None) if is_unknown else usage
        if isinstance(result, BaseException):
            raise result
    return replace(
        replies[0],
        vectors=tuple(vector for piece in pieces for vector in answered[piece].vectors),
        usage=usage_sum([reply.usage for reply in replies]),
        latency_seconds=max(reply.latency_seconds for reply in replies),
    )


def end_of_one(error: CallError, *, is_chat: bool) -> tuple[CallError, bool]:
    """Return how one call of a batch ended, and whether its next attempt is apart from it."""
    was_sent = getattr(error, "was_sent", True)
    if isinstance(error, BatchFailed):
        return error, True
    is_endpoints = isinstance(error, EndpointError) and not isinstance(error, ParameterRefused)
    is_refused_request = isinstance(error, ContentRefused) and error.status is not None
    if not was_sent or not (is_endpoints or is_refused_request):
        return copy(error), False
    # The route for conversations may be what is not there, whatever a server answers then.
    if isinstance(error, _NOT_ABOUT_CONTENT) and not (is_chat and isinstance(error, UnknownModel)):
        return copy(error), False
    if is_chat or isinstance(error, _ABOUT_CONTENT):
        return BatchFailed.by(copy(error)), True
    return copy(error), True


def is_of_unknown_usage(error: CallError) -> bool:
    """Return whether a request that ended so may have used what was not reported."""
    cause = (error.cause or error) if isinstance(error, BatchFailed) else error
    return error.usage is None and not is_turned_away(cause)


def set_apart(failed: Sequence[BatchMember], batch: WorkBatch) -> None:
    """Let the next attempts of conversations travel alone, and those of texts in halves."""
    middle = (len(failed) + 1) // 2
    for half, members in enumerate((failed[:middle], failed[middle:])):
        items = sum(member.items for member in members)
        for member in members:
            is_alone = batch.path is not None or len(members) == 1
            member.work.batch_part = ("", 0) if is_alone else (f"{batch.id}/{half}", items)


def shared_parameters(call: Call) -> Hashable:
    """Return what conversations of one request share; None where that cannot be compared."""
    sampling = call.sampling
    bodies = b""
    if sampling.extra_body or call.unkeyed_body:
        try:
            bodies = orjson.dumps(
                [dict(sampling.extra_body), dict(call.unkeyed_body)], option=orjson.OPT_SORT_KEYS
            )
        except TypeError:
            return None
    return (
        call.response_model,
        sampling.temperature,
        sampling.top_p,
        sampling.max_tokens,
        (sampling.seed or 0) + call.sample if call.sample else sampling.seed,
        sampling.stop,
        sampling.reasoning_effort,
        sampling.top_logprobs,
        sampling.presence_penalty,
        sampling.frequency_penalty,
        bodies,
    )


def untimed_call(work: Work, timeout: TimeoutKnobs | None) -> Call:
    """Return the call of a work, without a timeout that is only that of its kind."""
    call = work.outgoing_call
    if timeout is None or call.timeout_seconds != timeout.seconds_of(call, work.asked.name):
        return call
    return replace(call, timeout_seconds=None)
