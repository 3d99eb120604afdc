"""The schedule of an endpoint: who goes next, and how many at a time."""

__all__: list[str] = []
