"""The GPUs, what they cost, and the app for each of them in a comparison."""

import json
import re

import pytest

from stt_service.deploy.deployment import Deployment
from stt_service.deploy.gpu_apps import GpuApp, main
from stt_service.deploy.gpus import GPUS
from tests.pages import ROOT

# https://modal.com/docs/guide/gpu, "Specifying GPU type". B300, and B200+, which may be one, want
# CUDA 13.1 by the same page.
DOCUMENTED_GPUS = {
    *("T4", "L4", "A10", "L40S", "A100", "A100-40GB", "A100-80GB", "RTX-PRO-6000"),
    *("H100", "H100!", "H200", "B200", "B200+", "B300"),
}


def test_the_gpus_are_modals_without_those_that_want_a_newer_cuda() -> None:
    assert set(GPUS) == DOCUMENTED_GPUS - {"B300", "B200+"}


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("write", [str, str.lower, str.title])
def test_every_documented_gpu_is_known_in_any_case(gpu: str, write: type[str]) -> None:
    # The SDK writes it in capitals: modal._utils.function_utils.parse_gpu_config
    deployment = Deployment.from_environment({"KYUTAI_GPU": write(gpu)})
    assert deployment.gpu == gpu
    assert deployment.container_environment["KYUTAI_GPU"] == gpu


def test_a_gpu_may_be_called_by_its_former_name() -> None:
    assert Deployment.from_environment({"KYUTAI_GPU": "A10G"}).gpu == "A10"


@pytest.mark.parametrize("gpu", [*GPUS, "A10G"])
def test_a_comparison_can_deploy_every_gpu_and_knows_its_price(gpu: str) -> None:
    app = GpuApp(gpu)
    environment = {"KYUTAI_GPU": gpu, "KYUTAI_APP_NAME": app.name}
    assert Deployment.from_environment(environment).app_name == app.name
    assert app.price_per_hour_usd == GpuApp(gpu.lower()).price_per_hour_usd
    assert app.price_per_hour_usd is not None
    # Two GPUs that were one app would be measured as one.
    assert sum(GpuApp(other).name == app.name for other in GPUS if other != gpu) == 0


@pytest.mark.parametrize(
    # https://modal.com/pricing, dollars a second
    ("gpu", "per_second"),
    [
        *[("T4", 0.000164), ("L4", 0.000222), ("A10", 0.000306), ("L40S", 0.000542)],
        *[("A100", 0.000583), ("A100-40GB", 0.000583), ("A100-80GB", 0.000694)],
        *[("RTX-PRO-6000", 0.000842), ("H100", 0.001097), ("H200", 0.001261), ("B200", 0.001736)],
    ],
)
def test_prices_are_modals(gpu: str, per_second: float) -> None:
    assert GPUS[gpu].price_per_hour_usd == pytest.approx(per_second * 3600, abs=0.006)


def test_the_page_has_the_same_prices() -> None:
    page = (ROOT / "docs" / "deploy-modal.md").read_text()
    rows = re.findall(r"^\| (`[^|]+`) \| [^|]+ \| ([\d.]+) \|", page, re.MULTILINE)
    listed = {gpu: float(price) for cell, price in rows for gpu in re.findall("`(.+?)`", cell)}
    assert listed == {name: gpu.price_per_hour_usd for name, gpu in GPUS.items()}


def test_the_apps_are_described_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["T4", "H100!", "RTX4090"]) == 0
    apps = json.loads(capsys.readouterr().out)
    assert apps[0] == {
        "gpu": "T4",
        "app": "kyutai-stt-t4",
        "price_per_hour_usd": 0.59,
        "stop_command": "uvx modal app stop kyutai-stt-t4",
    }
    assert [app["app"] for app in apps[1:]] == ["kyutai-stt-h100-only", "kyutai-stt-rtx4090"]
    assert apps[2]["price_per_hour_usd"] is None


def test_one_app_is_deployed_at_a_time() -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--deploy", "T4", "L4"])
