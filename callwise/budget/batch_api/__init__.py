"""Background work: its queue on disk, and the lane to a provider's batch interface."""

__all__: list[str] = []
