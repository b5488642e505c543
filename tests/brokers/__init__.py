"""A real Kafka and a real PostgreSQL for the tests: found or started once a run, when the first test asks."""
