"""The store: one synchronous engine, group commits, and repositories over the tables."""
