"""Which settings are tried, on how many cores or machines, and how their rows are kept."""

__all__: list[str] = []
