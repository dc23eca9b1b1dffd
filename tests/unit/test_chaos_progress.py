"""A long chaos run that was cut goes on where it ended."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.progress import Progress, add_up

ASKED = {"mails": 10, "rounds": 2}


def test_rounds_are_found_again(tmp_path: Path):
    Progress(tmp_path / "rounds", ASKED, resume=False).add("send 1", {"kills": 3})
    again = Progress(tmp_path / "rounds", ASKED, resume=True)
    again.add("send 2", {"kills": 4})
    assert again.done() == {"send 1": {"kills": 3}, "send 2": {"kills": 4}}


def test_rounds_of_another_run_are_not(tmp_path: Path):
    Progress(tmp_path / "rounds", ASKED, resume=False).add("send 1", {"kills": 3})
    assert Progress(tmp_path / "rounds", ASKED | {"mails": 11}, resume=True).done() == {}
    assert Progress(tmp_path / "rounds", ASKED, resume=False).done() == {}


def test_a_line_that_was_cut_off_counts_for_nothing(tmp_path: Path):
    progress = Progress(tmp_path / "rounds", ASKED, resume=False)
    progress.add("send 1", {"kills": 3})
    with (tmp_path / "rounds").open("a") as file:
        file.write('{"round": "send 2", "ask')
    assert progress.done() == {"send 1": {"kills": 3}}
    progress.add("send 2", {"kills": 4})
    assert progress.done() == {"send 1": {"kills": 3}, "send 2": {"kills": 4}}


def test_figures_are_added_name_by_name():
    rounds = [
        {"kills": 3, "wrong": {}, "missed": ["a"], "restarts": {"temporal": 1}},
        {
            "kills": 4,
            "wrong": {"lost": 1},
            "missed": [],
            "restarts": {"temporal": 1, "postgres": 1},
        },
    ]
    assert add_up(rounds) == {
        "kills": 7,
        "wrong": {"lost": 1},
        "missed": ["a"],
        "restarts": {"temporal": 2, "postgres": 1},
    }
    assert rounds[0]["missed"] == ["a"]
