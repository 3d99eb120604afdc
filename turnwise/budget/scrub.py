"""Keys, kept out of everything that is written down or raised.

Clients scrub what providers say. This is the second line: whatever error reaches the
budgeter, also one from a client that is not ours, leaves it without the keys it knows.
"""

from collections.abc import Iterable

from turnwise.calls.failures import scrub

__all__ = ["Scrubber"]


class Scrubber:
    """Takes a given set of secrets out of texts and errors.

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
        return scrub(text, *self._secrets)

    def clean_error(self, error: BaseException) -> None:
        """Take the secrets out of an error that is about to be raised, in place."""
        if any(secret in argument for secret in self._secrets for argument in map(str, error.args)):
            error.args = tuple(
                self.clean(argument) if isinstance(argument, str) else argument
                for argument in error.args
            )
