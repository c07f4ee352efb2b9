import pytest

from stt_service.config import (
    DIGITS_CHECKPOINT,
    KNOWN_MODELS,
    EngineConfig,
    InvalidSetting,
    KnownModel,
    ServerConfig,
    TlsConfig,
    parse_address,
)


def test_the_embedded_model_is_served_by_default() -> None:
    config = EngineConfig.from_environment({})
    assert (config.model, config.slots) == ("digits", 8)
    assert config.source == str(DIGITS_CHECKPOINT)
    assert (DIGITS_CHECKPOINT / "config.json").is_file()


def test_the_environment_chooses_model_and_batch_size() -> None:
    environment = {"MODEL_NAME": "kyutai/stt-1b-en_fr", "BATCH_SIZE": "64"}
    config = EngineConfig.from_environment(environment)
    assert (config.model, config.slots) == ("kyutai/stt-1b-en_fr", 64)


@pytest.mark.parametrize("model", ["kyutai/stt-1b-en_fr", "kyutai/stt-1b-en_fr-candle"])
def test_the_1b_model_is_served_with_the_heads_that_hear_pauses(model: str) -> None:
    config = EngineConfig(model)
    assert config.source == config.checkpoint == "kyutai/stt-1b-en_fr-candle"
    assert config.description.startswith("English and French")
    assert not config.is_known_to_hear_no_pauses


def test_the_description_says_where_a_model_is_served_from_if_not_by_its_name() -> None:
    assert (
        "served from kyutai/stt-1b-en_fr-candle" in EngineConfig("kyutai/stt-1b-en_fr").description
    )
    assert EngineConfig("kyutai/stt-1b-en_fr-candle").description == "English and French"
    assert EngineConfig("kyutai/stt-2.6b-en").description == "English (hears no pauses)"
    assert EngineConfig("acme/model").description == ""


@pytest.mark.parametrize("model", ["kyutai/stt-2.6b-en", "acme/model", "./a/folder"])
def test_other_models_are_served_from_where_their_names_say(model: str) -> None:
    config = EngineConfig(model)
    assert config.source == config.checkpoint == model
    assert config.is_known_to_hear_no_pauses is (model == "kyutai/stt-2.6b-en")


@pytest.mark.parametrize("known", KNOWN_MODELS.values())
def test_what_a_name_is_served_from_is_served_from_itself(known: KnownModel) -> None:
    if known.served_from is not None:
        assert KNOWN_MODELS[known.served_from].served_from is None
        assert KNOWN_MODELS[known.served_from].hears_pauses


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"BATCH_SIZE": "0"}, "BATCH_SIZE is 0"),
        ({"BATCH_SIZE": "-3"}, "whole number"),
        ({"BATCH_SIZE": "1025"}, "from 1 to 1024"),
        ({"MODEL_NAME": ""}, "MODEL_NAME is empty"),
    ],
)
def test_a_wrong_environment_is_named(environment, message) -> None:
    with pytest.raises(InvalidSetting, match=message):
        EngineConfig.from_environment(environment)


def test_one_core_is_left_to_the_network() -> None:
    assert EngineConfig(threads=3).cpu_threads == 3
    assert EngineConfig().cpu_threads >= 1


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1:50051", ("127.0.0.1", 50051)), ("[::1]:0", ("[::1]", 0))],
)
def test_addresses_are_host_and_port(address, expected) -> None:
    assert parse_address(address) == expected


@pytest.mark.parametrize("address", ["", "50051", ":50051", "host:", "host:x", "host:70000"])
def test_what_is_no_address_is_refused(address) -> None:
    with pytest.raises(InvalidSetting, match="HOST:PORT"):
        ServerConfig(grpc_address=address)


def test_missing_tls_files_are_named(tmp_path) -> None:
    with pytest.raises(InvalidSetting, match=r"no such file: .*key\.pem"):
        (tmp_path / "cert.pem").touch()
        TlsConfig(tmp_path / "cert.pem", tmp_path / "key.pem")
