"""The quality of replies: a referee, people's labels, or a known truth, as one table."""

from callwise.tuning.judge.items import ReplyItem, items_of
from callwise.tuning.judge.labels import read_labels
from callwise.tuning.judge.methods import Pairwise, Pointwise
from callwise.tuning.judge.referee import open_referee
from callwise.tuning.judge.referee_endpoint import referee_endpoint
from callwise.tuning.judge.scores import read_scores, with_quality, write_scores

__all__ = [
    "Pairwise",
    "Pointwise",
    "ReplyItem",
    "items_of",
    "open_referee",
    "read_labels",
    "read_scores",
    "referee_endpoint",
    "with_quality",
    "write_scores",
]
