"""Brokers for the tests and the demo: an address, Docker, Apache Kafka from its jars, a mock."""
