"""The worker's process: what is seen of it from outside, and how it starts and ends."""
