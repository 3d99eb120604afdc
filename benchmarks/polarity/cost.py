"""Cost of the reuse of similar answers: per call, and of the content of long prompts."""

import time
from collections.abc import Callable, Mapping, Sequence

from benchmarks.figures import Figure
from benchmarks.polarity.layer import text_asking
from callwise.budget.similar.content import content_of

__all__ = ["call_figures", "content_figures"]

CALLS, PASSES = 600, 9

LENGTHS = (1_000, 10_000, 100_000)

SENTENCES: Mapping[str, str] = {
    "English chat": "They didn't have 3 kg of flour at the shop today, so what should I do now? ",
    "Chinese chat": "我今天去上班了，但是老板没在，你知道他什么时候回来吗？",
    "one sentence of fillers": "please ",
    "one sentence of marks": ", ",
    "stops alone": ". ",
    "raised figures": "²½",
}
"""Sentences that a long prompt repeats; all but the first two are meant to be slow."""

MAX_GROWTH = 15.0
"""Most that ten times the length may take in times: 10 is linear, 100 quadratic."""


async def call_figures(calls: int = CALLS, passes: int = PASSES) -> list[Figure]:
    """Return processor time of a call with the layer, and the part of the layer.

    The least of several passes: what others do on the machine only adds.
    """
    modes: Mapping[str, tuple[str | None, Callable[[int], str]]] = {
        "shadow, no similar call before it": ("shadow", "Is flat number {} to let?".format),
        "shadow, a similar call before it": ("shadow", _similar),
        "serve, no similar call before it": ("serve", "Is flat number {} to let?".format),
        "serve, a similar call before it": ("serve", _similar),
    }
    least: dict[tuple[str, bool], float] = {}
    for _ in range(passes):
        for name, (mode, text) in modes.items():
            for used in (None, mode):
                took = await _microseconds(used, text, calls)
                place = (name, used is not None)
                least[place] = min(took, least.get(place, took))
    return [
        Figure(
            f"{name}: processor time of a call of one sentence, us, and of it the layer's",
            f"{least[name, True]:.0f}, {least[name, True] - least[name, False]:.0f}",
            note=f"least of {passes} passes of {calls} calls",
        )
        for name in modes
    ]


def _similar(number: int) -> str:
    return f"{'Please, is' if number % 2 else 'is'} flat number {number // 2} to let?"


async def _microseconds(mode: str | None, text: Callable[[int], str], calls: int) -> float:
    ask, close = await text_asking(mode)
    texts = [text(number) for number in range(calls)]
    began = time.process_time()
    for each in texts:
        await ask("user", each)
    took = time.process_time() - began
    await close()
    return took / calls * 1e6


def content_figures(lengths: Sequence[int] = LENGTHS) -> list[Figure]:
    """Return processor time of the content of prompts, which must not grow faster than they do."""
    content_of("The lists are read once.")
    figures = []
    for name, sentence in SENTENCES.items():
        times = []
        for length in lengths:
            text = (sentence * (length // len(sentence) + 1))[:length]
            times.append(min(_milliseconds(text) for _ in range(3)))
        growth = times[-1] / times[-2]
        shown = " / ".join(f"{each:.1f}" for each in times)
        figures.append(
            Figure(
                f"content of {' / '.join(f'{each:,}' for each in lengths)} characters, {name}, ms",
                f"{shown}; the last step {growth:.1f} times",
                f"<= {MAX_GROWTH:g} times",
                growth <= MAX_GROWTH,
            )
        )
    return figures


def _milliseconds(text: str) -> float:
    began = time.process_time()
    content_of(text)
    return (time.process_time() - began) * 1e3
