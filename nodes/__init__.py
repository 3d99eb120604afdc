"""The reply pipeline's nodes, one file each. They see `callwise.calls` and memory only."""

__all__: list[str] = []
