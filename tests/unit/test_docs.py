"""The documents say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from models.advice import ADVICE, Advice
from models.custom_headers import ALLOWED
from models.errors import TEMPORARY, ErrorType
from models.metrics import METRICS
from models.settings import Settings
from tools.export_schemas import FOLDER, schemas

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
ROW = re.compile(r"^\| `(\w+)` \| (yes|no) \| (.+) \| (.+) \|$", re.MULTILINE)
LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")


def test_every_error_type_is_documented_with_its_permanence() -> None:
    rows = ROW.findall((ROOT / "docs" / "errors.md").read_text())
    assert {kind: temporary for kind, temporary, _, _ in rows} == {
        t.value: "yes" if t in TEMPORARY else "no" for t in ErrorType
    }


def test_the_error_log_says_what_the_page_says() -> None:
    page = LINK.sub(r"\1", (ROOT / "docs" / "errors.md").read_text())
    rows = ROW.findall(page)
    assert {kind: Advice(meaning, remedy) for kind, _, meaning, remedy in rows} == {
        kind.value: advice for kind, advice in ADVICE.items()
    }
    assert set(ADVICE) == set(ErrorType)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_schemas_are_those_of_the_contract() -> None:
    written = {path.name: path.read_text() for path in FOLDER.glob("*.json")}
    assert written == schemas()


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    for name in Settings.model_fields:
        assert f"`EMAIL_CONNECTOR_{name.upper()}`" in page, name


def test_every_header_field_that_may_be_set_is_documented() -> None:
    page = (ROOT / "docs" / "how-to" / "sending.md").read_text().lower()
    assert [name for name in ALLOWED if f"`{name}`" not in page] == []


def test_every_metric_is_documented_with_its_kind_and_labels() -> None:
    page = (ROOT / "docs" / "how-to" / "operating.md").read_text()
    rows = re.findall(r"^\| `(email_connector_\w+)` \| (\w+) \|([^|]*)\|", page, re.MULTILINE)
    assert {(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows} == {
        (metric.exposed_name, metric.kind.value, metric.labels) for metric in METRICS
    }
