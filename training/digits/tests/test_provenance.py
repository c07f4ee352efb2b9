from pathlib import Path

import pytest

from digits_training.errors import PlanError
from digits_training.provenance import claim, fingerprint


def test_the_same_claim_is_made_again_at_will(tmp_path: Path) -> None:
    for _ in range(2):
        claim(tmp_path / "windows", {"seed": 1, "rates": (0.1, 0.2)})


def test_another_claim_is_refused_by_what_differs(tmp_path: Path) -> None:
    claim(tmp_path / "windows", {"seed": 1, "bank": "a"})
    with pytest.raises(PlanError, match="windows was begun with another frames, seed;"):
        claim(tmp_path / "windows", {"seed": 2, "bank": "a", "frames": 80})


def test_files_that_nothing_is_said_of_are_refused(tmp_path: Path) -> None:
    (tmp_path / "training.pt").touch()
    with pytest.raises(PlanError, match=r"no made-of\.json"):
        claim(tmp_path, {"seed": 1})


def test_a_note_that_was_cut_short_is_written_again(tmp_path: Path) -> None:
    (tmp_path / "made-of.partial").write_text("{")
    claim(tmp_path, {"seed": 1})
    claim(tmp_path, {"seed": 1})


def test_a_fingerprint_is_of_the_contents(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("same")
    second.write_text("same")
    assert fingerprint(first) == fingerprint(second)
    second.write_text("other")
    assert fingerprint(first) != fingerprint(second)
    with pytest.raises(PlanError, match="c is missing"):
        fingerprint(tmp_path / "c")
