"""Fixtures of the deployments."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.integration.deploy.command import link_modal_alone
from tests.integration.deploy.control_plane import ControlPlane
from tests.integration.deploy.deployer import Deployer, run_deployer


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return link_modal_alone(tmp_path_factory.mktemp("packages"))


@pytest.fixture
async def deployer(packages: Path, tmp_path: Path) -> AsyncIterator[Deployer]:
    async with run_deployer(ControlPlane(), packages, tmp_path) as deployer:
        yield deployer
