"""stt-modal-url asks a control plane where a deployed app is."""

import hashlib
import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.integration.deploy.control_plane import ControlPlane
from tests.integration.deploy.deployer import CREDENTIALS, Deployer, run_deployer


async def test_stt_modal_url_finds_a_deployed_app(deployer: Deployer) -> None:
    app = {"KYUTAI_APP_NAME": "kyutai-stt-t4"}
    assert (await deployer.find_urls(**app)).output.startswith(
        "stt-modal-url: no deployed app 'kyutai-stt-t4'"
    )
    assert (await deployer.deploy(**CREDENTIALS, **app)).status == 0

    found = await deployer.find_urls(**app)

    assert found.status == 0, found.output
    websocket, grpc, grpcurl = (line.split(maxsplit=1)[1] for line in found.output.splitlines())
    host = "acme--kyutai-stt-t4-kyutaisttrustservice-serve.modal.run"
    assert websocket == f"wss://{host}/v1/stream"
    assert grpc == "https://acme--kyutai-stt-t4-speechtotext.us-east.modal.direct"
    assert "acme--kyutai-stt-t4-speechtotext.us-east.modal.direct:443" in grpcurl
    assert '-H "modal-key: $MODAL_KEY" -H "modal-secret: $MODAL_SECRET"' in grpcurl
    for_programs = await deployer.find_urls("--json", **app)
    assert json.loads(for_programs.output) == {
        "app": "kyutai-stt-t4",
        "websocket": websocket,
        "grpc": grpc,
    }


async def test_stt_modal_url_knows_the_host_of_a_workspace_with_a_long_name(
    packages: Path, tmp_path: Path
) -> None:
    """Above 19 characters, workspace and label do not fit into one label of a host name."""
    workspace = "a-company-of-long-name"
    async with run_deployer(ControlPlane(workspace), packages, tmp_path) as deployer:
        assert (await deployer.deploy(**CREDENTIALS)).status == 0
        found = await deployer.find_urls()

    assert found.status == 0, found.output
    host = urlsplit(found.output.split()[1]).hostname
    composed = f"{workspace}--kyutai-stt-rust-kyutaisttrustservice-serve"
    digest = hashlib.sha256(composed.encode()).hexdigest()
    # https://modal.com/docs/guide/webhook-urls, "Truncation"
    assert host == f"{composed[:56]}-{digest[:6]}.modal.run"


@pytest.mark.parametrize(
    "environment",
    [
        {"KYUTAI_APP_NAME": "no such app"},
        {"KYUTAI_APP_NAME": "a\nb"},
        {"MODAL_TOKEN_ID": "", "MODAL_TOKEN_SECRET": ""},
    ],
)
async def test_stt_modal_url_fails_in_one_sentence(
    deployer: Deployer, environment: dict[str, str]
) -> None:
    failed = await deployer.find_urls(**environment)
    assert failed.status in (1, 2)
    assert failed.output.startswith("stt-modal-url: ")
    assert len(failed.output.strip().splitlines()) == 1, failed.output
