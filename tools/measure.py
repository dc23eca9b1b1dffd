"""Adapters between the engine and outside measuring scripts, one function each."""

from __future__ import annotations

from pydantic import TypeAdapter

from models.addresses import AddrSpec

_ADDR_SPEC: TypeAdapter[str] = TypeAdapter(AddrSpec)


def addresses(text: str) -> bool:
    """Return True for an address that may be a recipient; raise for any other."""
    _ADDR_SPEC.validate_python(text)
    return True
