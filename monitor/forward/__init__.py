"""From the alert topic to those who act on it: Alertmanager, or a webhook. In order per stream, at least once.

A subscription, the loop (`forwarder`), a receiver. What the receiver has answered is committed, and nothing else.
"""
