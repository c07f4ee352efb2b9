"""The modal command line against a control plane of its own."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from tests.integration.deploy.command import MODAL_APP, ROOT, Finished, run_python
from tests.integration.deploy.control_plane import ControlPlane, Registered, serve

CREDENTIALS = {"MODAL_KEY": "wk-test", "MODAL_SECRET": "ws-test"}


class Deployer:
    """Deploys to a control plane of its own."""

    def __init__(self, server_url: str, registered: Registered, packages: Path, folder: Path):
        self.registered = registered
        self._server_url = server_url
        self._packages = packages
        self._folder = folder

    async def deploy(self, **environment: str) -> Finished:
        return await self.run("-m", "modal", "deploy", str(MODAL_APP), **environment)

    async def find_urls(self, *options: str, **environment: str) -> Finished:
        path = f"{self._packages}:{ROOT}"
        command = ("-m", "stt_service.deploy.modal_url", *options)
        return await self.run(*command, PYTHONPATH=path, **environment)

    async def run(self, *arguments: str, **environment: str) -> Finished:
        return await run_python(
            *arguments,
            packages=self._packages,
            server_url=self._server_url,
            environment=environment,
            folder=self._folder,
        )


@contextlib.asynccontextmanager
async def run_deployer(
    control_plane: ControlPlane, packages: Path, folder: Path
) -> AsyncIterator[Deployer]:
    async with serve(control_plane) as server_url:
        yield Deployer(server_url, control_plane.registered, packages, folder)
