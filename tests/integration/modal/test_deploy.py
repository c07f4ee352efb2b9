"""The real `modal deploy`, from an environment with modal alone, and what it registers."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from modal_proto import api_pb2

from tests.integration.modal.command import MODAL_APP, ROOT, Finished, link_modal_alone, run_python
from tests.integration.modal.control_plane import ControlPlane, Registered, serve

CREDENTIALS = {"MODAL_KEY": "wk-test", "MODAL_SECRET": "ws-test"}


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return link_modal_alone(tmp_path_factory.mktemp("packages"))


class Deployer:
    """Deploys to a control plane of its own."""

    def __init__(self, server_url: str, registered: Registered, packages: Path, folder: Path):
        self.registered = registered
        self._server_url = server_url
        self._packages = packages
        self._folder = folder

    async def deploy(self, **environment: str) -> Finished:
        return await self.run("-m", "modal", "deploy", str(MODAL_APP), **environment)

    async def find_urls(self, **environment: str) -> Finished:
        path = f"{self._packages}:{ROOT}"
        return await self.run("-m", "stt_service.modal_url", PYTHONPATH=path, **environment)

    async def run(self, *arguments: str, **environment: str) -> Finished:
        return await run_python(
            *arguments,
            packages=self._packages,
            server_url=self._server_url,
            environment=environment,
            folder=self._folder,
        )


@pytest.fixture
async def deployer(packages: Path, tmp_path: Path) -> AsyncIterator[Deployer]:
    control_plane = ControlPlane()
    async with serve(control_plane) as server_url:
        yield Deployer(server_url, control_plane.registered, packages, tmp_path)


async def test_the_default_deployment(deployer: Deployer) -> None:
    finished = await deployer.deploy(**CREDENTIALS)

    assert finished.status == 0, finished.output
    host = "acme--kyutai-stt-rust-kyutaisttrustservice-serve.modal.run"
    assert f"https://{host}" in finished.output
    registered = deployer.registered
    assert list(registered.app_names.values()) == ["kyutai-stt-rust"]
    check_pool(registered, gpu="L40S", sessions=8, target=6)
    check_gateway(registered, label="kyutai-stt-rust-kyutaisttrustservice-serve")
    check_weights(registered)
    check_images(registered)
    assert registered.definition("measure").resources.gpu_config.gpu_type == "L40S"


async def test_another_app_on_another_gpu(deployer: Deployer) -> None:
    finished = await deployer.deploy(
        **CREDENTIALS,
        KYUTAI_APP_NAME="kyutai-stt-l4",
        KYUTAI_GPU="L4",
        BATCH_SIZE="16",
        MODEL_NAME="kyutai/stt-2.6b-en",
        KYUTAI_ROUTING_REGION="eu-west",
        KYUTAI_SNAPSHOT="1",
    )

    assert finished.status == 0, finished.output
    registered = deployer.registered
    assert list(registered.app_names.values()) == ["kyutai-stt-l4"]
    check_pool(registered, gpu="L4", sessions=16, target=12, region="eu-west", snapshot=True)
    check_gateway(registered, label="kyutai-stt-l4-kyutaisttrustservice-serve")
    environment = "\n".join(registered.commands_of("SpeechToText"))
    for setting in ("kyutai/stt-2.6b-en", "KYUTAI_APP_NAME=kyutai-stt-l4", "BATCH_SIZE=16"):
        assert setting in environment


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


def check_pool(
    registered: Registered,
    *,
    gpu: str,
    sessions: int,
    target: int,
    region: str = "us-east",
    snapshot: bool = False,
) -> None:
    pool, definition = registered.function("SpeechToText"), registered.definition("SpeechToText")
    assert pool.is_server
    assert (definition.resources.gpu_config.gpu_type, definition.resources.gpu_config.count) == (
        gpu,
        1,
    )
    http = pool.http_config
    assert (http.port, http.h2_enabled, http.unauthenticated) == (50051, True, False)
    assert list(http.proxy_regions) == [region]
    assert (http.startup_timeout, http.exit_grace_period) == (1200, 360)
    scaling = pool.autoscaler_settings
    assert (scaling.min_containers, scaling.max_containers) == (0, 10)
    assert scaling.scaledown_window == 60
    assert scaling.target_concurrency_float == target
    assert definition.max_concurrent_inputs == sessions
    assert definition.checkpointing_enabled is snapshot
    snapshot_options = {"enable_gpu_snapshot": "True"} if snapshot else {}
    assert dict(pool.experimental_options) == snapshot_options


def check_gateway(registered: Registered, *, label: str) -> None:
    gateway, definition = registered.function("Gateway.*"), registered.definition("Gateway.*")
    web = gateway.method_definitions["serve"].webhook_config
    assert web.type == api_pb2.WEBHOOK_TYPE_ASGI_APP
    assert web.requested_suffix == label
    assert web.requires_proxy_auth
    assert registered.secrets_of("Gateway.*") == CREDENTIALS
    assert definition.max_concurrent_inputs == 100
    assert gateway.timeout_secs == 4 * 3600
    assert gateway.autoscaler_settings.min_containers == 0
    assert gateway.autoscaler_settings.scaledown_window == 60
    assert not definition.resources.gpu_config.count


def check_weights(registered: Registered) -> None:
    volume = "kyutai-stt-weights"
    assert registered.volumes_of("SpeechToText") == {"/weights": (volume, True)}
    assert registered.volumes_of("measure") == {"/weights": (volume, True)}
    assert registered.volumes_of("fetch_weights") == {"/weights": (volume, False)}
    # The build step that fills it, before any container runs.
    assert registered.volumes_of("fetch") == {"/weights": (volume, False)}
    assert not registered.definition("fetch").resources.gpu_config.count
    builders = [id for id, function in registered.build_functions.items() if function]
    assert any(registered.images[id] in registered.layers_of("SpeechToText") for id in builders)
    assert registered.secrets_of("SpeechToText") == {"HF_HUB_OFFLINE": "1"}
    assert "HF_HUB_OFFLINE" not in registered.secrets_of("fetch_weights")


def check_images(registered: Registered) -> None:
    for name, extra, packages in (
        ("SpeechToText", "server", ("stt_service", "stt")),
        ("Gateway.*", "gateway", ("gateway", "stt_service", "stt")),
    ):
        commands = registered.commands_of(name)
        assert any("uv pip install" in c and f"{extra}.txt" in c for c in commands)
        assert any(c.startswith("ENV") and "MODEL_NAME=kyutai/stt-1b-en_fr" in c for c in commands)
        files = registered.files_of(name)
        assert "/root/modal_app.py" in files
        assert {f"/root/{package}/__init__.py" for package in packages} <= files
        assert not any("__pycache__" in file for file in files)
    # No secret is in an image.
    for name in ("SpeechToText", "Gateway.*"):
        assert not any("ws-test" in command for command in registered.commands_of(name))


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({**CREDENTIALS, "KYUTAI_GPU": "RTX4090"}, "KYUTAI_GPU is 'RTX4090'; choose one of"),
        ({**CREDENTIALS, "BATCH_SIZE": "eight"}, "BATCH_SIZE is 'eight'; it must be"),
        ({}, "MODAL_KEY and MODAL_SECRET must be set: make a proxy auth token"),
    ],
)
async def test_a_wrong_setting_stops_the_deployment(
    deployer: Deployer, environment: dict[str, str], sentence: str
) -> None:
    finished = await deployer.deploy(**environment)

    assert finished.status != 0
    assert sentence in finished.output
    assert len(finished.output.strip().splitlines()) == 1, finished.output
    assert deployer.registered == Registered()


COUNT_DEPENDENCIES = """
import sys
from modal._runtime.task_lifecycle_manager import _TaskLifecycleManager
from modal._utils.async_utils import synchronizer

sys.path.insert(0, sys.argv[1])
if sys.argv[2] == "there":
    _TaskLifecycleManager._singleton = object()  # by this modal knows that it is in a container
import modal_app

functions = synchronizer._translate_in(modal_app.app)._local_state.functions
for name, function in sorted(functions.items()):
    print(name, len(function._deps_(only_explicit_mounts=True)))
"""


async def test_the_file_reads_the_same_in_a_container(deployer: Deployer, tmp_path: Path) -> None:
    """Modal matches what a function depends on, here and in its container, by position."""
    source_dir = tmp_path / "root"
    source_dir.mkdir()
    (source_dir / "modal_app.py").write_bytes(MODAL_APP.read_bytes())
    for package in ("stt_service", "gateway", "proto/stt"):
        (source_dir / Path(package).name).symlink_to(ROOT / package)

    count = ("-c", COUNT_DEPENDENCIES)
    here = await deployer.run(*count, str(MODAL_APP.parent), "here", **CREDENTIALS)
    there = await deployer.run(*count, str(source_dir), "there")

    assert here.status == 0, here.output
    assert there.output == here.output
    assert "SpeechToText" in there.output
