"""Settings of a deployment: what they become, and the sentence for each that is wrong."""

import pytest

from stt_service.config import InvalidSetting
from stt_service.deployment import DEFAULTS, GPUS, Deployment, read_credentials


def test_the_defaults_are_what_users_were_told() -> None:
    deployment = Deployment.from_environment({})
    assert deployment.app_name == "kyutai-stt-rust"
    assert deployment.gateway_label == "kyutai-stt-rust-kyutaisttrustservice-serve"
    assert deployment.gpu == "L40S"
    assert (deployment.engine.model, deployment.engine.slots) == ("kyutai/stt-1b-en_fr", 8)
    assert deployment.routing_region == "us-east"
    assert not deployment.snapshot


@pytest.mark.parametrize("gpu", GPUS)
def test_every_documented_gpu_is_known(gpu: str) -> None:
    assert Deployment.from_environment({"KYUTAI_GPU": gpu}).gpu == gpu


def test_another_app_has_the_same_pattern_of_address() -> None:
    deployment = Deployment.from_environment({"KYUTAI_APP_NAME": "kyutai-stt-l4"})
    assert deployment.gateway_label == "kyutai-stt-l4-kyutaisttrustservice-serve"


@pytest.mark.parametrize(("slots", "target"), [(1, 1), (2, 1), (4, 3), (8, 6), (100, 75)])
def test_another_container_starts_before_one_is_full(slots: int, target: int) -> None:
    assert Deployment.from_environment({"BATCH_SIZE": str(slots)}).target_sessions == target


def test_containers_read_the_same_settings_again() -> None:
    environment = {"KYUTAI_GPU": "T4", "BATCH_SIZE": "4", "NO_TORCH_COMPILE": "1", "HOME": "/x"}
    deployment = Deployment.from_environment(environment)
    again = Deployment.from_environment(deployment.container_environment)
    assert again == deployment
    assert deployment.container_environment.keys() == DEFAULTS.keys() | {"NO_TORCH_COMPILE"}


@pytest.mark.parametrize("value", ["0", ""])
def test_snapshots_are_off_unless_asked_for(value: str) -> None:
    assert not Deployment.from_environment({"KYUTAI_SNAPSHOT": value}).snapshot
    assert Deployment.from_environment({"KYUTAI_SNAPSHOT": "1"}).snapshot


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("KYUTAI_GPU", "RTX4090", "choose one of T4, L4, A10G, L40S, A100, H100"),
        ("KYUTAI_GPU", "l4", "choose one of"),
        ("BATCH_SIZE", "eight", "must be a whole number"),
        ("BATCH_SIZE", "-1", "must be a whole number"),
        ("BATCH_SIZE", "0", "whole number from 1 to"),
        ("BATCH_SIZE", "100000", "whole number from 1 to"),
        ("MODEL_NAME", "stt-1b-en_fr", "write kyutai/stt-1b-en_fr"),
        ("MODEL_NAME", "/models/mine", "write kyutai/stt-1b-en_fr"),
        ("KYUTAI_APP_NAME", "Kyutai_STT", "lower-case letters, digits and single hyphens"),
        ("KYUTAI_APP_NAME", "k" * 31, "up to 30"),
        ("KYUTAI_APP_NAME", "", "as in kyutai-stt-l4"),
        ("KYUTAI_ROUTING_REGION", "US East", "as in us-east"),
        ("KYUTAI_SNAPSHOT", "yes", "write 1 for on or 0 for off"),
    ],
)
def test_a_wrong_setting_is_named_in_one_sentence(name: str, value: str, says: str) -> None:
    with pytest.raises(InvalidSetting, match=name) as caught:
        Deployment.from_environment({name: value})
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("environment", "missing"),
    [
        ({}, "MODAL_KEY and MODAL_SECRET must"),
        ({"MODAL_KEY": "wk-1"}, "MODAL_SECRET must"),
        ({"MODAL_KEY": "", "MODAL_SECRET": "ws-1"}, "MODAL_KEY must"),
    ],
)
def test_credentials_are_needed_where_it_is_deployed(
    environment: dict[str, str], missing: str
) -> None:
    with pytest.raises(InvalidSetting, match=missing) as caught:
        read_credentials(environment, required=True)
    assert "proxy auth token" in str(caught.value)
    assert read_credentials(environment, required=False).keys() == {"MODAL_KEY", "MODAL_SECRET"}


def test_credentials_are_read() -> None:
    environment = {"MODAL_KEY": "wk-1", "MODAL_SECRET": "ws-1", "PATH": "/bin"}
    credentials = {"MODAL_KEY": "wk-1", "MODAL_SECRET": "ws-1"}
    assert read_credentials(environment, required=True) == credentials
