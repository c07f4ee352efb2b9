"""Checkpoints of the official shapes with random weights, in moshi's layout, to measure without a
download. What they write means nothing; what they cost is what the real ones cost."""

# moshi and much of torch are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from moshi.models import loaders
from safetensors.torch import save_file

from stt_service.config import DIGITS_CHECKPOINT

FILES = {
    "moshi_name": "model.safetensors",
    "mimi_name": "mimi.safetensors",
    "tokenizer_name": "tokenizer.model",
}
COMMON: dict[str, Any] = {
    "card": 2048,
    "n_q": 32,
    "dep_q": 0,
    "delays": [0] * 33,
    "dim": 2048,
    "existing_text_padding_id": 3,
    "hidden_scale": 4.125,
    "causal": True,
    "layer_scale": None,
    "max_period": 100000.0,
    "gating": "silu",
    "norm": "rms_norm_f32",
    "positional_embedding": "rope",
    "depformer_dim": 1024,
    "depformer_num_heads": 16,
    "depformer_num_layers": 6,
    "depformer_multi_linear": True,
    "depformer_pos_emb": "none",
    "conditioners": {},
    "cross_attention": False,
}
# From the config.json of kyutai/stt-1b-en_fr-candle and kyutai/stt-2.6b-en.
SHAPES: dict[str, dict[str, Any]] = {
    "1b": {
        "text_card": 8000,
        "num_heads": 16,
        "num_layers": 16,
        "context": 750,
        "extra_heads_num_heads": 4,
        "extra_heads_dim": 6,
    },
    "2.6b": {"text_card": 4000, "num_heads": 32, "num_layers": 48, "context": 375},
}
STT_CONFIGS = {
    "1b": {"audio_delay_seconds": 0.5, "audio_silence_prefix_seconds": 0.0},
    "2.6b": {"audio_delay_seconds": 2.5, "audio_silence_prefix_seconds": 1.0},
}


def make_lm(shape: str, device: str) -> Any:
    """moshi's language model of a shape; on the device "meta" it takes no memory."""
    lm_kwargs = dict(COMMON | SHAPES[shape])
    return loaders.get_moshi_lm(None, lm_kwargs=lm_kwargs, device=device, dtype=torch.bfloat16)


def make_mimi(device: str) -> Any:
    return loaders.get_mimi(None, device=device, num_codebooks=COMMON["n_q"])


def write_checkpoint(shape: str, directory: Path) -> None:
    """2 GB for 1b, 6 for 2.6b, in bfloat16 as the published ones."""
    torch.manual_seed(0)
    lm = make_lm(shape, "cpu")
    with torch.no_grad():
        for parameter in lm.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, parameter.shape[-1] ** -0.5)
    save_file(dict(lm.state_dict()), directory / FILES["moshi_name"])
    del lm
    save_file(dict(make_mimi("cpu").state_dict()), directory / FILES["mimi_name"])
    shutil.copy(DIGITS_CHECKPOINT / FILES["tokenizer_name"], directory / FILES["tokenizer_name"])
    config = COMMON | SHAPES[shape] | FILES
    config |= {"model_type": "stt", "stt_config": STT_CONFIGS[shape]}
    (directory / "config.json").write_text(json.dumps(config))
