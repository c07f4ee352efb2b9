"""Run the modal command line as a user does: `uvx modal`, where only modal is installed."""

import asyncio
import importlib.metadata
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.integration.deploy.control_plane import TOKEN

ROOT = Path(__file__).resolve().parents[3]
MODAL_APP = ROOT / "stt_service" / "modal_app.py"
TIMEOUT_S = 90
IMAGE_BUILDER_VERSION = "2025.06"


@dataclass(frozen=True)
class Finished:
    """A command that has ended; `output` is both of its streams."""

    status: int
    output: str


def link_modal_alone(folder: Path) -> Path:
    """A folder of packages with modal and what it needs, linked from this environment."""
    for name in find_requirements("modal"):
        distribution = importlib.metadata.distribution(name)
        for file in distribution.files or []:
            top = file.parts[0]
            source, link = Path(str(distribution.locate_file(top))), folder / top
            if top not in ("..", "__pycache__") and not link.exists():
                link.symlink_to(source)
    return folder


def find_requirements(name: str) -> set[str]:
    """A distribution's name and the names of all that it requires here, extras left out."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current in found:
            continue
        try:
            requirements = importlib.metadata.requires(current) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform or Python
        found.add(current)
        for requirement in requirements:
            match = re.match(r"[\w.-]+", requirement)
            if match and "extra ==" not in requirement:
                waiting.append(match.group())
    return found


async def run_python(
    *arguments: str, packages: Path, server_url: str, environment: dict[str, str], folder: Path
) -> Finished:
    """Run Python in `folder` with these packages alone, modal bound to a control plane."""
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PYTHONPATH": str(packages),
        "PYTHONDONTWRITEBYTECODE": "1",
        "MODAL_SERVER_URL": server_url,
        "MODAL_TOKEN_ID": TOKEN[0],
        "MODAL_TOKEN_SECRET": TOKEN[1],
        "MODAL_CONFIG_PATH": str(folder / "modal.toml"),
        "MODAL_IMAGE_BUILDER_VERSION": IMAGE_BUILDER_VERSION,
        "COLUMNS": "200",
        "TERM": "dumb",
        **environment,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-S", *arguments),
        cwd=folder,
        env=variables,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Finished(process.returncode, output.decode())
