"""Workflows: the stories. One class a file; no I/O, no library that does any."""
