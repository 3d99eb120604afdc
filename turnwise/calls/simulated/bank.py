"""What a phrase bank holds. The banks themselves stand in `bank_en` and `bank_zh`."""

from dataclasses import dataclass

__all__ = ["STRATEGIES", "PhraseBank"]


@dataclass(frozen=True, slots=True)
class PhraseBank:
    """Phrases of one language, by their place in a reply.

    A phrase is one sentence with its end mark. In `cores`, `{x}` stands for words of
    the user, and has at least two letters or characters on either side.

    Args:
        openings: first reactions.
        cores: what a reply says about the user's words.
        plain_cores: the same without a place for the user's words.
        warmths: something kind, or of one's own.
        closes: a question, or a way to end.
        assistant_openings: openings as an assistant would say them.
        assistant_warmths: warmths as an assistant would say them.
        assistant_closes: closes as an assistant would say them.
        assistant_markers: word groups that give an assistant away in any text; lower case.
        thoughts: sentences for fields such as `thought`, `reason` and `summary`; `{x}`
            stands for words of the user.
        goals: sentences for fields such as `goals`.
        words: short labels for fields such as `topic`.
        quotes: the opening and closing mark around the user's words.
        joint: what stands between two sentences.
    """

    openings: tuple[str, ...]
    cores: tuple[str, ...]
    plain_cores: tuple[str, ...]
    warmths: tuple[str, ...]
    closes: tuple[str, ...]
    assistant_openings: tuple[str, ...]
    assistant_warmths: tuple[str, ...]
    assistant_closes: tuple[str, ...]
    assistant_markers: tuple[str, ...]
    thoughts: tuple[str, ...]
    goals: tuple[str, ...]
    words: tuple[str, ...]
    quotes: tuple[str, str]
    joint: str


STRATEGIES = (
    "empathise",
    "ask_back",
    "share_own_story",
    "tease_gently",
    "reframe",
    "stay_brief",
    "recall_memory",
    "offer_plan",
    "be_playful",
    "name_feeling",
    "change_topic",
    "disagree_kindly",
    "encourage",
    "set_boundary",
    "show_curiosity",
    "give_detail",
)
"""Strategy tags, the same in every language."""
