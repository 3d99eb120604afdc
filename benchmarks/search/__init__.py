"""The search measured on recorded model outputs, compared with others at equal requests."""

__all__: list[str] = []
