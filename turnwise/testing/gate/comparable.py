"""Whether a run and a baseline may be held against each other, and what to do if not."""

from dataclasses import dataclass

from turnwise.calls.errors import ConfigError
from turnwise.safe_text import printable
from turnwise.testing.gate.baseline import Baseline

__all__ = ["Mismatch", "mismatch", "require_comparable", "require_exact"]

_UPDATE = "if that is meant, make the baseline anew with --update"


def _named(name: str) -> str:
    return repr(printable(name)) if name else "none"


def _turn_words(turns: list[tuple[str, int]]) -> str:
    conversation, turn = turns[0]
    first = f"turn {turn} of {_named(conversation)}"
    return first if len(turns) == 1 else f"{len(turns)} turns, the first {first}"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Why a run and a baseline cannot be held against each other.

    Args:
        problem: in words.
        way_out: what to do.
    """

    problem: str
    way_out: str


def _of_another_kind(baseline: Baseline, current: Baseline) -> Mismatch | None:
    for what, before, now in (
        ("app", baseline.app, current.app),
        ("preset", baseline.preset, current.preset),
    ):
        if before != now:
            return Mismatch(
                f"the baseline is of the {what} {_named(before)} and the run of {_named(now)}",
                f"give the baseline of that {what}, or {_UPDATE}",
            )
    if baseline.is_simulated != current.is_simulated:
        simulated, other = ("baseline", "run") if baseline.is_simulated else ("run", "baseline")
        return Mismatch(
            f"the {simulated} is simulated and the {other} is not: their answers have nothing in "
            "common",
            f"give a baseline of the same kind, or {_UPDATE}",
        )
    return None


def mismatch(baseline: Baseline, current: Baseline) -> Mismatch | None:
    """Return why two cannot be held against each other; None when they can.

    They can when app, preset, conversations and turns are the same, and both or none are
    simulated.
    """
    if (kind := _of_another_kind(baseline, current)) is not None:
        return kind
    if not baseline.turns and not baseline.asked_outside:
        return Mismatch("the baseline holds no turn and no call", _UPDATE)
    if None not in (baseline.conversations, current.conversations) and (
        baseline.conversations != current.conversations
    ):
        return Mismatch(
            "the run is of other conversations than the baseline, so that its turns are not the "
            "same turns",
            f"replay the conversations of the baseline, or {_UPDATE}",
        )
    before_keys = {turn.key for turn in baseline.turns}
    now_keys = {turn.key for turn in current.turns}
    if lost := sorted(before_keys - now_keys):
        again = "run the same `turnwise replay` again to finish it"
        if current.settings is None:  # what a test's own program asked
            again = "the program asked nothing there, see why it ended early"
        return Mismatch(
            f"the run lacks what the baseline holds: {_turn_words(lost)}", f"{again}, or {_UPDATE}"
        )
    if added := sorted(now_keys - before_keys):
        return Mismatch(f"the run has what the baseline lacks: {_turn_words(added)}", _UPDATE)
    return None


def require_comparable(baseline: Baseline, current: Baseline) -> None:
    """Return when a run is of what the baseline is of; see `mismatch`.

    Raises:
        ConfigError: when it is not; says why, and the way out.
    """
    found = mismatch(baseline, current)
    if found is not None:
        raise ConfigError(f"{found.problem}; {found.way_out}")


def require_exact(current: Baseline) -> None:
    """Return when a run's counts are the same each time that it is run.

    Raises:
        ConfigError: when it is live: its model may answer otherwise tomorrow.
    """
    if not current.is_exact:
        raise ConfigError(
            "this run is live: its model may answer otherwise each time, and an exact gate would "
            "alarm for that; check a replay of its recording (`turnwise replay ... --cassette "
            "FILE --out DIR`), or use --live for a test with a stated false-alarm rate"
        )
