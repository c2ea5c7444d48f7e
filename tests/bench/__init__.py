"""Benchmarks: ``python -m tests.bench terminal``.  Not part of the test suite."""
