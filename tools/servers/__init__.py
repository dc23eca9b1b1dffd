"""Real mail and database servers as child processes on loopback ports, for tests and trials."""
