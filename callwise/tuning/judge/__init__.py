"""The quality of replies: a referee, people's labels, or a known truth, as one table."""

from callwise.tuning.judge.items import ReplyItem, items_of, references_of
from callwise.tuning.judge.labels import Labels, read_labels, read_truth, simulated_truth
from callwise.tuning.judge.methods import Pairwise, Pointwise
from callwise.tuning.judge.referee import Referee, open_referee
from callwise.tuning.judge.referee_endpoint import referee_endpoint
from callwise.tuning.judge.score_file import read_scores, write_scores
from callwise.tuning.judge.scores import Score, scale_width_of, with_quality
from callwise.tuning.row import reply_id

__all__ = [
    "Labels",
    "Pairwise",
    "Pointwise",
    "Referee",
    "ReplyItem",
    "Score",
    "items_of",
    "open_referee",
    "read_labels",
    "read_scores",
    "read_truth",
    "referee_endpoint",
    "references_of",
    "reply_id",
    "scale_width_of",
    "simulated_truth",
    "with_quality",
    "write_scores",
]
