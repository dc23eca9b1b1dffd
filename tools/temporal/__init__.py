"""The Temporal CLI, whose binary holds the development server: found, downloaded or built."""

from tools.temporal.devserver import DevServer
from tools.temporal.resolve import TemporalNotFoundError, resolve

__all__ = ["DevServer", "TemporalNotFoundError", "resolve"]
