"""Listening to folders for as long as a subscription runs."""
