"""`callwise tune --buy`: price, confirmation, purchase."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import typer

from callwise.calls.errors import ConfigError
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.trust import endpoint_lines
from callwise.cli.terminal import progress_bar, say
from callwise.plans.makespan import Assumptions
from callwise.plans.recorded import seconds_to_buy
from callwise.recordings.counterfactual.purchase import SpendingCapReached
from callwise.recordings.recording import Recording, open_recording
from callwise.report.run_record import load_run
from callwise.text_layout import counted
from callwise.tuning.analysis import ToBuy, to_buy
from callwise.tuning.analysis_forms import buy_sentence
from callwise.tuning.buying import (
    BuyingEvaluator,
    FinishedPurchase,
    PurchaseProgress,
    buy,
    buy_racing,
)
from callwise.tuning.judge.judge_sweep import judge_rows
from callwise.tuning.replay_evaluator import settings_of
from callwise.tuning.row import TurnRow, sum_known
from callwise.tuning.sweep import FinishedSweep, SweepRequest

if TYPE_CHECKING:
    from callwise.cli.tune_options import TuneOptions

__all__ = ["agreed", "buy_missing", "buyer_as_it_goes", "spent"]


def agreed(options: "TuneOptions", question: str) -> bool:
    """Return whether the user confirms a purchase.

    Raises:
        ConfigError: when standard input is no terminal.
    """
    if options.yes:
        return True
    if not sys.stdin.isatty():
        raise ConfigError(
            "a purchase needs a confirmation, but standard input is no terminal; "
            "give --yes to confirm"
        )
    return typer.confirm(question, err=True)


def buyer_as_it_goes(
    options: "TuneOptions", request: SweepRequest, recording: Recording
) -> BuyingEvaluator | None:
    """Return the evaluator of a sweep that buys as it goes, in one process; None without consent.

    Raises:
        ConfigError: when nothing caps what may be spent.
    """
    budget = options.budget
    if budget.max_calls is None and budget.max_usd is None and not recording.is_simulated:
        raise ConfigError(
            f"`sampler: {request.spec.sampler}` chooses as it goes, so its price is not known "
            "beforehand: cap it with --max-buy-calls or --max-buy-usd"
        )
    turns = min(len(recording.inputs), request.max_turns or len(recording.inputs))
    cap = [f"{budget.max_calls:,} calls"] if budget.max_calls is not None else []
    cap += [f"USD {budget.max_usd:.4f}"] if budget.max_usd is not None else []
    say(
        f"Up to {request.spec.trials} settings are chosen one after another and run on {turns} "
        f"turns each; what is not recorded is bought, up to {' and '.join(cap) or 'any number'}."
    )
    if not agreed(options, "Buy as the sweep goes?"):
        return None
    return BuyingEvaluator(request.evaluator, budget, options.max_concurrency, options.batch)


def spent(options: "TuneOptions") -> str:
    """Return the calls bought and their cost; a cost that is not known is not 0."""
    budget = options.budget
    if budget.unknown_usd >= budget.calls > 0:
        usd = "USD unknown (no price list)"
    elif budget.unknown_usd:
        usd = f"USD unknown for {budget.unknown_usd} of them, {budget.usd:.6f} for the others"
    else:
        usd = f"USD {budget.usd:.6f}"
    by = (
        f" in {counted(budget.requests, 'request')}, {budget.tokens:,} tokens"
        if options.batch
        else ""
    )
    return f"Bought {counted(budget.calls, 'call')}{by}: {usd}."


def buy_missing(options: "TuneOptions", request: SweepRequest, finished: FinishedSweep) -> bool:
    """Show the price, ask, and buy; return whether anything was bought."""
    lacking = to_buy(finished.rows)
    say(buy_sentence(lacking))
    if not lacking.calls:
        return False
    if options.route or options.cascade:
        say(_whole_turns(finished.rows))
    if options.batch:
        say("That is by the list price; a batch costs about half of it.")
    else:
        _say_seconds(options, request, finished, lacking)
    _check_budget(options, lacking)
    _say_endpoints(options, request, finished)
    cap = options.budget.calls_left
    limit = "" if cap is None else f", and no more than {cap:,}"
    if not agreed(options, f"Buy about {counted(lacking.calls, 'call')}{limit}?"):
        say("Nothing was bought.")
        return False
    with progress_bar("turns", is_quiet=options.as_json) as show:
        bought = _bought(
            options,
            request,
            finished,
            lambda each: show(each.turns, lacking.turns, f"{each.calls} calls"),
        )
    say(spent(options))
    if bought.stopped:
        say(f"Stopped early: {bought.stopped}. Run the same command to go on.")
    return True


def _whole_turns(rows: Sequence[TurnRow]) -> str:
    """Return the price of whole turns, since another model's answer changes later prompts."""
    lacking = [row for row in rows if row.missing_calls]
    usd = sum_known(row.usd for row in lacking)
    price = "USD unknown (no price list)" if usd is None else f"about USD {usd:.4f}"
    calls = counted(sum(row.asked for row in lacking), "call")
    return f"Another model's answer changes the prompts after it: up to {calls}, {price}."


