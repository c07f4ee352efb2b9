"""Kyutai's streaming models through moshi. The only module that imports torch and moshi.

The way a step is made is moshi's own: `mimi.encode`, then
`LMGen.step_with_extra_heads`, both in streaming mode with one row for each slot,
an exec mask for the rows that have a frame and a reset mask for new sessions.
On CUDA moshi captures its CUDA graphs at the first steps, which `warm_up` makes.
"""

# moshi, sentencepiece and much of torch are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateImportUsage=false

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import sentencepiece
import torch
from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache
from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from moshi.models import LMGen, LMModel, MimiModel
from moshi.models.loaders import CheckpointInfo
from moshi.utils.compile import no_compile

from stt_service.engine.checkpoint_config import check_config, read_config
from stt_service.engine.checkpoint_weights import check_weights
from stt_service.engine.errors import UnreachableCheckpoint, UnsuitableCheckpoint
from stt_service.engine.model import BoolArray, ModelInfo, StepOutput, StepPlan
from stt_service.engine.pauses import KYUTAI_PAUSE_HEADS_S

# CUDAGraphed runs a function eagerly once, captures it at the second call and then replays it.
WARM_UP_STEPS = 4
HUB_TIMEOUT_S = 10.0
WORD_MARK = "▁"


class MoshiModel:
    """A checkpoint in moshi's layout with `slots` rows of streaming state.

    `source` is a Hugging Face repository id or a local directory with the same
    files; `device` is auto, cpu, cuda or cuda:N; `threads` bounds torch's CPU
    threads. Raises UnsuitableCheckpoint.
    """

    def __init__(
        self, source: str, slots: int, device: str = "auto", threads: int | None = None
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self._device = choose_device(device)
        checkpoint = find_checkpoint(source)
        for weights in (checkpoint.moshi_weights, checkpoint.mimi_weights):
            check_weights(weights)
        lm = checkpoint.get_moshi(device=self._device, dtype=choose_dtype(self._device))
        self._mimi = checkpoint.get_mimi(device=self._device)
        self._lm_gen = LMGen(
            lm,
            use_sampling=False,
            temp=0,
            temp_text=0,
            support_out_of_sync=True,
            on_text_logits_hook=self._keep_logits,
        )
        self._slots = slots
        self._info = read_info(checkpoint, self._mimi, lm)
        self._logits = torch.empty(0)
        self._mimi.streaming_forever(slots)
        self._lm_gen.streaming_forever(slots)
        # The mask that moshi's modules currently hold; setting it visits every module.
        self._exec_mask: BoolArray | None = None

    @property
    def info(self) -> ModelInfo:
        return self._info

    @property
    def slots(self) -> int:
        return self._slots

    def warm_up(self) -> None:
        pcm = np.zeros((self._slots, 1, self._info.frame_samples), dtype=np.float32)
        everyone = np.ones(self._slots, dtype=np.bool_)
        nobody = np.zeros(self._slots, dtype=np.bool_)
        for _ in range(WARM_UP_STEPS):
            self.step(StepPlan(pcm, active=everyone, reset=nobody))
        self.step(StepPlan(pcm, active=nobody, reset=everyone))

    def step(self, plan: StepPlan) -> StepOutput:
        with torch.no_grad(), self._compiling():
            self._reset(plan.reset)
            self._set_exec_mask(plan.active)
            pcm = torch.from_numpy(plan.pcm)  # [slots, 1, frame_samples]
            codes = self._mimi.encode(pcm.to(self._device))  # [slots, codebooks, 1]
            output = self._lm_gen.step_with_extra_heads(codes)
            assert output is not None, "LMGen answers every step when out of sync"
            text_ids, heads = output  # [slots, 1, 1], one [slots, 1, classes] for each head
            return self._fetch(text_ids[:, 0, 0], heads)

    def _fetch(self, text_ids: torch.Tensor, heads: list[torch.Tensor]) -> StepOutput:
        # Greedy decoding: the text id is the most probable one.
        probabilities = self._logits.float().softmax(dim=-1).amax(dim=-1).reshape(-1)
        # One copy to the host for everything; float64 holds every text id exactly.
        columns = [text_ids, probabilities, *(head[:, 0, 0] for head in heads)]
        rows = torch.stack([column.double() for column in columns], dim=1).cpu().numpy()
        return StepOutput(
            text_ids=rows[:, 0].astype(np.int64),
            probabilities=rows[:, 1].astype(np.float32),
            pauses=rows[:, 2:].astype(np.float32),
        )

    def _keep_logits(self, logits: torch.Tensor) -> None:
        self._logits = logits  # [slots, 1, 1, text ids]

    def _reset(self, reset: BoolArray) -> None:
        if not reset.any():
            return
        mask = torch.from_numpy(reset)
        self._mimi.reset_streaming(mask)
        self._lm_gen.reset_streaming(mask)
        self._exec_mask = None  # A reset sets the mask of its rows.

    def _set_exec_mask(self, active: BoolArray) -> None:
        if self._exec_mask is not None and np.array_equal(active, self._exec_mask):
            return
        mask = torch.from_numpy(active).to(self._device)
        self._mimi.set_exec_mask(mask)
        self._lm_gen.set_exec_mask(mask)
        self._exec_mask = active.copy()

    def _compiling(self) -> AbstractContextManager[None]:
        # torch.compile needs a C++ compiler and slows the first steps; on a CPU it does not pay.
        return no_compile() if self._device.type == "cpu" else nullcontext()


def choose_device(device: str) -> torch.device:
    """`auto` is the first GPU if there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UnsuitableCheckpoint(f"device {device} was asked for, but torch finds no CUDA device")
    _, _, number = device.partition(":")
    if number and int(number) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise UnsuitableCheckpoint(f"device {device} was asked for, but the last is cuda:{last}")
    return torch.device(device)


def choose_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 on GPUs that compute in it, float16 on those that do not (T4), float32 on CPU."""
    if device.type != "cuda":
        return torch.float32
    # Emulated bfloat16 runs, slowly, on a T4.
    has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if has_bfloat16 else torch.float16


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
        config_path = Path(hf_hub_download(repository, "config.json"))
        return CheckpointInfo.from_hf_repo(repository, config_path=config_path)
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
