"""Errors of normal windows that were not fitted -> the threshold, and how often it will be crossed.

`budget.threshold_for` is the door; `incident_count`, `tail` and `heldout` are what it is made of. `conformal` gives a
p-value instead of a line. Everything here is pure numpy.
"""
