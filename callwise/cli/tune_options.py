"""Options of `callwise tune`."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from callwise.cli.completers import complete_knob, complete_run
from callwise.cli.draining import SignalDrain
from callwise.cli.options import (
    CommandOptions,
    FreshOption,
    JsonOption,
    MaxConcurrencyOption,
    MaxTurnsOption,
    OutOption,
    TrustCodeOption,
    TrustEndpointOption,
)
from callwise.cli.terminal import show_notices

if TYPE_CHECKING:
    from callwise.calls.trust import Trust
    from callwise.recordings.counterfactual.purchase import SpendingCap
    from callwise.tuning.judge.judge_sweep import QualityRequest

__all__ = ["TuneOptions"]


class TuneOptions(CommandOptions):
    """Options of `callwise tune`, and values derived from them."""

    recording: Annotated[
        Path,
        typer.Argument(
            metavar="RECORDING",
            autocompletion=complete_run,
            help="A run's folder: the --out of `replay`.",
        ),
    ]
    grid: Annotated[
        str | None,
        typer.Option(
            "--grid", "-g", metavar="SWEEP", help="A sweep: a YAML file, or a shipped one's name."
        ),
    ] = None
    knobs: Annotated[
        list[str],
        typer.Option(
            "--knob",
            "-k",
            metavar="KNOB=A,B,...",
            autocompletion=complete_knob,
            help="Sweep one knob, e.g. --knob search.max_calls=3,6,11. Repeatable.",
        ),
    ] = []
    route: Annotated[
        bool,
        typer.Option("--route", help="Tune a routing table: which model answers which purpose."),
    ] = False
    cascade: Annotated[
        bool,
        typer.Option(
            "--cascade",
            help="Tune cascades: a small model first, a purpose's own where that is not sure.",
        ),
    ] = False
    by: Annotated[
        Literal["logprobs", "agreement", "judge"],
        typer.Option(help="With --cascade: source of a small model's confidence."),
    ] = "logprobs"
    models: Annotated[
        Path | None,
        typer.Option(
            help="With --route or --cascade: a YAML file of `models` to try. See docs/models.md"
        ),
    ] = None
    out: OutOption = None
    fresh: FreshOption = False
    max_turns: MaxTurnsOption = None
    past: Annotated[
        Literal["recorded", "own"],
        typer.Option(
            help=(
                "History of a turn. recorded: the messages really exchanged before it, so settings "
                "compare turn by turn. own: those of the setting itself."
            ),
        ),
    ] = "recorded"
    jobs: Annotated[
        int,
        typer.Option("--jobs", "-j", help="Processes; -1 is one per core, 1 stays in this one."),
    ] = -1
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="A dask scheduler whose workers see the recording, instead of --jobs.",
        ),
    ] = None
    quality: Annotated[
        Literal["auto", "truth", "referee", "pairwise", "none"],
        typer.Option(
            help=(
                "Source of the quality of replies. referee: a model, apart from the "
                "search's judge (CALLWISE_REFEREE_MODEL). pairwise: it compares with the recorded "
                "reply. truth: the hidden quality of simulated replies. auto: --labels, else "
                "truth, else none."
            ),
        ),
    ] = "auto"
    labels: Annotated[
        Path | None,
        typer.Option(help="People's labels: CSV of conversation, turn, reply, value."),
    ] = None
    rubric: Annotated[
        Path | None,
        typer.Option(help="A file with the referee's marks, in place of the shipped ones."),
    ] = None
    repeats: Annotated[int, typer.Option(min=1, help="Judge passes of a referee per reply.")] = 1
    margin_share: Annotated[
        float,
        typer.Option(min=0.0, max=0.99, help="Largest loss that is not worse; .01 is 1 %."),
    ] = 0.01
    cost: Annotated[
        Literal["asked", "requests", "tokens", "usd", "rounds_reply"],
        typer.Option(help="Which cost to lower. asked: calls."),
    ] = "asked"
    buy: Annotated[
        bool,
        typer.Option("--buy", help="Show what is not recorded and its price, ask, and buy that."),
    ] = False
    batch: Annotated[
        bool,
        typer.Option(
            "--batch",
            help=(
                "With --buy: buy by the providers' batch interfaces, at about half the price and "
                "within a day for each round of calls. A purchase that was stopped goes on."
            ),
        ),
    ] = False
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before buying.")] = False
    race: Annotated[
        bool,
        typer.Option(
            "--race",
            help="With --buy: buy conversation by conversation, and drop beaten settings early.",
        ),
    ] = False
    max_buy_calls: Annotated[
        int | None,
        typer.Option(min=0, help="Most calls to buy, for all settings and a referee together."),
    ] = None
    max_buy_usd: Annotated[
        float | None, typer.Option(min=0.0, help="Most USD to spend for all of those calls.")
    ] = None
    max_concurrency: MaxConcurrencyOption = 1
    figures: Annotated[
        bool, typer.Option("--figures", help="Also draw figures into the sweep's folder (SVG).")
    ] = False
    log_to: Annotated[
        list[str],
        typer.Option(
            "--log",
            metavar="<mlflow|wandb>",
            help="Log settings, figures and the table to MLflow or Weights & Biases. Repeatable.",
        ),
    ] = []
    as_json: JsonOption = False
    app: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:NAME", help="The recorded run's app, where it is not the shipped one."
        ),
    ] = None
    trust_endpoints: TrustEndpointOption = []
    trust_code: TrustCodeOption = []

    @cached_property
    def drain(self) -> SignalDrain:
        """The end of what is bought at a signal."""
        return SignalDrain()

    @cached_property
    def budget(self) -> "SpendingCap":
        """The cap on all paid calls together: bought ones and a referee's."""
        from callwise.recordings.counterfactual.purchase import SpendingCap

        return SpendingCap(self.max_buy_calls, self.max_buy_usd, on_open=self._opened)

    def _opened(self, session: object) -> None:
        """Let a signal end a session that buys, and show its notices."""
        self.drain.watch(session)
        show_notices(session)

    @property
    def trust(self) -> "Trust":
        """The code and endpoints of the recording that the user named."""
        from callwise.calls.trust import NOTHING

        code = (*self.trust_code, *((self.app,) if self.app else ()))
        return NOTHING.confirming(self.trust_endpoints, code)

    @property
    def quality_request(self) -> "QualityRequest":
        """The source of the quality of replies."""
        from callwise.tuning.judge.judge_sweep import QualityRequest

        return QualityRequest(
            self.quality, self.labels, self.repeats, budget=self.budget, rubric=self.rubric
        )
