"""What happens to a mail on the server after it is stored and acknowledged: one file each."""

from activities.handling.registry import HANDLINGS

__all__ = ["HANDLINGS"]
