"""Settings of a deployment: what they become, and the sentence for each that is wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stt_service.deploy.deployment import (
    DEFAULTS,
    MAX_APP_NAME,
    REGIONS,
    Deployment,
    read_credentials,
)
from stt_service.process.environment import InvalidSetting

# https://modal.com/docs/guide/servers, "Request routing", and
# https://modal.com/docs/guide/region-selection, "Regional routing"
DOCUMENTED_ROUTING_REGIONS = {"us-east", "us-west", "eu-west", "ap-south"}

# As a shell, an .env file and a paste from a web page leave a value.
WRAPPERS = ["{}", " {}", "{}\n", "\t{}\r\n", '"{}"', "'{}'", ' "{}" ', "' {}'"]
VALUES = {
    "KYUTAI_APP_NAME": "kyutai-stt-l4",
    "KYUTAI_GPU": "A100-80GB",
    "KYUTAI_ROUTING_REGION": "eu-west",
    "KYUTAI_SNAPSHOT": "1",
    "MODEL_NAME": "kyutai/stt-2.6b-en",
    "BATCH_SIZE": "16",
}


def test_the_defaults_are_what_users_were_told() -> None:
    deployment = Deployment.from_environment({})
    assert deployment.app_name == "kyutai-stt-rust"
    assert deployment.gateway_label == "kyutai-stt-rust-kyutaisttrustservice-serve"
    assert deployment.gpu == "L40S"
    assert (deployment.engine.model, deployment.engine.slots) == ("kyutai/stt-1b-en_fr", 8)
    assert deployment.routing_region == "us-east"
    assert not deployment.snapshot


def test_the_regions_are_modals() -> None:
    assert set(REGIONS) == DOCUMENTED_ROUTING_REGIONS


@pytest.mark.parametrize("region", REGIONS)
def test_every_documented_region_is_known_in_any_case(region: str) -> None:
    deployment = Deployment.from_environment({"KYUTAI_ROUTING_REGION": region.upper()})
    assert deployment.routing_region == region


def test_an_app_in_the_default_region_says_none_for_its_gateway() -> None:
    """Of a Function, Modal takes a routing region with the first deployment only.

    https://modal.com/docs/guide/region-selection, "Current restrictions": apps that were deployed
    before the gateway had one must not look changed.
    """
    assert Deployment.from_environment({}).gateway_routing_region is None
    environment = {"KYUTAI_ROUTING_REGION": "ap-south"}
    assert Deployment.from_environment(environment).gateway_routing_region == "ap-south"


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_white_space_and_quotes_around_a_value_do_not_matter(name: str, wrapper: str) -> None:
    meant = Deployment.from_environment({name: VALUES[name]})
    assert Deployment.from_environment({name: wrapper.format(VALUES[name])}) == meant


@pytest.mark.parametrize("name", DEFAULTS)
@pytest.mark.parametrize("nothing", ["", " ", '""', "\n"])
def test_a_variable_without_a_value_is_as_good_as_unset(name: str, nothing: str) -> None:
    assert Deployment.from_environment({name: nothing}) == Deployment.from_environment({})


# https://modal.com/docs/guide/webhook-urls: a host is `{source}--{label}.modal.run`; "Truncation":
# a first part longer than 63 characters is cut to 56 and gets a hash.
@given(st.from_regex(r"[a-z0-9]+(-[a-z0-9]+)*", fullmatch=True))
def test_an_app_name_is_taken_if_its_address_can_be_the_documented_one(name: str) -> None:
    label = f"{name}-kyutaisttrustservice-serve"
    if len(f"w--{label}") <= 63:
        assert Deployment.from_environment({"KYUTAI_APP_NAME": name}).gateway_label == label
    else:
        with pytest.raises(InvalidSetting, match=f"up to {MAX_APP_NAME}"):
            Deployment.from_environment({"KYUTAI_APP_NAME": name})


@pytest.mark.parametrize(("length", "taken"), [(MAX_APP_NAME, True), (34, False)])
def test_the_longest_app_name(length: int, taken: bool) -> None:
    assert MAX_APP_NAME == 33
    try:
        Deployment.from_environment({"KYUTAI_APP_NAME": "k" * length})
    except InvalidSetting:
        assert not taken
    else:
        assert taken


@pytest.mark.parametrize("name", ["NO_TORCH_COMPILE", "NO_CUDA_GRAPH"])
@pytest.mark.parametrize("value", ["", "0", "1", "yes"])
def test_a_setting_of_former_versions_changes_nothing(name: str, value: str) -> None:
    assert Deployment.from_environment({name: value}) == Deployment.from_environment({})


def test_the_model_takes_one_thread_of_the_machine_that_others_use_too() -> None:
    assert Deployment.from_environment({}).engine.cpu_threads == 1


def test_another_app_has_the_same_pattern_of_address() -> None:
    deployment = Deployment.from_environment({"KYUTAI_APP_NAME": "kyutai-stt-l4"})
    assert deployment.gateway_label == "kyutai-stt-l4-kyutaisttrustservice-serve"


@pytest.mark.parametrize(("slots", "target"), [(1, 1), (2, 1), (4, 3), (8, 6), (100, 75)])
def test_another_container_starts_before_one_is_full(slots: int, target: int) -> None:
    assert Deployment.from_environment({"BATCH_SIZE": str(slots)}).target_sessions == target


def test_containers_read_the_same_settings_again() -> None:
    environment = {"KYUTAI_GPU": "T4", "BATCH_SIZE": "4", "HOME": "/x"}
    deployment = Deployment.from_environment(environment)
    again = Deployment.from_environment(deployment.container_environment)
    assert again == deployment
    assert deployment.container_environment.keys() == DEFAULTS.keys()


@pytest.mark.parametrize("value", ["0", ""])
def test_snapshots_are_off_unless_asked_for(value: str) -> None:
    assert not Deployment.from_environment({"KYUTAI_SNAPSHOT": value}).snapshot
    assert Deployment.from_environment({"KYUTAI_SNAPSHOT": "1"}).snapshot


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("KYUTAI_GPU", "RTX4090", "choose one of T4, L4, A10, L40S, A100, A100-40GB, A100-80GB"),
        ("KYUTAI_GPU", "L4:2", "choose one of"),
        ("KYUTAI_GPU", "L4,A10", "choose one of"),
        ("KYUTAI_GPU", '"L4', "choose one of"),
        ("KYUTAI_GPU", "B300", "a newer CUDA than the pinned torch"),
        ("KYUTAI_GPU", "B200+", "a newer CUDA than the pinned torch"),
        ("BATCH_SIZE", "eight", "must be a whole number"),
        ("BATCH_SIZE", "-1", "must be a whole number"),
        ("BATCH_SIZE", "0", "whole number from 1 to"),
        ("BATCH_SIZE", "100000", "whole number from 1 to"),
        ("MODEL_NAME", "stt-1b-en_fr", "write kyutai/stt-1b-en_fr"),
        ("MODEL_NAME", "/models/mine", "write kyutai/stt-1b-en_fr"),
        ("MODEL_NAME", "kyutai/stt\N{NON-BREAKING HYPHEN}1b-en_fr", "write kyutai/stt-1b-en_fr"),
        ("MODEL_NAME", "kyutai/stt--1b", "write kyutai/stt-1b-en_fr"),
        ("MODEL_NAME", "kyutai/stt-1b-", "write kyutai/stt-1b-en_fr"),
        ("MODEL_NAME", '"kyutai/stt-1b-en_fr', "write kyutai/stt-1b-en_fr"),
        ("MODEL_NAME", "https://huggingface.co/kyutai/stt-1b-en_fr", "write kyutai/stt-1b-en_fr"),
        ("KYUTAI_APP_NAME", "Kyutai_STT", "lower-case letters, digits and single hyphens"),
        ("KYUTAI_APP_NAME", "k" * 34, "up to 33"),
        ("KYUTAI_ROUTING_REGION", "US East", "choose one of us-east, us-west, eu-west, ap-south"),
        ("KYUTAI_ROUTING_REGION", "eu-central", "choose one of"),
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


@pytest.mark.parametrize("name", ["MODAL_KEY", "MODAL_SECRET"])
@pytest.mark.parametrize(
    "value", ["wk\N{EN DASH}1", "wk-1\nws-1", "wk 1", "wk-\N{LATIN SMALL LETTER E WITH ACUTE}"]
)
def test_what_cannot_be_a_token_is_refused_without_showing_it(name: str, value: str) -> None:
    environment = {"MODAL_KEY": "wk-1", "MODAL_SECRET": "ws-1", name: value}
    with pytest.raises(InvalidSetting, match=f"{name} holds") as caught:
        read_credentials(environment, required=True)
    assert value not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_white_space_and_quotes_around_a_token_do_not_matter(wrapper: str) -> None:
    environment = {"MODAL_KEY": wrapper.format("wk-1"), "MODAL_SECRET": wrapper.format("ws-1")}
    assert read_credentials(environment, required=True) == {
        "MODAL_KEY": "wk-1",
        "MODAL_SECRET": "ws-1",
    }


def test_credentials_are_read() -> None:
    environment = {"MODAL_KEY": "wk-1", "MODAL_SECRET": "ws-1", "PATH": "/bin"}
    credentials = {"MODAL_KEY": "wk-1", "MODAL_SECRET": "ws-1"}
    assert read_credentials(environment, required=True) == credentials
