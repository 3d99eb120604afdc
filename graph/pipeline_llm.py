"""The LLM of the nodes: the budgeter with the knobs of sampling and repair.

A prompt that does not fit a model's context is asked once more with less in it, for every node
alike: that is a repair, one of those that the call has, so the worst case of a plan remains a
bound. What was left out is listed in the turn's `degraded`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

from callwise.calls import LLM, Call, CallError, Remaining, Reply
from callwise.calls.errors import CallRefused, ContextTooLong
from callwise.calls.packing import Pack, packs_of, unpacked
from graph.knob_groups import PackKnobs, SamplingKnobs, sampling_of
from nodes.prompt import prompt
from nodes.records import Degradation
from nodes.shortening import shortened
from nodes.text import detect_language

__all__ = ["PipelineLLM", "clips_noted", "sampled"]

ANSWER_SHARE = 0.25
"""Most of a context that is kept free for the answer where a shorter prompt leaves so much."""

_DIVISIBLE_LIMITS = ("max_tokens", "max_usd")
"""Beginnings of the names of limits that several questions reach before one of them does."""

_CLIPS: ContextVar[list[str] | None] = ContextVar("clips", default=None)
"""The parts that the running node's prompts left out."""


@contextmanager
def clips_noted(node: str) -> Iterator[list[Degradation]]:
    """Collect what a node's prompts leave out; the list is filled at the end."""
    clips: list[str] = []
    degradations: list[Degradation] = []
    token = _CLIPS.set(clips)
    try:
        yield degradations
    finally:
        _CLIPS.reset(token)
    for left_out in dict.fromkeys(clips):
        detail = f"the prompt did not fit the model's context; left out: {left_out}"
        degradations.append(Degradation(node=node, reason="clipped", detail=detail))


def _clipped(call: Call, error: Reply | CallError) -> Call | None:
    """Return a call that asks again with a shorter prompt, or None; note the parts left out."""
    if not isinstance(error, ContextTooLong) or call.is_embedding:
        return None
    repairs_left = call.max_repairs - error.repairs - 1
    if repairs_left < 0:
        return None
    shares: list[float | None] = [None]
    if error.limit_tokens and error.prompt_tokens:
        answer = min(call.sampling.max_tokens or 0, error.limit_tokens * ANSWER_SHARE)
        fitting = (error.limit_tokens - answer, error.limit_tokens)
        shares = [tokens / error.prompt_tokens for tokens in fitting]
    shorter = None
    for share in shares:
        shorter = shorter or shortened(call.messages, share=share)
    if shorter is None:
        return None
    messages, left_out = shorter
    clips = _CLIPS.get()
    if clips is not None:
        clips.append(left_out)
    repair = call.repair + error.repairs + 1
    return replace(call, messages=messages, repair=repair, max_repairs=repairs_left)


def sampled(call: Call, sampling: Mapping[str, SamplingKnobs]) -> Call:
    """Return a call with the knobs of its purpose, which override the node's own."""
    given = sampling_of(call.purpose, sampling)
    if "timeout_seconds" in given:
        call = replace(call, timeout_seconds=given.pop("timeout_seconds"))
    if not given or call.is_embedding:
        return call
    if given.get("seed") is not None:
        given["seed"] += call.sample
    if "extra_body" in given:
        given["extra_body"] = given["extra_body"] or {}
    return replace(call, sampling=replace(call.sampling, **given))


def _parts(
    pack: Pack, calls: Sequence[Call], answer: Reply | CallError
) -> Iterator[tuple[int, Reply | CallError | None]]:
    """Yield each place of a pack with its reply, or None where it is to be asked alone.

    Where no quota of calls, requests or time is left for one call, there is none for any of its
    questions; tokens and USD that do not suffice for all of them may suffice for some.
    """
    if isinstance(answer, Reply):
        yield from zip(pack.places, unpacked(calls, answer), strict=True)
    elif isinstance(answer, CallRefused) and not answer.limit.startswith(_DIVISIBLE_LIMITS):
        yield from ((place, answer) for place in pack.places)
    else:
        yield from ((place, None) for place in pack.places)


@dataclass(frozen=True, slots=True)
class PipelineLLM:
    """An LLM that completes calls by the knobs, and clips prompts that are too long.

    Args:
        keeps_repairs: leave a call that allows fewer repairs than the knobs as it is.
        packing: knobs of packing by purpose; calls of no other purpose share a prompt.
    """

    llm: LLM
    max_repairs: int
    sampling: Mapping[str, SamplingKnobs]
    keeps_repairs: bool = False
    packing: Mapping[str, PackKnobs] = field(default_factory=dict)

    def _completed(self, call: Call) -> Call:
        if self.sampling:
            call = sampled(call, self.sampling)
        max_repairs = self.max_repairs
        if self.keeps_repairs:
            max_repairs = min(call.max_repairs, max_repairs)
        # What a node asks twice is meant to be one question; a resample is marked as one.
        share = True if call.share is None else call.share
        if (max_repairs, share) == (call.max_repairs, call.share):
            return call
        return replace(call, max_repairs=max_repairs, share=share)

    async def ask(self, call: Call) -> Reply:
        """Return the answer to a call; see `LLM.ask`."""
        asked = self._completed(call)
        while True:
            try:
                return await self.llm.ask(asked)
            except ContextTooLong as error:
                clipped = _clipped(asked, error)
                if clipped is None:
                    raise
                asked = clipped

    async def ask_all(
        self, calls: Sequence[Call], *, max_concurrency: int | None = None
    ) -> list[Reply | CallError]:
        """Return the answers to calls that are asked together; see `LLM.ask_all`."""
        found: dict[int, Reply | CallError] = {}
        again = dict(enumerate(map(self._completed, calls)))
        packs = self._packs(again) if self.packing else []
        while again:
            taken = {place for pack in packs for place in pack.places}
            alone = [place for place in again if place not in taken]
            together = [*(again[place] for place in alone), *(pack.call for pack in packs)]
            later = await self.llm.ask_all(together, max_concurrency=max_concurrency)
            asked, again_in_packs = again, dict[int, Call]()
            for pack, answer in zip(packs, later[len(alone) :], strict=True):
                for place, part in _parts(pack, [asked[each] for each in pack.places], answer):
                    if part is None:
                        again_in_packs[place] = asked[place]
                    else:
                        found[place] = part
            again, packs = again_in_packs, []
            for place, answer in zip(alone, later, strict=False):
                found[place] = answer
                clipped = _clipped(asked[place], answer)
                if clipped is not None:
                    again[place] = clipped
        return [found[place] for place in range(len(calls))]

    def _packs(self, calls: Mapping[int, Call]) -> list[Pack]:
        """Return which calls share a prompt: those of one purpose that may, in their order."""
        sizes, instructions = [], []
        for call in calls.values():
            knobs = self.packing.get(call.purpose) or self.packing.get("default")
            sizes.append(knobs.size if knobs is not None and knobs.is_on else 0)
            language = detect_language(call.messages[0].content) if call.messages else "en"
            instructions.append(prompt("_packed", language) if sizes[-1] else "")
        return packs_of(list(calls.values()), sizes, instructions)

    def advisory(self) -> Remaining:
        """Return what remains of the budget; see `LLM.advisory`."""
        return self.llm.advisory()
