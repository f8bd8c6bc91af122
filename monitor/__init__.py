"""Streaming anomaly monitoring: records -> Batch -> Windows -> Scores -> Alerts, one way, once per event.

`kafka` reads and publishes, `pipeline` (pure) turns records into an outcome, `service` is the loop around both.
"""

__version__ = "0.1.0"
