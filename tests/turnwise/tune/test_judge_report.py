"""How far each judge may be trusted, in one line each."""

from turnwise.simulator.phrases import true_quality
from turnwise.tune.judge_report import judge_reliabilities, reliability_in_words
from turnwise.tune.quality import ReplyItem, Score, reply_id

TEXTS = [f"Reply number {number}, of its own kind." for number in range(5)]
TURNS = [
    {
        "conversation_id": f"c{at}",
        "turn": 0,
        "search": {
            "search_record": 1,
            "start": {},
            "candidates": [
                {
                    "id": text,
                    "parent_id": None,
                    "reply": text,
                    "mean_score": true_quality(text) / 10 + 0.5,
                    "scores": 1,
                }
                for text in TEXTS
            ],
        },
    }
    for at in range(6)
]
ITEMS = [ReplyItem(f"c{at}", 0, "", text) for at in range(6) for text in TEXTS]


def _scores(by: str, sign: float) -> list[Score]:
    return [
        Score(
            by, item.conversation, 0, reply_id(item.reply), sign * true_quality(item.reply), -9, 9
        )
        for item in ITEMS
    ]


def test_a_perfect_search_judge_beside_the_truth() -> None:
    """Correlation 1, and it always finds the best."""
    (judge,) = judge_reliabilities(TURNS, ITEMS, [], is_simulated=True)
    words = reliability_in_words(judge)
    assert words.startswith("search judge beside truth:simulated: within-prompt correlation 1.00")
    assert "finds the best reply 1.00" in words


def test_the_referee_is_held_against_people_first() -> None:
    """Where nothing is simulated; and the search's judge too."""
    scores = [*_scores("referee:m", -1.0), *_scores("human:f.csv", 1.0)]
    referee, search = judge_reliabilities(TURNS, ITEMS, scores, is_simulated=False)
    assert (referee.by, referee.against) == ("referee:m", "human:f.csv")
    assert referee.within_prompt_correlation is not None
    assert round(referee.within_prompt_correlation.mean or 0.0, 6) == -1.0
    assert search.against == "human:f.csv"


def test_a_judge_beside_nobody_says_what_it_can() -> None:
    """Ties need no second opinion."""
    (judge,) = judge_reliabilities([], ITEMS, _scores("referee:m", 1.0), is_simulated=False)
    assert judge.against == ""
    assert "ties 0.00" in reliability_in_words(judge)


def test_nothing_was_judged() -> None:
    """Then there is nothing to say."""
    assert judge_reliabilities([], [], [], is_simulated=False) == ()
