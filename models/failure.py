"""A failure as data: what results, callbacks and the timeline say about an error."""

from __future__ import annotations

from models.base import Payload
from models.errors import ConnectorError, ErrorType


class Failure(Payload):
    """An error that was expected and is reported, not raised."""

    type: ErrorType
    message: str
    temporary: bool
    field: str | None = None
    phase: str | None = None
    code: int | None = None
    enhanced_code: str | None = None
    retry_after_seconds: int | None = None
    explanation: str | None = None
    """``message`` without a peer's words; absent when nobody has told them apart."""

    @classmethod
    def of(cls, error: ConnectorError) -> Failure:
        """Return the failure that ``error`` reports."""
        code, enhanced = error.detail.get("code"), error.detail.get("enhanced_code")
        phase = error.detail.get("phase")
        return cls(
            type=error.type,
            message=error.message,
            temporary=error.temporary,
            field=error.field,
            phase=str(phase) if phase else None,
            # IMAP's codes are words (RFC 5530), which stand in the explanation.
            code=code if isinstance(code, int) else None,
            enhanced_code=str(enhanced) if enhanced else None,
            retry_after_seconds=int(error.retry_after.total_seconds())
            if error.retry_after
            else None,
            explanation=error.explanation,
        )
