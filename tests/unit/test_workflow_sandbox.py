"""Every workflow starts in the sandbox as the worker sets it up."""

from __future__ import annotations

import ast
import importlib
import sys
import textwrap
from pathlib import Path

import pytest
from temporalio import workflow
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from models.names import WorkflowType
from worker import SANDBOX
from workflows.registry import WORKFLOWS

FOLDER = Path(__file__).parents[2] / "workflows"


def prepare(cls: type) -> None:
    definition = workflow._Definition.must_from_class(cls)
    SandboxedWorkflowRunner(restrictions=SANDBOX).prepare_workflow(definition)


@pytest.mark.parametrize("cls", WORKFLOWS, ids=lambda cls: cls.__name__)
async def test_it_prepares(cls: type) -> None:
    prepare(cls)


def test_all_types_are_registered() -> None:
    names = {workflow._Definition.must_from_class(cls).name for cls in WORKFLOWS}
    assert names == {*WorkflowType, None}  # None: the one that answers unknown types


async def test_an_import_that_is_not_passed_through_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = """
        from temporalio import workflow
        from models.ids import derived_id

        @workflow.defn
        class Careless:
            @workflow.run
            async def run(self) -> str:
                return derived_id("x")
    """
    (tmp_path / "careless_workflow.py").write_text(textwrap.dedent(source))
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("careless_workflow")
    with pytest.raises(Exception, match=r"models"):
        prepare(module.Careless)
    sys.modules.pop("careless_workflow")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_no_workflow_leaves_the_sandbox(path: Path) -> None:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("sandbox_unrestricted", "now_unsafe")
        if isinstance(node, ast.keyword):
            assert node.arg != "sandboxed"
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
            assert module not in ("time", "random", "os", "socket", "threading", "uuid")
