"""Identifiers: the same for the same thing, opaque, and read back by their inverses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import ids

TEXT = st.text(min_size=1, max_size=300)


@given(TEXT, TEXT)
def test_derived_ids_belong_to_their_parts(first: str, second: str) -> None:
    found = ids.derived_id("kind", first, second)
    assert found == ids.derived_id("kind", first, second)
    assert len(found) == 36
    assert (found == ids.derived_id("kind", second, first)) == (first == second)
    assert found != ids.derived_id("other", first, second)


def test_parts_are_not_simply_joined() -> None:
    assert ids.derived_id("a", "bc") != ids.derived_id("ab", "c")
    assert ids.derived_id("a", "b", "c") != ids.derived_id("a", "bc")


def test_a_reset_run_finds_its_mail() -> None:
    mail = ids.message_id_for_run("send/1", "first-run")
    assert mail == ids.message_id_for_run("send/1", "first-run")
    assert mail != ids.message_id_for_run("send/1", "another-chain")


def test_inverses() -> None:
    assert ids.message_id_of_send(ids.send_workflow_id("m1")) == "m1"
    workflow_id = ids.callback_workflow_id("on_email_fetch", "batch")
    assert ids.key_of_callback(workflow_id) == ("on_email_fetch", "batch")


@pytest.mark.parametrize("workflow_id", ["", "send", "callback/a/b", "something/else"])
def test_other_peoples_ids_are_no_sends(workflow_id: str) -> None:
    with pytest.raises(ValueError, match="not a send workflow id"):
        ids.message_id_of_send(workflow_id)


@given(folder=st.text(min_size=1, max_size=1000))
def test_workflow_ids_are_opaque_and_short(folder: str) -> None:
    account = "6f1ed002-ab5f-5a5b-9d35-1cbcae1e6aa1"
    found = ids.retrieve_workflow_id(account, folder)
    assert len(found) <= 255
    assert found.startswith(f"retrieve/{account}/")
    assert len(found.split("/")) == 3
    assert found != ids.retrieve_workflow_id(account, folder + "x")
