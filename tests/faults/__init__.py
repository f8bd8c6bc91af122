"""The proof of delivery: real members on a real Kafka, faults from a seeded schedule, alerts compared as bytes."""
