"""Measurements of agents that wake together."""
