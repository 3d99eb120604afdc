"""Equal findings of many turns as one: a knob that was raised shows in every turn."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from turnwise.report.run_record import TurnKey
from turnwise.testing.gate.baseline import Baseline
from turnwise.testing.gate.counting import CallPath
from turnwise.testing.gate.drift import Figure, Finding

__all__ = ["Group", "PathNames", "grouped"]


@dataclass(frozen=True, slots=True)
class Group:
    """Findings that differ in their turn only.

    Args:
        finding: the first of them.
        keys: their turns, in order; empty where the finding is of no turn.
    """

    finding: Finding
    keys: tuple[TurnKey, ...]

    @property
    def change_sum(self) -> float:
        """Their changes together."""
        return self.finding.change * max(len(self.keys), 1)


def grouped(findings: Iterable[Finding]) -> tuple[Group, ...]:
    """Return findings as groups, the largest change in all first; calls before the rest."""
    members: dict[tuple[object, ...], list[Finding]] = {}
    for finding in findings:
        kind = (
            finding.figure,
            finding.path,
            finding.before,
            finding.now,
            finding.key is None,
            finding.most_in,
        )
        members.setdefault(kind, []).append(finding)
    groups = [
        Group(each[0], tuple(sorted(one.key for one in each if one.key is not None)))
        for each in members.values()
    ]
    places = {figure: place for place, figure in enumerate(Figure)}
    return tuple(
        sorted(
            groups,
            key=lambda group: (
                places[group.finding.figure],
                -abs(group.change_sum),
                str(group.finding.path or ""),
                group.keys,
            ),
        )
    )


class PathNames:
    """Short names of paths: node and purpose, and the role where it tells two apart.

    Args:
        baselines: whose paths are named.
    """

    def __init__(self, baselines: Sequence[Baseline]) -> None:
        texts = {
            text
            for baseline in baselines
            for asked in (baseline.asked_outside, *(turn.asked for turn in baseline.turns))
            for text in asked
        }
        roles: dict[tuple[str, str], set[str]] = {}
        for path in map(CallPath.of, texts):
            roles.setdefault((path.node, path.purpose), set()).add(path.role)
        self._is_plain = {pair: len(names) == 1 for pair, names in roles.items()}

    def of(self, path: CallPath) -> str:
        """Return the name of a path: `lats_search expand`, or `lats_search expand by fast`."""
        name = path.purpose if path.node == "-" else f"{path.node} {path.purpose}"
        return name if self._is_plain.get((path.node, path.purpose)) else f"{name} by {path.role}"
