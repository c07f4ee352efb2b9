"""Folders that say what their files were made of, so that nothing is built on what is stale."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from stt_service.digits.training.plan import PlanError

PROVENANCE_NAME = "made-of.json"


def claim(folder: Path, made_of: Mapping[str, object]) -> None:
    """Note what the files of a folder are made of.

    Raises PlanError when they were begun with something else.
    """
    path = folder / PROVENANCE_NAME
    wanted = json.loads(json.dumps(dict(made_of), default=str))
    if path.exists():
        noted = json.loads(path.read_text())
        other = sorted(name for name in wanted | noted if wanted.get(name) != noted.get(name))
        if other:
            raise PlanError(
                f"{folder} was begun with another {', '.join(other)}; "
                "give another --work, or remove that folder"
            )
    else:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(wanted, indent=1))


def fingerprint(path: Path) -> str:
    """Of a file's contents: SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
