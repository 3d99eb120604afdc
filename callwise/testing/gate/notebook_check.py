"""`callwise check` for notebooks and scripts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from callwise.knobs.gates import parse_gates
from callwise.report import RunRecord
from callwise.testing.gate.baseline import Baseline
from callwise.testing.gate.comparison_forms import comparison_markdown
from callwise.testing.gate.gate_comparison import GateComparison, compare, require_exact
from callwise.testing.gate.presenter import finding_lines, renew, verdict
from callwise.testing.gate.run_figures import baseline_of_run

__all__ = ["CheckResult", "check"]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A run compared with a baseline, as the last value of a cell or printed.

    Args:
        has_passed: whether nothing got worse; a baseline that was written passes.
        text: verdict and findings, as the command prints them.
        markdown: the same as a comment of a pull request.
        comparison: None where the baseline was written.
    """

    has_passed: bool
    text: str
    markdown: str
    comparison: GateComparison | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        """Return verdict and findings."""
        return self.text

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """Return both forms, for Jupyter to choose from."""
        return {"text/markdown": self.markdown, "text/plain": self.text}


def check(
    run: RunRecord | str | Path,
    baseline: str | Path,
    *,
    update: bool = False,
    gates: Sequence[str] = (),
) -> CheckResult:
    """Compare a run's calls per turn with a baseline, or write the baseline from it.

    Args:
        run: a run of `replay`, or its folder.
        baseline: the baseline's file.
        update: write the file.
        gates: more than calls to compare, as `--gate` of `callwise check`: `rounds`, `tokens=5%`.

    Raises:
        ConfigError: when the two cannot be compared, or the baseline cannot be written.
        FormatError: when a file cannot be read.
    """
    path = Path(baseline)
    current = baseline_of_run(run.folder if isinstance(run, RunRecord) else Path(run))
    if update:
        renewed = renew(path, current, name=path.name)
        text = "\n  ".join((renewed.verdict, *renewed.lines))
        return CheckResult(True, text, f"```\n{text}\n```")
    before = Baseline.read(path)
    require_exact(current)
    found = compare(before, current, parse_gates(gates))
    text = "\n  ".join((verdict(found, path.name), *finding_lines(found)))
    return CheckResult(not found.has_failed, text, comparison_markdown(found, path.name), found)
