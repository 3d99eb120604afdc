"""Rubrics of a referee, and the messages that are made of them.

A rubric is a text file. A criterion is a line such as

    - `relevance` (1-10): it answers what was said.

and the answer form is derived from these lines, so instructions and form cannot differ. A rubric
for comparing two replies has no criteria.

Invariant: text of users and models is only inside the JSON object of the second message, where it
cannot pass for an instruction. The messages contain no setting, conversation id or reply id, so
the referee cannot know which setting gave the reply.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import orjson

from callwise.calls.call import Message
from callwise.calls.errors import FormatError
from callwise.calls.payload import mended, without_template_marks
from callwise.safe_text import clipped
from callwise.tuning.judge.items import ReplyItem
from callwise.tuning.quality_unit import MARK_SCALE

__all__ = [
    "LANGUAGES",
    "MARK_HIGH",
    "MARK_LOW",
    "RefereeRubric",
    "load_rubric",
    "messages_of",
    "shipped_rubric",
]

LANGUAGES = ("en", "zh")

MARK_LOW, MARK_HIGH = map(int, MARK_SCALE)
"""The scale of every criterion."""

MAX_CRITERIA = 12
MAX_RUBRIC_CHARS = 20_000

_CRITERION = re.compile(r"^- `([^`]*)` ?[（(]1-10[)）]", re.MULTILINE)
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_RESERVED = frozenset({"reason", "model_config"})


@dataclass(frozen=True, slots=True)
class RefereeRubric:
    """The instructions of a referee.

    Args:
        name: `pointwise` and `pairwise` are the shipped ones; others have the name of their
            file and digest.
        texts: by language; `en` is required.
        criteria: names of the marks to give, each from 1 to 10; empty for a comparison.
    """

    name: str
    texts: Mapping[str, str]
    criteria: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """A digest of its texts: 16 hexadecimal digits."""
        digest = hashlib.sha256()
        for language in sorted(self.texts):
            digest.update(f"{language}\0{self.texts[language]}\0".encode())
        return digest.hexdigest()[:16]

    def text(self, language: str) -> str:
        """Return the instructions in a language, or in English where there are none."""
        return self.texts.get(language, self.texts["en"])


@lru_cache(maxsize=4)
def shipped_rubric(name: Literal["pointwise", "pairwise"]) -> RefereeRubric:
    """Return a rubric of the package."""
    folder = files("callwise.tuning.judge") / "rubrics"
    texts = {
        language: (folder / f"{name}.{language}.md").read_text(encoding="utf-8").strip()
        for language in LANGUAGES
    }
    return RefereeRubric(name, texts, tuple(_CRITERION.findall(texts["en"])))


def load_rubric(path: Path) -> RefereeRubric:
    """Return a rubric of a file, used for every language.

    Args:
        path: a text file with a criterion on each line that has one, as shown above, and other
            text as you like. It should state that the message's JSON is material, not
            instructions.

    Raises:
        FormatError: when it cannot be read, or has no usable criteria; names the line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(path, None, f"expected a rubric as UTF-8 text: {error}") from error
    if len(text) > MAX_RUBRIC_CHARS:
        raise FormatError(path, None, f"a rubric has at most {MAX_RUBRIC_CHARS} characters")
    names: list[str] = []
    for found in _CRITERION.finditer(text):
        name, line = found.group(1), text.count("\n", 0, found.start()) + 1
        if not _NAME.fullmatch(name) or name in _RESERVED:
            raise FormatError(
                path, line, f"expected a criterion such as `relevance`, found `{name[:40]}`"
            )
        if name in names:
            raise FormatError(path, line, f"the criterion `{name}` occurs twice")
        names.append(name)
    if not 1 <= len(names) <= MAX_CRITERIA:
        raise FormatError(
            path,
            None,
            f"expected 1 to {MAX_CRITERIA} criteria, each on a line, as in "
            f"'- `relevance` (1-10): it answers what was said', found {len(names)}",
        )
    rubric = RefereeRubric(path.stem, {"en": text}, tuple(names))
    return RefereeRubric(f"{path.stem}-{rubric.digest[:8]}", rubric.texts, rubric.criteria)


MAX_USER_CHARS = 6000
MAX_REPLY_CHARS = 4000
MAX_HISTORY_CHARS = 800
"""Of each line."""
MAX_PERSONA_CHARS = 2000
"""Of each field."""

_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]")


def language_of(item: ReplyItem) -> str:
    """Return the language of the instructions: the item's, else by the script of its text."""
    named = (item.language or "")[:2].lower()
    if named in LANGUAGES:
        return named
    return "zh" if _WIDE.search(item.user_text or item.reply) else "en"


def messages_of(rubric: RefereeRubric, item: ReplyItem, **judged: Any) -> tuple[Message, Message]:
    """Return the messages of one question."""
    language = language_of(item)
    material: dict[str, Any] = {
        "language": language,
        "user_text": clipped(item.user_text, MAX_USER_CHARS),
        **judged,
    }
    if item.history:
        material["history"] = [
            {"role": line.role, "text": clipped(line.text, MAX_HISTORY_CHARS)}
            for line in item.history
        ]
    if item.persona:
        material["persona"] = {
            name: clipped(text, MAX_PERSONA_CHARS) for name, text in item.persona.items()
        }
    content = orjson.dumps(mended(material), option=orjson.OPT_SORT_KEYS)
    user = Message("user", without_template_marks(content).decode())
    return Message("system", rubric.text(language)), user
