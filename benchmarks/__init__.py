"""Measurements: each is a program of its own, and writes the table that the docs quote."""
