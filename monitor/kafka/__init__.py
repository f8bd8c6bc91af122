"""The one door to Kafka: nothing outside this package imports the client library.

`connect` typed settings -> client options; `source` and `sink` the service's two ends; `recovery` where a partition
goes on; `changelog` the incident state that belongs to it; `topics` what must exist;
`history` a bounded read of what a topic holds; `tail` an endless read of what comes.
"""
