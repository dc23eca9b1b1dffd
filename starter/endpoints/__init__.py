"""What is served over HTTP: signed content, and the codec of Temporal's UI and CLI."""
