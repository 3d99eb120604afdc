"""The quality of replies: a referee, people's labels, or a known truth, as one table."""

from turnwise.tune.quality.items import ReplyItem, items_of, references_of
from turnwise.tune.quality.joining import scale_width_of, with_quality
from turnwise.tune.quality.labels import Labels, read_labels
from turnwise.tune.quality.pairwise import Pairwise, order_consistency
from turnwise.tune.quality.pointwise import Pointwise
from turnwise.tune.quality.referee import Referee, open_referee
from turnwise.tune.quality.referee_endpoint import referee_endpoint
from turnwise.tune.quality.score_file import read_scores, write_scores
from turnwise.tune.quality.scores import Score
from turnwise.tune.quality.truth import read_truth, simulated_truth
from turnwise.tune.row import reply_id

__all__ = [
    "Labels",
    "Pairwise",
    "Pointwise",
    "Referee",
    "ReplyItem",
    "Score",
    "items_of",
    "open_referee",
    "order_consistency",
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
