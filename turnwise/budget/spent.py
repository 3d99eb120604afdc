"""What one piece of work has spent, attempt by attempt."""

from dataclasses import dataclass

__all__ = ["Spent"]


@dataclass(slots=True)
class Spent:
    """What the attempts at one call have used up so far.

    Args:
        attempts: tries, retries included.
        requests: HTTP requests that left the machine.
        input_tokens: known prompt tokens.
        output_tokens: known answer tokens.
        cached_tokens: known prompt tokens found in the provider's prompt cache.
        picodollars: known cost in 1e-12 USD.
        unknown_usage: requests whose tokens are not known.
        unknown_usd: requests whose cost is not known.
        charged_tokens: what the limits were charged.
        charged_picodollars: what the limits were charged, in 1e-12 USD.
        over_tokens: the part of it beyond what was reserved, attempt by attempt; 0 where
            nothing had to be reserved.
        over_picodollars: the same in 1e-12 USD.
        usage_note: what is odd about the usage that was reported; see `usage_note`.
        work_seconds: time of the attempts.
        retry_seconds: waits between them.
    """

    attempts: int = 0
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    picodollars: int = 0
    unknown_usage: int = 0
    unknown_usd: int = 0
    charged_tokens: int = 0
    charged_picodollars: int = 0
    over_tokens: int = 0
    over_picodollars: int = 0
    usage_note: str = ""
    work_seconds: float = 0.0
    retry_seconds: float = 0.0

    @property
    def path_seconds(self) -> float:
        """Attempts and the waits between them: what was waited for, on a virtual clock."""
        return self.work_seconds + self.retry_seconds
