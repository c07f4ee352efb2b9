"""What a deployment on Modal is told, checked before anything is built.

Needs nothing outside the standard library: `uvx modal deploy` runs where only modal is installed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from stt_service.config import EngineConfig, InvalidSetting

# Modal's names of the GPUs that hold the models and that this service was sized for.
GPUS = ("T4", "L4", "A10G", "L40S", "A100", "H100")
EMBEDDED_MODEL = "digits"

DEFAULTS = {
    "KYUTAI_APP_NAME": "kyutai-stt-rust",
    "KYUTAI_GPU": "L40S",
    "KYUTAI_ROUTING_REGION": "us-east",
    "KYUTAI_SNAPSHOT": "0",
    "MODEL_NAME": "kyutai/stt-1b-en_fr",
    "BATCH_SIZE": "8",
}
# Read by libraries in the container.
PASSED_ON = ("NO_TORCH_COMPILE", "NO_CUDA_GRAPH")

# The names of the two classes in the app; the label makes the address that users were told.
POOL_NAME = "SpeechToText"
GATEWAY_NAME = "Gateway"
GATEWAY_LABEL_SUFFIX = "kyutaisttrustservice-serve"
STREAM_PATH = "/v1/stream"

CREDENTIALS = ("MODAL_KEY", "MODAL_SECRET")

_APP_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_REGION = re.compile(r"[a-z]+(-[a-z0-9]+)*")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
# One label of a host name holds 63 characters, and the workspace's name needs some.
_LONGEST_APP_NAME = 30


@dataclass(frozen=True)
class Deployment:
    """One app on Modal: what it is called, what it serves, on which GPU."""

    app_name: str
    gpu: str
    engine: EngineConfig
    routing_region: str
    snapshot: bool
    container_environment: Mapping[str, str]
    """The settings for the containers, which read them again and must see the same."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Deployment":
        """Read and check the variables of DEFAULTS. Raises InvalidSetting."""
        settings = {name: environment.get(name, default) for name, default in DEFAULTS.items()}
        passed_on = {name: environment[name] for name in PASSED_ON if name in environment}
        return cls(
            app_name=_check_app_name(settings["KYUTAI_APP_NAME"]),
            gpu=_check_gpu(settings["KYUTAI_GPU"]),
            engine=_check_engine(settings),
            routing_region=_check_region(settings["KYUTAI_ROUTING_REGION"]),
            snapshot=_check_switch("KYUTAI_SNAPSHOT", settings["KYUTAI_SNAPSHOT"]),
            container_environment={**settings, **passed_on},
        )

    @property
    def gateway_label(self) -> str:
        """The gateway's host is `{workspace}--{gateway_label}.modal.run`."""
        return f"{self.app_name}-{GATEWAY_LABEL_SUFFIX}"

    @property
    def target_sessions(self) -> int:
        """Sessions per container from which Modal starts another one.

        Three quarters: at the full number, the next session is refused (429) before a second
        container exists.
        """
        return max(1, self.engine.slots * 3 // 4)


def read_credentials(environment: Mapping[str, str], *, required: bool) -> dict[str, str]:
    """The proxy auth token with which the gateway reaches the GPU pool.

    Raises InvalidSetting if it is `required` and not there; else what is missing is empty.
    """
    missing = [name for name in CREDENTIALS if not environment.get(name)]
    if missing and required:
        raise InvalidSetting(
            f"{' and '.join(missing)} must be set: make a proxy auth token in the settings of your "
            "Modal workspace (https://modal.com/settings/proxy-auth-tokens), export it as "
            "MODAL_KEY and MODAL_SECRET, and run this again"
        )
    return {name: environment.get(name, "") for name in CREDENTIALS}


def _check_app_name(name: str) -> str:
    if not _APP_NAME.fullmatch(name) or len(name) > _LONGEST_APP_NAME:
        raise InvalidSetting(
            f"KYUTAI_APP_NAME is {name!r}; it becomes part of a host name, so write up to "
            f"{_LONGEST_APP_NAME} lower-case letters, digits and single hyphens, as in "
            "kyutai-stt-l4"
        )
    return name


def _check_gpu(gpu: str) -> str:
    if gpu not in GPUS:
        raise InvalidSetting(f"KYUTAI_GPU is {gpu!r}; choose one of {', '.join(GPUS)}")
    return gpu


def _check_engine(settings: Mapping[str, str]) -> EngineConfig:
    engine = EngineConfig.from_environment(settings)
    if engine.model != EMBEDDED_MODEL and not _REPOSITORY.fullmatch(engine.model):
        raise InvalidSetting(
            f"MODEL_NAME is {engine.model!r}; write kyutai/stt-1b-en_fr, kyutai/stt-2.6b-en, "
            "another Hugging Face repository in moshi's layout as OWNER/NAME, or digits"
        )
    return engine


def _check_region(region: str) -> str:
    if not _REGION.fullmatch(region):
        raise InvalidSetting(
            f"KYUTAI_ROUTING_REGION is {region!r}; write a region of Modal's, as in us-east"
        )
    return region


def _check_switch(name: str, value: str) -> bool:
    if value not in ("", "0", "1"):
        raise InvalidSetting(f"{name} is {value!r}; write 1 for on or 0 for off")
    return value == "1"
