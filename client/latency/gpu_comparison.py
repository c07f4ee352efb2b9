"""The apps on Modal that a comparison of GPUs measures, one for each.

Programs in `stt_service.deploy` know their names and prices and deploy them; they answer in JSON.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from dataclasses import dataclass

from stt_service.process.child import run_child

GPU_APPS = "stt_service.deploy.gpu_apps"
MODAL_URL = "stt_service.deploy.modal_url"
ERROR_LINES = 4


class DeployError(Exception):
    """An app could not be deployed or found; the message quotes Modal."""


@dataclass(frozen=True)
class GpuApp:
    """The app that serves on one GPU."""

    gpu: str
    name: str
    price_per_hour_usd: float | None
    """None if it is not known."""
    stop_command: str


async def list_apps(gpus: Sequence[str]) -> list[GpuApp]:
    """The app of each GPU, deployed or not. Raises `DeployError`."""
    answer = await _run([sys.executable, "-m", GPU_APPS, "--", *gpus], "naming the apps")
    return [
        GpuApp(app["gpu"], app["app"], app["price_per_hour_usd"], app["stop_command"])
        for app in json.loads(answer)
    ]


async def deploy(app: GpuApp) -> None:
    """Deploy the app of this GPU. Raises `DeployError`."""
    _need_modal()
    await _run([sys.executable, "-m", GPU_APPS, "--deploy", "--", app.gpu], f"deploying {app.name}")


async def find_websocket_url(app: GpuApp) -> str:
    """The deployed app's WebSocket address. Raises `DeployError`."""
    _need_modal()
    command = [sys.executable, "-m", MODAL_URL, "--json", "--app", app.name]
    return json.loads(await _run(command, f"finding {app.name}"))["websocket"]


def _need_modal() -> None:
    if importlib.util.find_spec("modal") is None:
        raise DeployError(
            "Modal's package is missing. Run it as `uv run --extra modal stt-latency …`."
        )


async def _run(command: Sequence[str], doing: str) -> str:
    """Run a program and return its output. Raises `DeployError` with its last lines if it fails."""
    async with run_child(command, stderr=PIPE) as process:
        output, said = await process.communicate()
    if process.returncode != 0:
        last_lines = said.decode(errors="replace").split("\n")[-ERROR_LINES - 1 :]
        raise DeployError(f"{doing} failed: {' '.join(last_lines).strip()}")
    return output.decode()
