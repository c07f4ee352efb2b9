"""The real `modal deploy`, from an environment with modal alone, and what it registers."""

from pathlib import Path

import pytest
from modal_proto import api_pb2

from stt_service.deploy.deployment import Deployment
from tests.integration.deploy.command import MODAL_APP, ROOT
from tests.integration.deploy.control_plane import Registered
from tests.integration.deploy.deployer import CREDENTIALS, Deployer


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
    check_resources(registered)
    # moshi compiles unless the variable holds some text, see moshi.utils.compile.
    assert "ENV NO_TORCH_COMPILE=1" in registered.commands_of("SpeechToText")
    assert "kyutai/stt-1b-en_fr-candle" in read_arguments_of_fetch(registered)


async def test_another_app_on_another_gpu(deployer: Deployer) -> None:
    finished = await deployer.deploy(
        **CREDENTIALS,
        KYUTAI_APP_NAME="kyutai-stt-l4",
        # As they may come out of an .env file.
        KYUTAI_GPU="'l4'",
        BATCH_SIZE=" 16",
        MODEL_NAME='"kyutai/stt-2.6b-en"',
        KYUTAI_ROUTING_REGION="EU-West",
        KYUTAI_SNAPSHOT="1",
        # Settings of former versions, which users still export.
        NO_TORCH_COMPILE="0",
        NO_CUDA_GRAPH="yes",
    )

    assert finished.status == 0, finished.output
    registered = deployer.registered
    assert list(registered.app_names.values()) == ["kyutai-stt-l4"]
    check_pool(registered, gpu="L4", sessions=16, target=12, region="eu-west", snapshot=True)
    check_gateway(registered, label="kyutai-stt-l4-kyutaisttrustservice-serve", region="eu-west")
    check_resources(registered)
    environment = "\n".join(registered.commands_of("SpeechToText"))
    assert "ENV NO_TORCH_COMPILE=1" in environment
    assert "NO_CUDA_GRAPH" not in environment
    for setting in ("kyutai/stt-2.6b-en", "KYUTAI_APP_NAME=kyutai-stt-l4", "BATCH_SIZE=16"):
        assert setting in environment


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
    # Modal lets what is in flight go on for exit_grace_period before SIGTERM, and takes an hour at
    # most: https://modal.com/docs/guide/servers, "Container lifecycle", and modal._server. What is
    # done after SIGTERM has 30 s, see test_container.py.
    assert (http.startup_timeout, http.exit_grace_period) == (1200, 3600)
    scaling = pool.autoscaler_settings
    assert (scaling.min_containers, scaling.max_containers) == (0, 10)
    assert scaling.scaledown_window == 60
    assert scaling.target_concurrency_float == target
    assert definition.max_concurrent_inputs == sessions
    assert definition.checkpointing_enabled is snapshot
    snapshot_options = {"enable_gpu_snapshot": "True"} if snapshot else {}
    assert dict(pool.experimental_options) == snapshot_options


def check_gateway(registered: Registered, *, label: str, region: str = "us-east") -> None:
    gateway, definition = registered.function("Gateway.*"), registered.definition("Gateway.*")
    web = gateway.method_definitions["serve"].webhook_config
    assert web.type == api_pb2.WEBHOOK_TYPE_ASGI_APP
    assert web.requested_suffix == label
    assert web.requires_proxy_auth
    assert registered.secrets_of("Gateway.*") == CREDENTIALS
    assert definition.max_concurrent_inputs == 100
    assert definition.target_concurrent_inputs == 75
    # A Function's inputs go through us-east, and its containers run anywhere, unless it says where:
    # https://modal.com/docs/guide/region-selection. What is left unsaid is us-east.
    assert list(definition.scheduler_placement.regions) == [region]
    assert (gateway.routing_region or "us-east") == region
    # One WebSocket is one call, https://modal.com/docs/guide/webhooks; of a day at most,
    # https://modal.com/docs/guide/timeouts
    assert gateway.timeout_secs == 4 * 3600
    assert gateway.autoscaler_settings.min_containers == 0
    assert gateway.autoscaler_settings.scaledown_window == 60
    assert not definition.resources.gpu_config.count


def check_resources(registered: Registered) -> None:
    """Else a container gets an eighth of a core and 128 MiB, and more only where there is some.

    https://modal.com/docs/guide/resources
    """
    for name in ("SpeechToText", "measure", "Gateway.*", "fetch_weights", "fetch"):
        resources = registered.definition(name).resources
        assert resources.milli_cpu >= 1000, name
        assert resources.memory_mb >= 1024, name
    pool, measured = (registered.definition(n).resources for n in ("SpeechToText", "measure"))
    assert (pool.milli_cpu, pool.memory_mb) == (measured.milli_cpu, measured.memory_mb)


def read_arguments_of_fetch(registered: Registered) -> str:
    """What the build step that fills the volume is called with, pickled."""
    [image] = [i for i in registered.layers_of("SpeechToText") if i.HasField("build_function")]
    return image.build_function.input.args.decode(errors="replace")


async def test_the_package_alone_holds_what_fills_the_volume(
    deployer: Deployer, tmp_path: Path
) -> None:
    """Where images are built, Modal mounts no other package of ours."""
    assert (await deployer.deploy(**CREDENTIALS)).status == 0
    files = deployer.registered.files_of("fetch")
    assert "/root/stt_service/deploy/weights.py" in files
    assert {path.split("/")[2] for path in files} == {"stt_service"}

    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "stt_service").symlink_to(ROOT / "stt_service")
    fetch = "from stt_service.deploy import weights; weights.fetch('digits')"
    finished = await deployer.run("-c", fetch, PYTHONPATH=str(tmp_path / "root"))
    assert (finished.status, finished.output) == (0, "")


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
        ({**CREDENTIALS, "BATCH_SIZE": "4096"}, "BATCH_SIZE is '4096'; it must be a"),
        ({**CREDENTIALS, "KYUTAI_ROUTING_REGION": "eu"}, "choose one of us-east, us-west, eu-west"),
        ({**CREDENTIALS, "KYUTAI_SNAPSHOT": "yes"}, "KYUTAI_SNAPSHOT is 'yes'; write 1 for on"),
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


async def test_wrong_batch_sizes_stop_the_benchmark_in_one_sentence(deployer: Deployer) -> None:
    command = ("-m", "modal", "run", f"{MODAL_APP}::bench", "--batch-sizes", "eight")
    finished = await deployer.run(*command, **CREDENTIALS)

    assert finished.status == 1
    assert "bench: batch sizes are 'eight'; write numbers from 1 to 1024" in finished.output
    assert "InvalidSetting" not in finished.output


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
    in_images = Deployment.from_environment({}).container_environment
    here = await deployer.run(*count, str(MODAL_APP.parent), "here", **CREDENTIALS)
    there = await deployer.run(*count, str(source_dir), "there", **in_images)

    assert here.status == 0, here.output
    assert there.output == here.output
    assert "SpeechToText" in there.output
