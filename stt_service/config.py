"""Settings of the server; the only reader of the environment in this package."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stt_service.process.access import NOBODY_ASKED, Access
from stt_service.process.address import DEFAULT_GRPC_ADDRESS
from stt_service.process.environment import InvalidSetting, parse_count, read_variable
from stt_service.process.listening import parse_listening_address

DIGITS_CHECKPOINT = Path(__file__).parent / "digits" / "checkpoint"

EMBEDDED_MODEL = "digits"
MAX_SLOTS = 1024
MAX_THREADS = 1024
# Of the language model on a CPU; auto is float32 there, and a GPU's own format on a GPU.
WEIGHTS = ("auto", "float32", "bfloat16", "int8")
MAX_TIMEOUT_S = 86_400.0

# gRPC's own default is 4 MiB; this holds 2.9 minutes of float32 audio in one Transcribe call.
MAX_MESSAGE_BYTES = 16 * 1024 * 1024

# OWNER/NAME, as huggingface_hub checks it.
REPOSITORY = re.compile(r"(?!.*(--|\.\.|\.git$))\b[\w.-]+\b/\b[\w.-]{1,96}\b", re.ASCII)
_DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]{1,3})?")


@dataclass(frozen=True)
class KnownModel:
    """What is known of a model before it is loaded.

    `served_from` is the repository of the checkpoint that is served, where it is not the name's
    own. A model that `hears_pauses` has extra heads; without them `vad_end` comes later, from the
    text.
    """

    understands: str
    served_from: str | None = None
    hears_pauses: bool = True


# Kyutai's PyTorch repository of the 1B model has no extra heads; the one for candle has the same
# tensors in the same layout and four heads. Kyutai's own script makes the same exchange:
# https://github.com/kyutai-labs/delayed-streams-modeling/commit/07729ed
_HAS_HEADS = "kyutai/stt-1b-en_fr-candle"
KNOWN_MODELS = {
    "digits": KnownModel(
        "spoken English digits, zero to nine, and nothing else: try “five nine two seven one three”"
    ),
    "kyutai/stt-1b-en_fr": KnownModel("English and French", served_from=_HAS_HEADS),
    _HAS_HEADS: KnownModel("English and French"),
    "kyutai/stt-2.6b-en": KnownModel("English", hears_pauses=False),
}


def read_count(name: str, text: str, most: int) -> int:
    """A whole number from 1 to `most`; `name` is what to call it. Raises InvalidSetting."""
    count = parse_count(text, most)
    if count is None:
        raise InvalidSetting(f"{name} is {text!r}; it must be a whole number from 1 to {most}")
    return count


def _is_text(name: str) -> bool:
    """Whether a name can be sent: bytes of a path that are no UTF-8 cannot."""
    return all(not "\ud800" <= character <= "\udfff" for character in name)


@dataclass(frozen=True)
class EngineLimits:
    """How long the model may take, and how far it may be behind, in seconds.

    Without a sign of life for longer than a timeout the engine is dead. Loading may include a
    download of gigabytes, and the warm-up captures CUDA graphs. While the engine is further behind
    real time than `max_behind_s`, it admits nobody.
    """

    loading_timeout_s: float = 1800.0
    warm_up_timeout_s: float = 300.0
    step_timeout_s: float = 10.0
    max_behind_s: float = 0.5

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise InvalidSetting(f"{name} is {value}; it must be a number above 0")


@dataclass(frozen=True)
class EngineConfig:
    """Which model is served, by how many slots, on what.

    `model` is "digits" (embedded), a Hugging Face repository id, or a directory in
    the same layout. `threads` bounds torch's CPU threads; None leaves one core to
    the network. `limits` say when it is dead, and when it is full although slots are free.
    `weights` is one of WEIGHTS.
    """

    model: str = EMBEDDED_MODEL
    slots: int = 8
    device: str = "auto"
    threads: int | None = None
    limits: EngineLimits = EngineLimits()
    weights: str = "auto"

    def __post_init__(self) -> None:
        if not self.model:
            raise InvalidSetting("the model's name is empty; leave it out for the embedded model")
        if not _is_text(self.model):
            raise InvalidSetting(f"the model's name {self.model!r} is not UTF-8; rename the folder")
        if not 1 <= self.slots <= MAX_SLOTS:
            raise InvalidSetting(
                f"the batch size is {self.slots}; it must be from 1 to {MAX_SLOTS}"
            )
        if not _DEVICE.fullmatch(self.device):
            raise InvalidSetting(
                f"the device is {self.device!r}; it must be auto, cpu, cuda or cuda:N"
            )
        if self.weights not in WEIGHTS:
            raise InvalidSetting(
                f"the weights are {self.weights!r}; they must be one of {', '.join(WEIGHTS)}"
            )
        if self.threads is not None and not 1 <= self.threads <= MAX_THREADS:
            raise InvalidSetting(
                f"the number of threads is {self.threads}; it must be from 1 to {MAX_THREADS}"
            )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "EngineConfig":
        """Read MODEL_NAME and BATCH_SIZE. Raises InvalidSetting."""
        batch_size = read_variable(environment, "BATCH_SIZE", str(cls.slots))
        return cls(
            model=read_variable(environment, "MODEL_NAME", cls.model),
            slots=read_count("BATCH_SIZE", batch_size, MAX_SLOTS),
        )

    @property
    def checkpoint(self) -> str:
        """The name of the checkpoint that is served; for some models not the model's own."""
        known = KNOWN_MODELS.get(self.model)
        return known.served_from if known and known.served_from else self.model

    @property
    def source(self) -> str:
        """Where the checkpoint is: a directory or a repository id."""
        return str(DIGITS_CHECKPOINT) if self.model == EMBEDDED_MODEL else self.checkpoint

    @property
    def description(self) -> str:
        """What the model understands, for a person, as after "understands"; empty if unknown."""
        known = KNOWN_MODELS.get(self.model)
        if known is None:
            return ""
        if known.served_from:
            return f"{known.understands} (served from {known.served_from}, which hears pauses too)"
        return (
            known.understands
            if known.hears_pauses
            else f"{known.understands} (finds pauses in its text only)"
        )

    @property
    def is_known_to_hear_no_pauses(self) -> bool:
        """Whether its sessions get no `vad_end` because the model was made so."""
        known = KNOWN_MODELS.get(self.model)
        return known is not None and not known.hears_pauses

    @property
    def cpu_threads(self) -> int:
        return self.threads or max(1, (os.cpu_count() or 1) - 1)


