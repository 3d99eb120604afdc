"""Agents that wake on the hour."""

from callwise.wake.hours import run_hours

__all__ = ["run_hours"]