def _bought(
    options: "TuneOptions",
    request: SweepRequest,
    finished: FinishedSweep,
    on_turn: Callable[[PurchaseProgress], None],
) -> FinishedPurchase:
    """Buy for all settings, or with a race for those that are not beaten."""
    budget = options.budget
    if not options.race:
        return buy(
            request.evaluator,
            finished.settings,
            budget,
            max_concurrency=options.max_concurrency,
            on_turn=on_turn,
            by_batch=options.batch,
        )
    recording = open_recording(request.recording, trust=options.trust)

    def judged(rows: Sequence[TurnRow], texts: Mapping[str, str]) -> Sequence[TurnRow]:
        quality = options.quality_request
        found = judge_rows(recording, finished.folder, rows, quality, texts=texts)
        if not found.by and budget.is_empty:
            raise SpendingCapReached(
                f"{budget.calls} calls were bought, and none are left to judge with"
            )
        if not found.by:
            raise ConfigError("--race needs quality: give --quality referee, or --labels")
        return found.rows

    raced = buy_racing(
        request.evaluator,
        finished.settings,
        budget,
        judged,
        cost=options.cost,
        max_concurrency=options.max_concurrency,
        on_turn=on_turn,
        by_batch=options.batch,
    )
    for each in raced.dropped:
        say(
            f"dropped after {counted(each.conversations, 'conversation')}: {each.setting}, "
            f"beaten by {each.beaten_by}"
        )
    return raced.bought


def _say_endpoints(options: "TuneOptions", request: SweepRequest, finished: FinishedSweep) -> None:
    """Print the endpoints of the missing calls, where the recording names them."""
    recording = open_recording(request.recording, trust=options.trust)
    all_lines = (
        endpoint_lines(settings_of(recording, each), os.environ) for each in finished.settings
    )
    for line in dict.fromkeys(line for lines in all_lines for line in lines):
        say(line)


def _say_seconds(
    options: "TuneOptions", request: SweepRequest, finished: FinishedSweep, lacking: ToBuy
) -> None:
    """Print how long buying takes, where the recording shows how long its calls took."""
    recording = open_recording(request.recording, trust=options.trust)
    load = getattr(settings_of(recording, finished.settings[0]), "load", None)
    known = Assumptions(load=load if isinstance(load, LoadKnobs) else LoadKnobs())
    assumptions = known.with_record(load_run(request.recording).rows)
    # The simulated model's seconds are virtual: nothing waits for them.
    if recording.is_simulated or not assumptions.latencies:
        return
    seconds = seconds_to_buy(
        lacking.calls, lacking.turns, lacking.tokens, options.max_concurrency, assumptions
    )
    say(
        f"At the recorded latencies and the limits of `load`, that takes about {seconds:,.0f} s, "
        f"{counted(options.max_concurrency, 'conversation')} at a time."
    )


def _check_budget(options: "TuneOptions", lacking: ToBuy) -> None:
    if options.budget.max_usd is not None and lacking.usd is None:
        raise ConfigError(
            "--max-buy-usd cannot bind: the price of some of these calls is unknown. Set "
            "endpoints.<role>.prices in the recorded run's preset, or cap with --max-buy-calls"
        )
