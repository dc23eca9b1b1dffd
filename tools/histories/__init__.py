"""The cases of which a history is recorded: `python -m tools.record_histories`."""
