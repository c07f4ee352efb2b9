"""What a deployment on Modal is told, checked before anything is built.

Needs nothing outside the standard library: `uvx modal deploy` runs where only modal is installed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from stt_service.config import EMBEDDED_MODEL, REPOSITORY, EngineConfig
from stt_service.deploy.gpu_memory import check_fits
from stt_service.deploy.gpus import GPUS, GPUS_TOO_NEW, find_modals_name
from stt_service.process.address import MAX_HOST_LABEL
from stt_service.process.environment import (
    KEY_VARIABLE,
    SECRET_VARIABLE,
    InvalidSetting,
    check_token,
    read_variable,
)

# Where Modal's proxies stand, https://modal.com/docs/guide/region-selection. Each name is also
# that of a region for containers.
REGIONS = ("us-east", "us-west", "eu-west", "ap-south")
DEFAULT_REGION = "us-east"
# The work is the GPU's. By itself torch would start a thread for each core of the machine, of which
# the container has two.
MODEL_THREADS = 1

DEFAULTS = {
    "KYUTAI_APP_NAME": "kyutai-stt-rust",
    "KYUTAI_GPU": "L40S",
    "KYUTAI_ROUTING_REGION": DEFAULT_REGION,
    "KYUTAI_SNAPSHOT": "0",
    "MODEL_NAME": "kyutai/stt-1b-en_fr",
    "BATCH_SIZE": "8",
}

# The names of the two classes in the app; the label makes the address that users were told.
POOL_NAME = "SpeechToText"
GATEWAY_NAME = "Gateway"
GATEWAY_LABEL_SUFFIX = "kyutaisttrustservice-serve"
STREAM_PATH = "/v1/stream"

# A host is `{workspace}--{label}.modal.run`. Of a first part above MAX_HOST_LABEL, Modal keeps 56
# characters and adds a hash: https://modal.com/docs/guide/webhook-urls#truncation.
WORKSPACE_SEPARATOR = "--"
# So that the address can be what users were told for a workspace whose name is one character.
MAX_APP_NAME = MAX_HOST_LABEL - len(f"w{WORKSPACE_SEPARATOR}-{GATEWAY_LABEL_SUFFIX}")

_APP_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Deployment:
    """One app on Modal: what it is called, what it serves, on which GPU."""

    app_name: str
    gpu: str
    engine: EngineConfig
    routing_region: str
    """Where calls enter Modal, and where the gateway runs."""
    snapshot: bool
    container_environment: Mapping[str, str]
    """The settings for the containers, which read them again and must see the same."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Deployment":
        """Read and check the variables of DEFAULTS. Raises InvalidSetting."""
        settings = {
            name: read_variable(environment, name, default) for name, default in DEFAULTS.items()
        }
        settings["KYUTAI_GPU"] = _check_gpu(settings["KYUTAI_GPU"])
        settings["KYUTAI_ROUTING_REGION"] = _check_region(settings["KYUTAI_ROUTING_REGION"])
        engine = _check_engine(settings)
        check_fits(engine.model, engine.slots, settings["KYUTAI_GPU"])
        return cls(
            app_name=_check_app_name(settings["KYUTAI_APP_NAME"]),
            gpu=settings["KYUTAI_GPU"],
            engine=engine,
            routing_region=settings["KYUTAI_ROUTING_REGION"],
            snapshot=_read_switch(settings, "KYUTAI_SNAPSHOT"),
            container_environment=settings,
        )

    @property
    def gateway_label(self) -> str:
        """The gateway's host is `{workspace}--{gateway_label}.modal.run`."""
        return f"{self.app_name}-{GATEWAY_LABEL_SUFFIX}"

    @property
    def gateway_routing_region(self) -> str | None:
        """Where Modal routes WebSockets through; None for the region that it takes by itself.

        An app keeps the one of its first deployment, so the default stays unsaid, as it was.
        """
        return None if self.routing_region == DEFAULT_REGION else self.routing_region

    @property
    def target_sessions(self) -> int:
        """Sessions per container from which Modal starts another one.

        Three quarters: at the full number, the next session is refused (429) before a second
        container exists.
        """
        return max(1, self.engine.slots * 3 // 4)


def read_credentials(environment: Mapping[str, str], *, required: bool) -> dict[str, str]:
    """The proxy auth token with which the gateway reaches the GPU pool.

    Raises InvalidSetting if it is `required` and not there or no token; else what is missing is
    empty.
    """
    credentials = {
        name: read_variable(environment, name) for name in (KEY_VARIABLE, SECRET_VARIABLE)
    }
    if not required:
        return credentials
    missing = [name for name, value in credentials.items() if not value]
    if missing:
        raise InvalidSetting(
            f"{' and '.join(missing)} must be set: make a proxy auth token in the settings of your "
            "Modal workspace (https://modal.com/settings/proxy-auth-tokens), export it as "
            "MODAL_KEY and MODAL_SECRET, and run this again"
        )
    for name, value in credentials.items():
        check_token(name, value)
    return credentials


def _read_switch(settings: Mapping[str, str], name: str) -> bool:
    value = settings[name]
    if value not in ("", "0", "1"):
        raise InvalidSetting(f"{name} is {value!r}; write 1 for on or 0 for off")
    return value == "1"


def _check_app_name(name: str) -> str:
    if not _APP_NAME.fullmatch(name) or len(name) > MAX_APP_NAME:
        raise InvalidSetting(
            f"KYUTAI_APP_NAME is {name!r}; it becomes part of a host name, so write up to "
            f"{MAX_APP_NAME} lower-case letters, digits and single hyphens, as in "
            "kyutai-stt-l4"
        )
    return name


def _check_gpu(name: str) -> str:
    gpu = find_modals_name(name)
    if gpu in GPUS_TOO_NEW:
        raise InvalidSetting(
            f"KYUTAI_GPU is {name!r}, which wants a newer CUDA than the pinned torch is built for; "
            f"choose one of {', '.join(GPUS)}"
        )
    if gpu not in GPUS:
        raise InvalidSetting(f"KYUTAI_GPU is {name!r}; choose one of {', '.join(GPUS)}")
    return gpu


def _check_engine(settings: Mapping[str, str]) -> EngineConfig:
    engine = replace(EngineConfig.from_environment(settings), threads=MODEL_THREADS)
    if engine.model != EMBEDDED_MODEL and not REPOSITORY.fullmatch(engine.model):
        raise InvalidSetting(
            f"MODEL_NAME is {engine.model!r}; write kyutai/stt-1b-en_fr, kyutai/stt-2.6b-en, "
            "another Hugging Face repository in moshi's layout as OWNER/NAME, or digits"
        )
    return engine


def _check_region(name: str) -> str:
    region = name.lower()
    if region not in REGIONS:
        raise InvalidSetting(
            f"KYUTAI_ROUTING_REGION is {name!r}; choose one of {', '.join(REGIONS)}"
        )
    return region