@dataclass(frozen=True)
class TlsConfig:
    """PEM files of the gRPC port; with `client_ca` every client has to show a certificate."""

    certificate: Path
    private_key: Path
    client_ca: Path | None = None


@dataclass(frozen=True)
class ServerConfig:
    """How the gRPC server listens and stops. Addresses are HOST:PORT; port 0 picks a free one.

    Beyond this machine it listens only if callers need a key or, for gRPC, a certificate, unless
    `access` says that it is meant so.
    """

    grpc_address: str = DEFAULT_GRPC_ADDRESS
    metrics_address: str | None = None
    tls: TlsConfig | None = None
    access: Access = NOBODY_ASKED
    max_message_bytes: int = MAX_MESSAGE_BYTES
    drain_grace_s: float = 30.0

    def __post_init__(self) -> None:
        parse_listening_address(self.grpc_address)
        if self.tls is None or self.tls.client_ca is None:
            self.access.check_address("--grpc", self.grpc_address)
        if self.metrics_address is not None:
            parse_listening_address(self.metrics_address)
            self.access.check_address("--metrics", self.metrics_address)
        if not 0.0 <= self.drain_grace_s < float("inf"):
            raise InvalidSetting(
                f"the grace of draining is {self.drain_grace_s}; it must be 0 s or more"
            )
