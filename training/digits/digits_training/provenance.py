"""Folders that say what their files were made of, so that nothing is built on what is stale.

They say it of files and settings, not of code: who changes that starts with an empty folder.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from digits_training.errors import PlanError

PROVENANCE_NAME = "made-of.json"


def claim(folder: Path, made_of: Mapping[str, object]) -> None:
    """Note what the files of a folder are made of.

    Raises PlanError when they were begun with something else, or nothing says with what.
    """
    path = folder / PROVENANCE_NAME
    partial = path.with_suffix(".partial")
    wanted = json.loads(json.dumps(dict(made_of), default=str))
    folder.mkdir(parents=True, exist_ok=True)
    if path.exists():
        noted = json.loads(path.read_text())
        other = sorted(name for name in wanted | noted if wanted.get(name) != noted.get(name))
        if other:
            raise PlanError(
                f"{folder} was begun with another {', '.join(other)}; "
                "give another --work, or remove that folder"
            )
    elif set(folder.iterdir()) - {partial}:
        raise PlanError(
            f"{folder} holds files and no {PROVENANCE_NAME} that says what they were made of; "
            "give another --work, or remove that folder"
        )
    else:
        partial.write_text(json.dumps(wanted, indent=1))
        partial.replace(path)


def fingerprint(path: Path) -> str:
    """Of the contents of a file that `prepare` or an earlier step made: SHA-256 in hexadecimal.

    Raises PlanError when it is not there.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise PlanError(f"{path} is missing; run `prepare` first") from error
