"""Token weights by kind of character, and where tiktoken keeps its tables.

A tokenizer spends its tokens very differently on a Chinese character, an English
word and a brace of JSON. Each row below has what one of each kind costs, fitted
to a real tokenizer by least squares on relative error.

Source: fitted by `benchmarks/tokens.py --fit` on 2026-11-20 against the tables of
cl100k_base and o200k_base (tiktoken 0.14) and the DeepSeek-V3 tokenizer, on
every second message of recorded Chinese (MemoryBank, KdConv) and English (Ubuntu
IRC, Topical-Chat) conversations, JSON lines, and some lines of other scripts
written for it.
"""

import hashlib
import os
import tempfile
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

__all__ = [
    "FAMILIES",
    "Encoding",
    "InputTokens",
    "TokenWeights",
    "cached_encoding",
    "is_at_hand",
    "is_known_tokenizer",
    "weights_for",
]


class InputTokens(NamedTuple):
    """Estimated input tokens, by what they are spent on.

    Args:
        ascii: ASCII text, and what wraps the messages.
        other: all other characters.
    """

    ascii: int
    other: int = 0

    @property
    def total(self) -> int:
        """Both together."""
        return self.ascii + self.other


class Encoding(Protocol):
    """The part of a `tiktoken.Encoding` that is used."""

    @property
    def name(self) -> str:
        """The encoding's name, such as `o200k_base`."""
        ...

    def encode_ordinary(self, text: str) -> list[int]:
        """Return a text's tokens, special tokens not recognised."""
        ...


@dataclass(frozen=True, slots=True)
class TokenWeights:
    """Tokens that one of each kind costs, on average. None is negative.

    Args:
        word: a run of ASCII letters; `letter` and `capital` come on top.
        letter: an ASCII letter.
        capital: an upper-case ASCII letter, on top of `letter`.
        digit: an ASCII digit.
        mark: any other printable ASCII character but the space.
        double_space: two spaces in a row; single ones travel with their word.
        line: a line break, a tab, or any other control character.
        han: a Chinese character.
        wide: a full-width mark, a kana, a dash, a typographic quote.
        two_byte: a letter of an accented Latin, Greek, Cyrillic, Hebrew or Arabic script.
        three_byte: a Hangul syllable, or a letter of an Indic or South-East Asian script.
        four_byte: an emoji or a rare character.
    """

    word: float
    letter: float
    capital: float
    digit: float
    mark: float
    double_space: float
    line: float
    han: float
    wide: float
    two_byte: float
    three_byte: float
    four_byte: float

    def __post_init__(self) -> None:
        """Refuse a negative weight, which could make an estimate negative."""
        if min(astuple(self)) < 0:
            raise ValueError(f"token weights are at least 0, got {self}")


FAMILIES = {
    "cl100k_base": TokenWeights(
        word=0.745,
        letter=0.084,
        capital=0.234,
        digit=0.682,
        mark=0.624,
        double_space=0.843,
        line=1.373,
        han=1.212,
        wide=1.052,
        two_byte=0.769,
        three_byte=1.137,
        four_byte=2.698,
    ),
    "o200k_base": TokenWeights(
        word=0.523,
        letter=0.133,
        capital=0.022,
        digit=0.756,
        mark=0.619,
        double_space=0.85,
        line=1.463,
        han=0.714,
        wide=0.771,
        two_byte=0.403,
        three_byte=0.43,
        four_byte=1.748,
    ),
    "deepseek": TokenWeights(
        word=0.735,
        letter=0.086,
        capital=0.214,
        digit=0.851,
        mark=0.62,
        double_space=0.844,
        line=1.692,
        han=0.506,
        wide=0.776,
        two_byte=0.528,
        three_byte=0.443,
        four_byte=2.405,
    ),
}
"""Weights by tokenizer. Treated as read-only."""

_FAMILY_BY_PREFIX = (
    ("deepseek", "deepseek"),
    ("gpt-4o", "o200k_base"),
    ("gpt-4.", "o200k_base"),
    ("gpt-4", "cl100k_base"),
    ("gpt-5", "o200k_base"),
    ("gpt-oss", "o200k_base"),
    ("chatgpt-4o", "o200k_base"),
    ("o1", "o200k_base"),
    ("o3", "o200k_base"),
    ("o4", "o200k_base"),
    ("gpt-3", "cl100k_base"),
    ("gpt-35", "cl100k_base"),
    ("text-embedding-", "cl100k_base"),
)
_DEFAULT_FAMILY = "o200k_base"


def _bare_name(model: str) -> str:
    """Return a model's name without the vendor that routers put before it."""
    return model.rsplit("/", 1)[-1].lower()


def _family(model: str) -> str | None:
    name = _bare_name(model)
    return next((family for prefix, family in _FAMILY_BY_PREFIX if name.startswith(prefix)), None)


def is_known_tokenizer(model: str) -> bool:
    """Return whether the weights for a model are those of its tokenizer."""
    return _family(model) is not None


def weights_for(model: str) -> TokenWeights:
    """Return the weights of a model's tokenizer; of o200k_base where it is not known."""
    return FAMILIES[_family(model) or _DEFAULT_FAMILY]


def _cache_folder() -> Path | None:
    """Return tiktoken's folder of downloaded tables; None when its cache is off."""
    for variable in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        folder = os.environ.get(variable)
        if folder is not None:
            return Path(folder) if folder else None
    return Path(tempfile.gettempdir()) / "data-gym-cache"


def _address_and_digest(constructor: Any) -> tuple[str, str] | None:
    """Return where tiktoken would fetch an encoding's table and the digest it expects.

    tiktoken downloads a table that is missing, deletes and downloads one that is
    damaged, and has no switch against it. So both are read off its constructor, and
    the file is checked before tiktoken sees it. None where it cannot be found.
    """
    constants = [c for c in constructor.__code__.co_consts if isinstance(c, str)]
    addresses = [c for c in constants if c.startswith("https://")]
    digests = [c for c in constants if len(c) == 64 and not set(c) - set("0123456789abcdef")]
    if len(addresses) != 1 or len(digests) != 1:
        return None
    return addresses[0], digests[0]


def is_at_hand(address: str, digest: str) -> bool:
    """Return whether a table is in tiktoken's cache folder, undamaged.

    Args:
        address: where tiktoken would download it; names the file in the cache.
        digest: its SHA-256, in lower-case hexadecimal.
    """
    folder = _cache_folder()
    if folder is None:
        return False
    name = hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest()
    try:
        data = (folder / name).read_bytes()
    except OSError:
        return False
    return hashlib.sha256(data).hexdigest() == digest


def cached_encoding(model: str) -> Encoding | None:
    """Return tiktoken's encoding of an OpenAI model if its table is on this machine.

    Reads a file of some MB and takes up to half a second: for set-up, not for a
    call. Nothing is ever downloaded.

    Returns:
        tiktoken's encoding, or None when the model is not one of OpenAI's or its
        table is not in tiktoken's cache folder.
    """
    import tiktoken  # noqa: PLC0415 - heavy, and wanted only here
    from tiktoken import registry  # noqa: PLC0415

    try:
        name = tiktoken.encoding_name_for_model(_bare_name(model))
    except KeyError:
        return None
    # The harmony encoding is o200k_base with more special tokens; text costs the same.
    name = "o200k_base" if name == "o200k_harmony" else name
    tiktoken.list_encoding_names()  # fills the registry
    constructor = (registry.ENCODING_CONSTRUCTORS or {}).get(name)
    table = _address_and_digest(constructor) if constructor is not None else None
    if table is None or not is_at_hand(*table):
        return None
    return tiktoken.get_encoding(name)
