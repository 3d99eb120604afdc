"""Keys, kept out of everything that is written down or raised.

Clients redact what providers report. This is the second line: any error that reaches the
budgeter, also one from a client that is not ours, leaves it without the keys given to it.
"""

from collections.abc import Iterable
from typing import Any

from callwise.calls.provider_errors import redacted_line
from callwise.calls.redaction import redact

__all__ = ["Redactor"]


class Redactor:
    """Removes a given set of secrets from texts and errors.

    Args:
        secrets: values of the keys in use; empty ones are ignored.
    """

    __slots__ = ("_secrets",)

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = tuple(secret for secret in secrets if secret)

    def describe(self, error: BaseException) -> str:
        """Return an error as one line: its class, and its text without secrets."""
        name = type(error).__name__
        text = self.clean(str(error))
        return f"{name}: {text}" if text else name

    def clean(self, text: str) -> str:
        """Return a text on one line, without secrets, and not longer than an error's."""
        return redacted_line(text, *self._secrets)

    def clean_error(self, error: BaseException) -> None:
        """Take the secrets out of an error that is about to be raised, in place.

        Out of its arguments, texts and notes, and out of whatever it came from: what a
        traceback shows. A cause that keeps them to itself is cut off.
        """
        if not self._secrets:
            return
        seen: set[int] = set()
        waiting = [error]
        while waiting:
            each = waiting.pop()
            if id(each) in seen:
                continue
            seen.add(id(each))
            self._clean_one(each)
            for name in ("__cause__", "__context__"):
                origin = getattr(each, name)
                if origin is not None and self._is_stubborn(origin):
                    setattr(each, name, None)
                elif origin is not None:
                    waiting.append(origin)
            waiting += getattr(each, "exceptions", ())

    def _clean_one(self, error: BaseException) -> None:
        cleaned = tuple(map(self._cleaned, error.args))
        if any(new is not old for new, old in zip(cleaned, error.args, strict=True)):
            error.args = cleaned
        for name, value in list(vars(error).items()):
            if name == "__notes__":
                error.__notes__ = [*map(self._cleaned, value)]
            elif isinstance(value, str) and (new := self._cleaned(value)) is not value:
                setattr(error, name, new)

    def _cleaned(self, value: Any) -> Any:
        """Return a value, or a clean text of it where there is a secret in it."""
        text = value if isinstance(value, str) else str(value)
        return value if redact(text, *self._secrets) == text else self.clean(text)

    def _is_stubborn(self, error: BaseException) -> bool:
        self._clean_one(error)
        text = str(error)
        return redact(text, *self._secrets) != text
