"""Benchmarks of agents that wake together."""
