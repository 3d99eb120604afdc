"""Agents that wake together: an intent call, one request per model, credits, an outbox."""

__all__: list[str] = []
