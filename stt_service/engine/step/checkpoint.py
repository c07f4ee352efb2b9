"""A checkpoint's files: where they are, whether they can be served, and what they say.

A checkpoint is in moshi's layout: config.json, the weights of Mimi and of the language model, and
a tokenizer, in a Hugging Face repository or in a local directory.
"""

# moshi, sentencepiece and much of torch are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

from pathlib import Path
from typing import Protocol, cast

import sentencepiece
from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache
from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from moshi.models.compression import MimiModel
from moshi.models.lm import LMModel
from moshi.models.loaders import CheckpointInfo

from stt_service.engine.checkpoint_config import check_config, read_config
from stt_service.engine.errors import UnreachableCheckpoint, UnsuitableCheckpoint
from stt_service.engine.model import ModelInfo
from stt_service.engine.pauses import KYUTAI_PAUSE_HEADS_S

HUB_TIMEOUT_S = 10.0
WORD_MARK = "▁"


def find_checkpoint(source: str) -> CheckpointInfo:
    """A local directory, or else a repository that moshi downloads."""
    directory = Path(source)
    if not directory.is_dir():
        if source.startswith((".", "/", "~")):
            raise UnsuitableCheckpoint(f"no such directory: {source}")
        checkpoint = _fetch_checkpoint(source)
    else:
        checkpoint = _find_local_checkpoint(directory)
    if checkpoint.model_type != "stt" or "audio_delay_seconds" not in checkpoint.stt_config:
        raise UnsuitableCheckpoint(
            f"{source} is no speech-to-text checkpoint: its config.json has model_type "
            f"{checkpoint.model_type!r} and stt_config {checkpoint.stt_config!r}"
        )
    check_config(checkpoint.raw_config or {}, checkpoint.mimi_config)
    return checkpoint


def _fetch_checkpoint(repository: str) -> CheckpointInfo:
    if not HF_HUB_OFFLINE and try_to_load_from_cache(repository, "config.json") is None:
        _ask_for_repository(repository)
    try:
        # Fetched here: where moshi finds no config.json, it takes the checkpoint for a dialogue
        # model of 15 GB and goes on.
        # Of whatever revision is newest: the operator has named the repository, and trusts it.
        config_path = hf_hub_download(repository, "config.json")  # nosec B615
        return CheckpointInfo.from_hf_repo(repository, config_path=Path(config_path))
    except EntryNotFoundError as error:
        if isinstance(error, LocalEntryNotFoundError):
            raise UnreachableCheckpoint(
                "cannot fetch it from Hugging Face: it is not in the cache, and HF_HUB_OFFLINE is "
                "set or the network is down"
            ) from error
        raise UnsuitableCheckpoint("the repository at Hugging Face has no config.json") from error
    except (OSError, HFValidationError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UnreachableCheckpoint(f"cannot fetch it from Hugging Face: {reason}") from error


def _ask_for_repository(repository: str) -> None:
    """Ask the hub once: a download asks one that is out of reach for half a minute."""
    try:
        HfApi().model_info(repository, timeout=HUB_TIMEOUT_S)
    except RepositoryNotFoundError as error:
        raise UnreachableCheckpoint(
            "Hugging Face has no such repository, or it is not public and HF_TOKEN is not of "
            "somebody who may read it"
        ) from error
    except HfHubHTTPError:
        # It answers; the download knows more.
        return
    except OSError as error:
        raise UnreachableCheckpoint(
            f"cannot fetch it from Hugging Face: {ENDPOINT} cannot be reached"
        ) from error
    except HFValidationError as error:
        raise UnreachableCheckpoint(f"that is no repository at Hugging Face: {error}") from error


def _find_local_checkpoint(directory: Path) -> CheckpointInfo:
    # Read the same way as moshi does; without paths of its own it would ask the hub.
    config_path = directory / "config.json"
    if not config_path.is_file():
        raise UnsuitableCheckpoint(f"{directory} has no config.json")
    config = read_config(config_path)
    names = {key: config.get(key) for key in ("moshi_name", "mimi_name", "tokenizer_name")}
    for key, name in names.items():
        if name is None or not (directory / name).is_file():
            raise UnsuitableCheckpoint(f"{config_path}: {key} is {name!r}, which is not there")
    mimi_config_name = config.get("mimi_config_name")
    return CheckpointInfo.from_hf_repo(
        str(directory),
        config_path=config_path,
        moshi_weights=directory / config["moshi_name"],
        mimi_weights=directory / config["mimi_name"],
        tokenizer=directory / config["tokenizer_name"],
        mimi_config_path=directory / mimi_config_name if mimi_config_name else None,
    )


def read_info(checkpoint: CheckpointInfo, mimi: MimiModel, lm: LMModel) -> ModelInfo:
    """What the engine has to know, from the checkpoint's config and tokenizer."""
    return ModelInfo(
        sample_rate_hertz=mimi.sample_rate,
        frame_samples=mimi.frame_size,
        delay_s=float(checkpoint.stt_config["audio_delay_seconds"]),
        silence_prefix_s=float(checkpoint.stt_config.get("audio_silence_prefix_seconds", 0.0)),
        padding_id=lm.text_padding_token_id,
        end_of_padding_id=lm.end_of_text_padding_id,
        pieces=read_pieces(checkpoint.get_text_tokenizer(), lm.text_card),
        pause_heads_s=KYUTAI_PAUSE_HEADS_S[: len(lm.extra_heads)],
    )


class Tokenizer(Protocol):
    """What is used of a sentencepiece processor, which has no types of its own."""

    def get_piece_size(self) -> int: ...
    def id_to_piece(self, id: int) -> str: ...
    def is_byte(self, id: int) -> bool: ...
    def is_control(self, id: int) -> bool: ...
    def is_unknown(self, id: int) -> bool: ...


def read_pieces(
    processor: sentencepiece.SentencePieceProcessor, text_card: int
) -> tuple[bytes, ...]:
    """The text of every id that the model can write; see ModelInfo.pieces."""
    tokenizer = cast(Tokenizer, processor)

    def read(text_id: int) -> bytes:
        if text_id >= tokenizer.get_piece_size():
            return b""
        if tokenizer.is_control(text_id) or tokenizer.is_unknown(text_id):
            return b""
        piece = tokenizer.id_to_piece(text_id)
        if tokenizer.is_byte(text_id):
            return bytes([int(piece[1:-1], 16)])  # "<0xE2>"
        return piece.replace(WORD_MARK, " ").encode()

    # One more than the vocabulary: text_card itself is the initial token.
    return tuple(read(text_id) for text_id in range(text_card + 1))
