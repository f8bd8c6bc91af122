"""Scores against labels: ranking, rows, events, delay and volume under the curve. Needs nothing but numpy.

`report.evaluate` collects all of it for one series. Point adjustment is not offered: it lets a random score look good
(Kim et al., "Towards a rigorous evaluation of time-series anomaly detection", AAAI 2022).
"""
