"""A real Apache Kafka on loopback, needing only Python: for the demo and the tests."""

from monitor.local_kafka.jars import KAFKA_VERSION, fetch
from monitor.local_kafka.node import FAST_FAILOVER, LocalCluster, LocalKafka, free_ports

__all__ = ["FAST_FAILOVER", "KAFKA_VERSION", "LocalCluster", "LocalKafka", "fetch", "free_ports"]
