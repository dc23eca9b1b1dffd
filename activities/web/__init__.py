"""Requests to the web: guarded against reaching what is not public."""
