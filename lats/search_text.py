"""A search drawn as text, one line per candidate."""

import unicodedata

from lats.result import ProposerStats, SearchResult, in_scale
from lats.search_tree import Candidate

__all__ = ["render_tree"]

MAX_TAG_CHARS = 24
"""Most characters of a strategy tag that are drawn."""

_JOINERS = frozenset("\u200c\u200d")
"""Invisible, and needed: they make one sign of several."""


def _line(text: str, max_chars: int) -> str:
    """Return a text as one line, cut with an ellipsis where it is too long.

    Spaces and line ends become one space. Control characters and marks that turn the direction
    of text are left out; characters that cannot be written become the replacement character.
    """
    if not text.isascii() or not text.isprintable():
        text = "".join(map(_shown_char, text))
    line = " ".join(text.split())
    return line if len(line) <= max_chars else line[: max_chars - 1] + "…"


def _shown_char(char: str) -> str:
    category = unicodedata.category(char)
    if category in {"Cs", "Cn"}:
        return "\N{REPLACEMENT CHARACTER}"
    if category == "Cc":
        return " " if char.isspace() else ""
    return "" if category == "Cf" and char not in _JOINERS else char


def _figure(number: float | None) -> str:
    return "--" if number is None else f"{number:.2f}"


def _classic_label(node: Candidate, max_chars: int) -> str:
    figures = (
        f"visits {node.visits}  mean {_figure(node.mean_value if node.visits else None)}  "
        f"judge {_figure(node.mean_score)}  rule {_figure(node.rule_score)}"
    )
    if node.assistantness is not None:
        figures += f"  assistant {_figure(node.assistantness)}"
    tag = _line(node.draft.strategy_tag, MAX_TAG_CHARS) or "no strategy"
    return f"{tag}  {figures}  {_line(node.draft.reply, max_chars)}"


def _posterior_label(node: Candidate, result: SearchResult, cost: float, max_chars: int) -> str:
    belief, (low, high) = result.belief_of(node), result.score_range
    mean = node.own_value if belief is None else belief.mean
    figures = _figure(None if mean is None else in_scale(mean, result.score_range))
    if belief is not None:
        figures += f" ±{_figure(belief.sd * (high - low))}"
    figures += f"  judged {node.judge_passes}  cost {_figure(cost)}"
    if node.checks:
        figures += f"  checks {sum(node.checks.values())}/{len(node.checks)}"
    reason = "" if node.verdict is None else _line(node.verdict.reason, max_chars)
    parts = [figures, _line(node.draft.proposer, MAX_TAG_CHARS)]
    parts += [_line(node.draft.strategy_tag, MAX_TAG_CHARS)]
    parts += [_line(node.draft.reply, max_chars), f"[judge: {reason}]" if reason else ""]
    return "  ".join(filter(None, parts))


def _node_lines(result: SearchResult, max_chars: int) -> list[str]:
    """Return one line per node, the top first. Depth is not limited, so it does not recurse."""
    tree, costs, dropped = result.tree, result.costs(), result.dropped()
    lines: list[str] = []
    waiting = [(tree.top, "", "")]
    while waiting:
        node, stem, branch = waiting.pop()
        mark = "* " if node is result.best else ""
        mark += "(dropped) " if node.node_id in dropped else ""
        if not tree.has_start:
            label = _classic_label(node, max_chars)
        elif node is tree.top:
            label = f"start  {_line(node.draft.reply, max_chars)}".rstrip()
        else:
            label = _posterior_label(node, result, costs[node.node_id], max_chars)
        lines.append(f"{stem}{branch}{mark}{label}")
        below = stem + {"": "", "├─ ": "│  ", "└─ ": "   "}[branch]
        for place, child in enumerate(reversed(tree.children(node))):
            waiting.append((child, below, "├─ " if place else "└─ "))
    return lines


def _proposer_line(stats: ProposerStats) -> str:
    return (
        f"{_line(stats.name, MAX_TAG_CHARS)}: {stats.calls} calls ({stats.share:.0%}), "
        f"{stats.candidates} candidates, mean {_figure(stats.mean)}, best {_figure(stats.best)}"
    )


def render_tree(result: SearchResult, *, max_chars: int = 48) -> str:
    """Return the tree as lines of text, one line per candidate.

    Of `classic_uct`: strategy, figures, and the start of each reply. Of any other search: the
    posterior mean of its score and its standard deviation in the task's scale, judge calls that
    were to read it, its share of the calls, its proposer where they have names, its strategy, and
    the start of the reply and of the judge's last reason. `*` marks the answer; `--` is a figure
    that is missing.

    Args:
        result: of a search, at its end or before.
        max_chars: most characters of a reply and of the judge's reason, at least 1.

    Raises:
        ValueError: when `max_chars` is less than 1.
    """
    if max_chars < 1:
        raise ValueError(f"max_chars is at least 1, got {max_chars}")
    noun = "candidates" if result.tree.has_start else "replies"
    head = (
        f"{result.stop_reason or 'under way'}: {result.calls} calls, {result.rounds} rounds, "
        f"{len(result.tree)} {noun}"
    )
    if not len(result.tree):
        return head
    lines = [head, *_node_lines(result, max_chars)]
    if result.final_judgement is not None:
        lines.append(f"the pick, judged again: {_figure(result.final_judgement.score)}")
    if result.confidence is not None:
        lines.append(
            f"chance that * is the best of these: {_figure(result.confidence.chance_best)}"
        )
        if result.confidence.chance_right is not None:
            lines.append(
                f"chance that * is right: {_figure(result.confidence.chance_right)} "
                f"({_line(result.confidence.calibration, 4 * max_chars)})"
            )
    lines += [_proposer_line(each) for each in result.proposers]
    return "\n".join(lines)
