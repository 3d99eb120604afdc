"""Part of each preset's prompts that a provider's prompt cache serves, on a real server.

A llama.cpp server with four slots receives every request of the command line and counts
input and cached tokens. The model is cut to two layers and its text is nonsense, so the
simulated model's answers are passed on in its place; what is counted are the real prompts.

Each preset is measured twice: with one request at a time, in the order in which the preset
sends them, and side by side as the preset sends them, where a request cannot use what another
one that is still being read will leave in the cache.

    python -m benchmarks.prompt_cache                           this checkout
    python -m benchmarks.prompt_cache --checkout ../base        that one as well, first
    python -m benchmarks.prompt_cache classic balanced          some presets; writes nothing
    python -m benchmarks.prompt_cache classic --show            the cache, request by request
    python -m benchmarks.prompt_cache --serial                  one at a time; writes nothing

`make test-model` installs the server and the model.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, Measured, markdown, provenance
from tests.model.programs import (
    ROOT,
    cut_model,
    environment_reason,
    model_server,
    simulated_server,
)
from tests.model.proxy import Exchange, Proxy, answered_by

__all__ = ["Spent", "measure", "spent"]

RESULTS = ROOT / "benchmarks" / "results"
CONVERSATION = ROOT / "configs" / "conversations" / "en_moving_city.jsonl"
TURNS = 6
SLOTS = 4
CONTEXT_TOKENS = 8192
MAX_OUTPUT_TOKENS = 16
"""Of the nonsense that the server generates: none of it is used."""

TARGETS: Mapping[str, float | None] = {
    "classic": 0.75,
    "balanced": 0.70,
    "thorough": 0.65,
    "frugal": None,
    "instant": None,
}
"""Presets, and the cached share of input tokens that each is to reach."""
SERIAL_PRESETS = frozenset({"classic", "instant"})
"""Presets that send one request at a time anyway."""
INPUT_TARGET = 0.75
"""Input tokens compared with the base's."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Requests and tokens of the turns of one preset.

    Args:
        turns: how many there were.
        requests: received by the server.
        failed: of them, those that the server refused.
        input_tokens: as the server counted them.
        cached_tokens: of them, those in its cache.
        output_tokens: of the simulated answers, by the model's tokenizer.
        fallbacks: turns whose reply came from a fallback.
        seconds: time that it took.
    """

    turns: int
    requests: int
    failed: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    fallbacks: int
    seconds: float

    @property
    def cached_share(self) -> float:
        """Cached share of the input tokens."""
        return self.cached_tokens / max(self.input_tokens, 1)


def _tokens(origin: str, text: str) -> int:
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{origin}/tokenize",
        data=json.dumps({"content": text}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:  # noqa: S310
        return len(json.load(response)["tokens"])


def _replayed(checkout: Path, preset: str, base_url: str) -> list[dict[str, Any]]:
    """Return the turns that a checkout's command line replays against an endpoint."""
    kept = {name: value for name, value in os.environ.items() if name[:9] != "CALLWISE_"}
    endpoint = {"CALLWISE_BASE_URL": base_url, "CALLWISE_MODEL": "smollm2-cut"}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "callwise", "replay", str(CONVERSATION)]
        options = ["--preset", preset, "--max-turns", str(TURNS), "--out", str(out)]
        done = subprocess.run(  # noqa: S603 - our own command
            [*command, *options],
            cwd=checkout,
            env={**kept, **endpoint, "PYTHONPATH": str(checkout)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"{checkout}, {preset}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        lines = (out / "turns.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _show(log: Sequence[Exchange]) -> None:
    """Print the cache request by request: which prompt began as which earlier one."""
    for number, each in enumerate(log):
        form = each.body.get("response_format") or {}
        name = (form.get("json_schema") or {}).get("name") or form.get("type") or "text"
        print(
            f"{number:4} {name:28} input {each.input_tokens:5} cached {each.cached_tokens:5} "
            f"({each.cached_tokens / max(each.input_tokens, 1):.2f})"
        )


def spent(
    checkout: Path, preset: str, *, max_in_flight: int | None = None, shows_requests: bool = False
) -> Spent:
    """Return what a checkout's preset sends, to a server whose cache is empty at first."""
    options = ("--model", cut_model(), "--slots", str(SLOTS), "--context", str(CONTEXT_TOKENS))
    begun = time.monotonic()
    with (
        model_server(*options) as upstream,
        simulated_server(checkout) as simulated,
        Proxy(
            upstream,
            stand_in=answered_by(simulated),
            max_output_tokens=MAX_OUTPUT_TOKENS,
            max_in_flight=max_in_flight,
        ) as proxy,
    ):
        turns = _replayed(checkout, preset, proxy.base_url)
        seconds = time.monotonic() - begun
        origin = upstream.removesuffix("/v1")
        output_tokens = sum(_tokens(origin, each.content) for each in proxy.log)
    if shows_requests:
        _show(proxy.log)
    return Spent(
        turns=len(turns),
        requests=len(proxy.log),
        failed=sum(each.status != 200 for each in proxy.log),
        input_tokens=sum(each.input_tokens for each in proxy.log),
        cached_tokens=sum(each.cached_tokens for each in proxy.log),
        output_tokens=output_tokens,
        fallbacks=sum(turn["is_fallback"] for turn in turns),
        seconds=seconds,
    )


def _commit(checkout: Path) -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=7"],  # noqa: S607 - the user's git
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or checkout.name


def _figure(preset: str, commit: str, spent_: Sequence[Spent], base: Spent | None) -> Figure:
    """Return a preset's figure at one commit.

    Args:
        preset: the preset.
        commit: the commit.
        spent_: with one request at a time, then side by side where that was measured.
        base: what the base spent; None for the base itself, which has no targets.
    """
    first = spent_[0]
    shares = [f"{each.cached_share:.2f} cached" for each in spent_]
    turn, call = first.input_tokens / first.turns, first.input_tokens / first.requests
    words = [
        " one at a time, ".join(shares) + (" side by side" if len(shares) > 1 else ""),
        f"{turn:,.0f} input tokens ({call:,.0f} a call)",
        f"{first.output_tokens / first.turns:,.0f} output tokens",
        f"{first.requests / first.turns:.1f} calls",
        f"{sum(each.seconds for each in spent_):.0f} s in all",
    ]
    share_target = TARGETS[preset]
    targets: list[str] = []
    is_met: list[bool] = []
    if base is not None:
        of_base = first.input_tokens / max(base.input_tokens, 1)
        per_call = of_base * base.requests / first.requests
        words[1] += f", {of_base:.2f} of the base's ({per_call:.2f} a call)"
        if share_target is not None:
            targets = [
                f">= {share_target:.2f} cached",
                f"<= {INPUT_TARGET:.2f} of the base's input",
            ]
            is_met = [first.cached_share >= share_target, of_base <= INPUT_TARGET]
    lost = sum(each.failed + each.fallbacks for each in spent_)
    if lost:
        words.append(f"{lost} requests refused or replies lost")
    return Figure(
        f"`{preset}` at {commit}, a turn",
        "; ".join(words),
        "; ".join(targets),
        all(is_met) if is_met else None,
        note="real server and prompts, simulated answers",
    )


def measure(
    presets: Sequence[str] = tuple(TARGETS),
    checkouts: Sequence[Path] = (ROOT,),
    *,
    is_serial_only: bool = False,
    shows_requests: bool = False,
) -> Measured:
    """Return what each preset sends.

    Args:
        presets: which presets.
        checkouts: what is measured; the first of several is the base.
        is_serial_only: leave out the requests side by side.
        shows_requests: print each request.
    """
    if reason := environment_reason():
        return Measured("prompt_cache", skipped=reason)
    figures = []
    for preset in presets:
        orders = (1,) if is_serial_only or preset in SERIAL_PRESETS else (1, None)
        base = None
        for checkout in checkouts:
            measured = [
                spent(checkout, preset, max_in_flight=order, shows_requests=shows_requests)
                for order in orders
            ]
            figures.append(_figure(preset, _commit(checkout), measured, base))
            base = base or measured[0]
            print(f"{figures[-1].what}: {figures[-1].figure}", file=sys.stderr, flush=True)
    return Measured("prompt_cache", figures)


def main() -> None:
    """Measure and print; write the table when every preset was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("presets", nargs="*", help=f"of: {', '.join(TARGETS)}")
    parser.add_argument(
        "--checkout", type=Path, action="append", default=[], help="measure that one as well"
    )
    parser.add_argument("--show", action="store_true", help="print every request")
    parser.add_argument("--serial", action="store_true", help="leave out the requests side by side")
    options = parser.parse_args()
    unknown = sorted(set(options.presets) - set(TARGETS))
    if unknown:
        parser.error(f"no preset {unknown[0]!r}; there are: {', '.join(TARGETS)}")
    checkouts = [*(path.resolve() for path in options.checkout), ROOT]
    presets = options.presets or list(TARGETS)
    measured = measure(
        presets,
        checkouts,
        is_serial_only=options.serial,
        shows_requests=options.show,
    )
    if measured.skipped:
        sys.exit(measured.skipped)
    facts = provenance()
    facts["turns"] = f"{TURNS} of {CONVERSATION.name}"
    facts["server"] = (
        f"llama.cpp, SmolLM2-135M cut to 2 layers, {SLOTS} slots of {CONTEXT_TOKENS} tokens; "
        "answers by the simulated model"
    )
    heading = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    table = markdown([measured])
    print(f"{heading}\n\n{table}")
    if options.presets or options.serial:
        return
    document = {**facts, "results": [measured.as_json()]}
    (RESULTS / "prompt_cache.json").write_text(
        json.dumps(document, indent=1) + "\n", encoding="utf-8"
    )
    (RESULTS / "prompt_cache.md").write_text(f"{heading}\n\n{table}", encoding="utf-8")


if __name__ == "__main__":
    main()
