"""The model as it is trained: moshi's own modules, joined so that gradients reach the encoder.

The encoder's convolutions are taught before, and apart, and only fine-tuned with the rest. At
inference the language model looks every audio code up in a table. Here it hears the quantized
latent through one linear map; `export` folds that map into the tables, which is exact.
"""

# torch, moshi and scipy are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateImportUsage=false
# pyright: reportPrivateUsage=false, reportUntypedFunctionDecorator=false
# pyright: reportArgumentType=false, reportIndexIssue=false, reportAttributeAccessIssue=false

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import sentencepiece
import torch
from moshi.models import loaders
from moshi.models.compression import MimiModel
from moshi.models.lm import LMModel
from moshi.quantization.core_vq import EuclideanCodebook
from moshi.quantization.vq import ResidualVectorQuantizer, SplitResidualVectorQuantizer
from moshi.utils.compile import no_compile
from torch import nn

from digits_training.training import blocked
from digits_training.training.targets import STATES, TextIds
from digits_training.vocabulary import DIGITS

CONFIG_NAME = "config.json"
MIMI_CONFIG_NAME = "mimi_config.json"
TOKENIZER_NAME = "tokenizer.model"
MIMI_WEIGHTS_NAME = "mimi.safetensors"
LM_WEIGHTS_NAME = "model.safetensors"

_FIRST_CONVOLUTION_GAIN = 12.0
_CONVOLUTION_GAIN = 1.2
_LAYER_SCALE = 0.3


@dataclass(frozen=True)
class Prediction:
    """What the model says about a batch."""

    text_logits: torch.Tensor  # [batch, frames, text ids]
    pause_logits: torch.Tensor  # [batch, heads, frames, classes]
    state_logits: torch.Tensor  # [batch, frames, STATES]
    commitment: torch.Tensor  # scalar: how far the latents are from their codes


class JointModel(nn.Module):
    """Mimi's encoder and quantizer with the language model behind them."""

    def __init__(self, mimi: MimiModel, lm: LMModel) -> None:
        super().__init__()
        self.mimi = mimi
        self.lm = lm
        self.hear = nn.Linear(mimi.dimension, lm.dim, bias=False)
        self.tell_state = nn.Linear(mimi.dimension, STATES)
        self.quantizing = False

    def forward(self, spectrum: torch.Tensor, text_history: torch.Tensor) -> Prediction:
        """spectrum: [batch, channels, steps], see tell_spectrum; text_history: [batch, frames]."""
        latent = self.encode(spectrum)
        if self.quantizing:
            quantized = self.mimi.quantizer(latent, self.mimi.frame_rate)
            heard, commitment = quantized.x.transpose(1, 2), quantized.penalty
        else:
            heard, commitment = self.skip_quantizer(latent).transpose(1, 2), latent.new_zeros(())
        hidden = self.listen(heard, text_history)
        return Prediction(
            text_logits=self.lm.text_linear(hidden),
            pause_logits=torch.stack([head(hidden) for head in self.lm.extra_heads], dim=1),
            state_logits=self.tell_state(heard),
            commitment=commitment,
        )

    def tell_spectrum(self, audio: torch.Tensor) -> torch.Tensor:
        """What Mimi's convolutions make of audio [batch, 1, samples]: [batch, channels, steps].

        They have been taught to tell its spectrum (`spectrum.measure_spectrum`).
        """
        return blocked.encode(self.mimi.encoder, audio)

    def encode(self, spectrum: torch.Tensor) -> torch.Tensor:
        """Returns the latents before quantizing: [batch, dimension, frames]."""
        with no_compile():
            (latent,) = cast(nn.Module, self.mimi.encoder_transformer)(spectrum)
            return self.mimi._to_framerate(latent)

    def listen(self, heard: torch.Tensor, text_history: torch.Tensor) -> torch.Tensor:
        """Run the language model as LMGen does: its first step hears initial tokens only."""
        initial = torch.stack([table.weight[self.lm.initial_token_id] for table in self.lm.emb])
        first = initial.sum(dim=0).expand(len(heard), 1, -1)
        audio_embedding = torch.cat([first, self.hear(heard[:, 1:])], dim=1)
        with no_compile():
            hidden = self.lm.transformer(audio_embedding + self.lm.text_emb(text_history))
            return self.lm.out_norm(hidden)

    def skip_quantizer(self, latent: torch.Tensor) -> torch.Tensor:
        """The quantizer's projections without its codes, so that it can begin where this ends."""
        return sum(
            (part.output_proj(part.input_proj(latent)) for part in self.get_quantizer_parts()),
            start=latent.new_zeros(()),
        )

    def get_quantizer_parts(self) -> tuple[ResidualVectorQuantizer, ResidualVectorQuantizer]:
        """Mimi's two residual quantizers: the first codebook, and the rest."""
        quantizer = cast(SplitResidualVectorQuantizer, self.mimi.quantizer)
        return quantizer.rvq_first, quantizer.rvq_rest

    @torch.no_grad()
    def start_quantizing(self, latents: torch.Tensor) -> None:
        """Place the codebooks by k-means. latents: [dimension, many frames]."""
        for part in self.get_quantizer_parts():
            residual = part.input_proj(latents[None])[0].T.contiguous()
            for codebook in list_codebooks(part):
                codebook._init_embedding(residual)
                codebook.register_buffer("_embedding", None, persistent=False)
                residual = residual - codebook.decode(codebook.encode(residual))
        self.quantizing = True

    def get_parameters(self, *, with_convolutions: bool) -> list[nn.Parameter]:
        """All that is trained: everything but Mimi's decoder, which is not used; Mimi's
        convolutions only when asked for."""
        others = ("mimi.decoder", "mimi.upsample")
        if not with_convolutions:
            others += ("mimi.encoder.",)
        return [
            parameter
            for name, parameter in self.named_parameters()
            if not name.startswith(others) and parameter.requires_grad
        ]


