"""One app on Modal for each GPU: deploy it, find it, and say how to stop it."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from asyncio.subprocess import STDOUT
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stt_service.process.child import run_child

# Dollars an hour as Modal listed them in 2026 (https://modal.com/pricing says them by the second);
# the GPU only, without CPU and memory. A10G is A10's former name.
PRICES_PER_HOUR_USD = {
    "T4": 0.59,
    "L4": 0.80,
    "A10": 1.10,
    "A10G": 1.10,
    "L40S": 1.95,
    "A100": 2.10,
    "A100-40GB": 2.10,
    "A100-80GB": 2.50,
    "RTX-PRO-6000": 3.03,
    "H100": 3.95,
    "H100!": 3.95,
    "H200": 4.54,
    "B200": 6.25,
}
SERVER_PACKAGE = "stt_service"
ERROR_LINES = 4

_WEBSOCKET_LINE = re.compile(r"^WebSocket\s+(wss?://\S+)$", re.MULTILINE)


class DeployError(Exception):
    """An app could not be deployed or found; the text holds what Modal said."""


@dataclass(frozen=True)
class GpuApp:
    """The app that serves on one GPU."""

    gpu: str

    @property
    def name(self) -> str:
        # The exclamation mark of H100! forbids Modal to take an H200; no name of an app has one.
        return f"kyutai-stt-{self.gpu.lower().replace('!', '-only')}"

    @property
    def price_per_hour_usd(self) -> float | None:
        """None if it is not known."""
        return PRICES_PER_HOUR_USD.get(self.gpu.upper())

    @property
    def stop_command(self) -> str:
        return f"uvx modal app stop {self.name}"

    @property
    def environment(self) -> Mapping[str, str]:
        """What the deployment reads."""
        return {**os.environ, "KYUTAI_GPU": self.gpu, "KYUTAI_APP_NAME": self.name}


async def deploy(app: GpuApp) -> None:
    """Run `modal deploy` for this GPU. Raises `DeployError`."""
    command = [sys.executable, "-m", "modal", "deploy", str(_find_modal_app())]
    await _run(command, app, "deploying")


async def find_websocket_url(app: GpuApp) -> str:
    """The deployed app's WebSocket address. Raises `DeployError`."""
    command = [sys.executable, "-m", f"{SERVER_PACKAGE}.modal_url", "--app", app.name]
    output = await _run(command, app, "finding")
    match = _WEBSOCKET_LINE.search(output)
    if match is None:
        raise DeployError(f"finding {app.name} failed: no WebSocket address in {output!r}")
    return match[1]


async def _run(command: Sequence[str], app: GpuApp, doing: str) -> str:
    if importlib.util.find_spec("modal") is None:
        raise DeployError(
            "Modal's package is missing. Run it as `uv run --extra modal stt-latency …`."
        )
    async with run_child(command, env=app.environment, stderr=STDOUT) as process:
        output, _ = await process.communicate()
    text = output.decode(errors="replace")
    if process.returncode != 0:
        said = " ".join(text.split("\n")[-ERROR_LINES - 1 :]).strip()
        raise DeployError(f"{doing} {app.name} failed: {said}")
    return text


def _find_modal_app() -> Path:
    """The deployment file of the service's package; found, not imported."""
    spec = importlib.util.find_spec(SERVER_PACKAGE)
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        raise DeployError("The service's own package is not installed, so it cannot be deployed.")
    return Path(folders[0]) / "modal_app.py"
