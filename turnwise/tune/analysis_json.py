"""An analysis as plain JSON, for scripts."""

from typing import Any

from turnwise.tune.analysis import Analysis, SettingSummary
from turnwise.tune.statistics.bootstrap import Interval
from turnwise.tune.statistics.recommendation import Recommendation

__all__ = ["analysis_json"]


def analysis_json(analysis: Analysis) -> dict[str, Any]:
    """Return an analysis as plain JSON, for scripts."""
    front, recommendation = analysis.front, analysis.recommendation
    return {
        "turns": analysis.turns,
        "conversations": analysis.conversations,
        "simulated": analysis.is_simulated,
        "quality_by": analysis.by,
        "cost": analysis.cost,
        "settings": {name: _setting_json(each) for name, each in analysis.settings.items()},
        "front": list(front.front),
        "knee": front.knee,
        "why_no_front": front.why_empty,
        "recommendation": None if recommendation is None else _recommended(recommendation),
        "notices": list(analysis.notices),
    }


def _interval(interval: Interval | None) -> dict[str, Any] | None:
    if interval is None:
        return None
    return {
        "mean": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "level": interval.level,
        "conversations": interval.conversations,
        "turns": interval.turns,
        "estimated_share": interval.estimated_share,
    }


def _setting_json(summary: SettingSummary) -> dict[str, Any]:
    return {
        "turns": summary.turns,
        "exact_turns": summary.exact_turns,
        "exact_replies": summary.exact_replies,
        "asked": _interval(summary.asked),
        "quality": _interval(summary.quality),
        "requests": summary.mean_requests,
        "tokens": summary.mean_tokens,
        "usd": summary.mean_usd,
        "rounds_reply": summary.mean_rounds,
        "asked_by_node": dict(summary.mean_by_node),
        "missing": {
            "calls": summary.buy.calls,
            "tokens": summary.buy.tokens,
            "usd": summary.buy.usd,
            "turns": summary.buy.turns,
        },
        "is_on_front": summary.is_on_front,
        "front_share": summary.front_share,
    }


def _recommended(recommendation: Recommendation) -> dict[str, Any]:
    return {
        "chosen": recommendation.chosen,
        "is_shown": recommendation.is_shown,
        "best": recommendation.best,
        "margin": recommendation.margin,
        "low": recommendation.low,
        "saving": _interval(recommendation.saving),
        "difference": _interval(recommendation.difference),
        "exact_share": recommendation.exact_share,
        "in_words": recommendation.in_words(),
    }