def read_config(checkpoint: Path) -> dict[str, Any]:
    """The language model's configuration."""
    return json.loads((checkpoint / CONFIG_NAME).read_text())


def read_text_ids(checkpoint: Path) -> TextIds:
    """The ids of the checkpoint's tokenizer; every digit must be one piece."""
    config = read_config(checkpoint)
    tokenizer = sentencepiece.SentencePieceProcessor(str(checkpoint / TOKENIZER_NAME))
    pieces = {word: tokenizer.piece_to_id(f"▁{word}") for word in DIGITS}
    return TextIds(padding=config["existing_text_padding_id"], end_of_padding=0, pieces=pieces)


def build_model(design: Path, *, seed: int) -> JointModel:
    """A new model of the shape that the configuration in the folder `design` describes."""
    torch.manual_seed(seed)
    info = describe_checkpoint(design)
    config = read_config(design)
    mimi = loaders.get_mimi(None, info.mimi_config, num_codebooks=config["n_q"])
    lm = info.get_moshi("cpu", dtype=torch.float32, load_weight=False)
    initialize_encoder(mimi)
    return JointModel(mimi, lm)


def describe_checkpoint(checkpoint: Path) -> loaders.CheckpointInfo:
    """moshi's description of a local folder; asks no network."""
    return loaders.CheckpointInfo.from_hf_repo(
        "local",
        moshi_weights=checkpoint / LM_WEIGHTS_NAME,
        mimi_weights=checkpoint / MIMI_WEIGHTS_NAME,
        tokenizer=checkpoint / TOKENIZER_NAME,
        config_path=checkpoint / CONFIG_NAME,
        mimi_config_path=checkpoint / MIMI_CONFIG_NAME,
    )


@torch.no_grad()
def initialize_encoder(mimi: MimiModel) -> None:
    """Give the encoder gains that keep the sound alive through ten convolutions.

    With torch's defaults the activations shrink at every layer and training does not take off.
    """
    convolutions = [module for module in mimi.encoder.modules() if isinstance(module, nn.Conv1d)]
    for index, convolution in enumerate(convolutions):
        fan_in = convolution.weight[0].numel()
        gain = _CONVOLUTION_GAIN * (_FIRST_CONVOLUTION_GAIN if index == 0 else 1.0)
        nn.init.normal_(convolution.weight, std=gain / fan_in**0.5)
        if convolution.bias is not None:
            nn.init.zeros_(convolution.bias)
    for name, parameter in cast(nn.Module, mimi.encoder_transformer).named_parameters():
        if "layer_scale" in name:
            parameter.fill_(_LAYER_SCALE)


def list_codebooks(part: ResidualVectorQuantizer) -> list[EuclideanCodebook]:
    """The codebooks of one residual quantizer, in the order in which they are applied."""
    return [cast(Any, layer)._codebook for layer in part.vq.layers]


def iterate_codebooks(model: JointModel) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """For each code table of the language model: its codebook [bins, d] and the projection
    [dimension, d] behind it."""
    return [
        (codebook.embedding, cast(nn.Conv1d, part.output_proj).weight[:, :, 0])
        for part in model.get_quantizer_parts()
        for codebook in list_codebooks(part)
    ]


@torch.no_grad()
def fold_tables(model: JointModel) -> None:
    """Write the language model's code tables: table[code] = hear · projection · codebook[code]."""
    for table, (codebook, projection) in zip(model.lm.emb, iterate_codebooks(model), strict=True):
        table.weight[: len(codebook)] = codebook @ projection.T @ model.hear.weight.T
