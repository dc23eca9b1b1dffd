"""Activities that work in Sent folders: verifying unknown outcomes, filing copies."""

from __future__ import annotations

from temporalio import activity

from activities.heartbeat import blocking_heartbeats
from activities.sent.copies import SentCopies
from activities.sent.tending import Tending
from activities.sent.verification import Verification
from models.delivery import FileSentCopiesInput, FileSentCopiesResult, VerifyInput, VerifyResult
from models.names import ActivityName
from models.queue import TendSentFolderInput

_TRIES = 4
"""Then a copy that could not be filed has failed; whoever sent the mail is waiting."""


class FilingActivities:
    """The last activities of ``SendEmail``; who drains the queue uses them as well."""

    def __init__(self, verification: Verification, copies: SentCopies, tending: Tending) -> None:
        self._verification = verification
        self._copies = copies
        self._tending = tending

    @activity.defn(name=ActivityName.VERIFY, no_thread_cancel_exception=True)
    def verify_delivery(self, request: VerifyInput) -> VerifyResult:
        """Look an unknown outcome up in the Sent folder."""
        with blocking_heartbeats():
            return self._verification.look(request.delivery_id)

    @activity.defn(name=ActivityName.FILE_SENT_COPIES, no_thread_cancel_exception=True)
    def file_sent_copies(self, request: FileSentCopiesInput) -> FileSentCopiesResult:
        """Put copies of sent mails into the Sent folders, where they are not there."""
        with blocking_heartbeats():
            if request.give_up:
                return FileSentCopiesResult(copies=self._copies.give_up(request.delivery_ids))
            last = activity.info().attempt >= _TRIES
            return FileSentCopiesResult(copies=self._copies.file(request.delivery_ids, last=last))

    @activity.defn(name=ActivityName.TEND_SENT_FOLDER, no_thread_cancel_exception=True)
    def tend_sent_folder(self, request: TendSentFolderInput) -> None:
        """File copies of an account's queued mail, and look its unknown outcomes up."""
        with blocking_heartbeats():
            self._tending.tend(request.account_id)
