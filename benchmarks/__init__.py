"""Benchmarks: speed and quality, each a command that prints its table."""
