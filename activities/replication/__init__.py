"""Replication of a folder: opening a run, fetching a batch, settling a batch."""
