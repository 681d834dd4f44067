"""Research over the same core as the service: generated data, and what is studied with recorded days."""
