"""What tests of Turnwise, and of code built on it, stand on. Each room is imported by name."""

__all__: list[str] = []
