"""One line in the log for each step that ends: which, for what, how, after how long."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from temporalio.exceptions import CancelledError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from starter.host.logs import ids_of, type_of

_log = logging.getLogger(__name__)


class StepReport(Interceptor):
    """Logs how activities end. Stands before whatever translates their errors."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Wrap the activity."""
        return _Reporter(next)


class _Reporter(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        started = time.monotonic()
        level, outcome, error_type = logging.INFO, "completed", None
        try:
            return await super().execute_activity(input)
        except (CancelledError, asyncio.CancelledError):
            outcome = "cancelled"
            raise
        except Exception as error:
            level, outcome, error_type = logging.WARNING, "failed", type_of(error)
            raise
        finally:
            extra: dict[str, Any] = {"outcome": outcome, "error_type": error_type}
            extra["seconds"] = round(time.monotonic() - started, 3)
            for argument in input.args:
                extra |= ids_of(argument)
            _log.log(level, "step %s", outcome, extra=extra)
