"""Statistics of panels: intervals, comparisons, fronts, recommendations, races.

Nothing here knows rows, settings or recordings; `docs/statistics.md` explains every method.
"""

__all__: list[str] = []
