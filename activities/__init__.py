"""Activities and their adapters: everything that does I/O or heavy CPU work."""
