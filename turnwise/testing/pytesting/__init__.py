"""What the pytest plugin does behind its hooks. Nothing is imported here: pytest starts often."""

__all__: list[str] = []
