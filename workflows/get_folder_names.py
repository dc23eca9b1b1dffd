"""Lists the folders of an account."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from models import policies
    from models.mailbox import GetFolderNamesInput, GetFolderNamesResult
    from models.names import ActivityName, WorkflowType
    from workflows._steps import answer


@workflow.defn(name=WorkflowType.GET_FOLDER_NAMES)
class GetFolderNamesWorkflow:
    """The folders of an account's incoming server."""

    @workflow.run
    async def run(self, input: GetFolderNamesInput) -> GetFolderNamesResult:
        """Ask the server."""
        return await answer(
            ActivityName.LIST_FOLDERS, input, GetFolderNamesResult, policies.ASK_SERVER
        )
