"""Hostile input: targets and their oracles; `python -m tests.fuzz` runs them under a coverage-guided fuzzer."""
