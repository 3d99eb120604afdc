"""The reply pipeline's nodes, one file each. They see `turnwise.calls` and memory only."""

__all__: list[str] = []
