"""Many agents awake in one group chat: an intent call, one request per model, credits, an outbox."""

__all__: list[str] = []
