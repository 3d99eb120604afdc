"""Knobs of load: in which order, how fast and how many together calls go to an endpoint."""

__all__: list[str] = []
