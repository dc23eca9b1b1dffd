"""The one place where errors of ours become Temporal's, with the same type."""

from __future__ import annotations

from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError, FailureError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from models.errors import ConnectorError, ErrorType


class ErrorTranslation(Interceptor):
    """Turns ``ConnectorError`` into ``ApplicationError``; hides the text of anything unexpected."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Wrap the activity."""
        return _Translator(next)


class _Translator(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        try:
            return await super().execute_activity(input)
        except ConnectorError as error:
            raise application_error(error) from None
        except FailureError:
            raise
        except Exception as error:  # noqa: BLE001 - the last place that can hide its text
            # The text of an unforeseen exception may quote a mail or a secret: only its class and
            # place go on. The log gets no more than that either.
            place = _place(error)
            activity.logger.error("unexpected %s at %s", type(error).__name__, place)
            raise ApplicationError(
                f"unexpected {type(error).__name__} at {place}", type=ErrorType.INTERNAL.value
            ) from None


def application_error(
    error: ConnectorError, *, non_retryable: bool | None = None
) -> ApplicationError:
    """Return ``error`` as Temporal's, retryable when it is temporary unless said otherwise."""
    details = [{"field": error.field}] if error.field else []
    return ApplicationError(
        str(error),
        *details,
        type=error.type.value,
        non_retryable=not error.temporary if non_retryable is None else non_retryable,
        next_retry_delay=error.retry_after,
    )


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    if trace is None:
        return "unknown"
    return f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}"
