import pytest

from stt_service.config import (
    DIGITS_CHECKPOINT,
    KNOWN_MODELS,
    EngineConfig,
    EngineLimits,
    KnownModel,
    ServerConfig,
)
from stt_service.process.environment import InvalidSetting


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
    assert (
        EngineConfig("kyutai/stt-2.6b-en").description == "English (finds pauses in its text only)"
    )
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


WRONG_COUNTS = ("0", "-1", "1025", "many", "1e3", "1_0", "8.0", "+8", "8 8", "8\n8", "\ud8008")
OTHER_DIGITS = ("\uff18", "\u0668")
TOO_MANY_DIGITS = ("9" * 20, "9" * 5000)


@pytest.mark.parametrize("value", [*WRONG_COUNTS, *OTHER_DIGITS, *TOO_MANY_DIGITS])
def test_a_batch_size_that_cannot_be_is_named(value: str) -> None:
    with pytest.raises(InvalidSetting, match="BATCH_SIZE") as caught:
        EngineConfig.from_environment({"BATCH_SIZE": value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["", " ", "\r\n", '""', "' '"])
@pytest.mark.parametrize("name", ["MODEL_NAME", "BATCH_SIZE"])
def test_an_empty_variable_is_an_unset_one(name: str, value: str) -> None:
    assert EngineConfig.from_environment({name: value}) == EngineConfig.from_environment({})


@pytest.mark.parametrize("quote", ["", '"', "'"])
def test_what_surrounds_a_variable_is_not_part_of_it(quote: str) -> None:
    environment = {"MODEL_NAME": f" {quote}a/b{quote}\r\n", "BATCH_SIZE": f"\t{quote}3{quote} "}
    config = EngineConfig.from_environment(environment)
    assert (config.model, config.slots) == ("a/b", 3)


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:12"])
def test_devices(device: str) -> None:
    assert EngineConfig(device=device).device == device


@pytest.mark.parametrize("device", ["", "gpu", "CPU", "mps", "cuda:", "cuda:x", "cuda:-1", "cpu:0"])
def test_what_is_no_device_is_refused(device: str) -> None:
    with pytest.raises(InvalidSetting, match="auto, cpu, cuda or cuda:N"):
        EngineConfig(device=device)


@pytest.mark.parametrize("threads", [0, -1, 10**9])
def test_a_number_of_threads_that_cannot_be_is_refused(threads: int) -> None:
    with pytest.raises(InvalidSetting, match="threads"):
        EngineConfig(threads=threads)


@pytest.mark.parametrize("name", sorted(vars(EngineLimits())))
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_a_limit_that_cannot_be_is_refused_by_its_name(name: str, value: float) -> None:
    with pytest.raises(InvalidSetting, match=name):
        EngineLimits(**{name: value})


def test_a_model_whose_name_cannot_be_sent_is_refused() -> None:
    with pytest.raises(InvalidSetting, match="not UTF-8"):
        EngineConfig("folder\udcff")


def test_one_core_is_left_to_the_network() -> None:
    assert EngineConfig(threads=3).cpu_threads == 3
    assert EngineConfig().cpu_threads >= 1


@pytest.mark.parametrize("address", ["", "50051", ":50051", "host:", "host:x", "host:70000"])
def test_what_is_no_address_is_refused(address) -> None:
    with pytest.raises(InvalidSetting, match="HOST:PORT"):
        ServerConfig(grpc_address=address)


@pytest.mark.parametrize("grace_s", [-1.0, float("nan"), float("inf")])
def test_a_grace_that_cannot_be_is_refused(grace_s: float) -> None:
    with pytest.raises(InvalidSetting, match="must be 0 s or more"):
        ServerConfig(drain_grace_s=grace_s)
