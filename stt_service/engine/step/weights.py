"""Reads the modules that moshi's loaders make into the plain tensors of the step.

What the step does not know is refused here, so that no checkpoint is served half.
"""

# moshi's modules are Any here: they and much of torch are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

import math
from functools import partial
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from moshi.modules.gating import ActivationGating
from moshi.modules.seanet import SEANetEncoder, SEANetResnetBlock
from moshi.modules.transformer import LayerScale, ProjectedTransformer, RMSNorm
from moshi.quantization.vq import SplitResidualVectorQuantizer
from torch import nn

from stt_service.engine.errors import UnsuitableCheckpoint
from stt_service.engine.step.convolution import Convolution, make_convolution
from stt_service.engine.step.language_model import LanguageModel
from stt_service.engine.step.linear import Storage, make_linear
from stt_service.engine.step.mimi import Codebook, Codebooks, Mimi, Stage
from stt_service.engine.step.transformer import Function, Layer, Linear, Transformer, gate


def expect(condition: bool, what: str) -> None:
    if not condition:
        raise UnsuitableCheckpoint(f"the checkpoint has {what}, which is not served")


def read_lm(lm: Any, dtype: torch.dtype, storage: Storage) -> LanguageModel:
    """The language model's tensors, on its device. It computes in `dtype`."""
    expect(lm.depformer is None, "a model that writes audio (dep_q is not 0)")
    expect(not any(lm.delays), "delays between its codebooks")
    expect(lm.fuser is None, "conditioners")
    tables = [*lm.emb, lm.text_emb]
    for table in tables:
        plain = table.norm is None and table.low_rank is None and not table.demux_second_stream
        expect(plain, "embeddings of another kind")
    ids = lm.text_linear.out_features
    expect(ids <= lm.text_card + 1, f"{ids} text ids, but embeddings of {lm.text_card + 1}")
    device = lm.device
    offsets = [0, *accumulate(table.num_embeddings for table in tables[:-1])]
    cards = [lm.initial_token_id] * lm.n_q + [lm.text_initial_token_id]
    offsets_tensor = torch.tensor(offsets, device=device)
    heads = [head.weight for head in lm.extra_heads]
    pauses = torch.cat([*heads, lm.text_linear.weight[:0]])
    return LanguageModel(
        embeddings=torch.cat([table.weight for table in tables]),
        offsets=offsets_tensor,
        initial=offsets_tensor + torch.tensor(cards, device=device),
        transformer=read_transformer(lm.transformer, 1, dtype, storage),
        out_norm=read_norm(lm.out_norm, dtype),
        text=read_linear(lm.text_linear, storage=storage),
        pauses=make_linear(pauses.to(dtype)),
        pause_heads=len(heads),
        pause_classes=len(heads[0]) if heads else 1,
    )


def read_mimi(mimi: Any, storage: Storage) -> Mimi:
    """The encoder's tensors; the decoder's are left behind."""
    seanet, encoder, quantizer = mimi.encoder, mimi.encoder_transformer, mimi.quantizer
    known = isinstance(seanet, SEANetEncoder) and isinstance(encoder, ProjectedTransformer)
    expect(known and hasattr(mimi, "downsample"), "an encoder of another kind")
    expect(isinstance(quantizer, SplitResidualVectorQuantizer), "a quantizer of another kind")
    same_dim = encoder.input_proj is None and isinstance(encoder.output_projs[0], nn.Identity)
    expect(same_dim, "an encoder whose transformer has another dimension")
    reader = ConvolutionReader(mimi.frame_size, storage)
    layers = [layer for layer in seanet.model if not isinstance(layer, nn.ELU)]
    elus = len(seanet.model) - len(layers)
    first, *middle, last = layers
    read_first = reader.read(first)
    stages: list[Stage] = []
    residuals: list[tuple[Convolution, Convolution]] = []
    for layer in middle:
        if isinstance(layer, SEANetResnetBlock):
            expect(isinstance(layer.shortcut, nn.Identity), "a shortcut that is no identity")
            _, narrow, _, widen = layer.block
            residuals.append((reader.read(narrow), reader.read(widen)))
            widest = residuals[-1][1]
            expect(widest.past == 0 and widest.stride == 1, "residual blocks of another kind")
        else:
            stages.append(Stage(tuple(residuals), reader.read(layer)))
            residuals = []
    expect(elus == len(stages) + 1, "activations that are not ELU")
    read_last = reader.read(last)
    return Mimi(
        frame_samples=mimi.frame_size,
        first=read_first,
        stages=tuple(stages),
        last=read_last,
        transformer=read_transformer(encoder.transformer, reader.samples, torch.float32, storage),
        downsample=reader.read(mimi.downsample.conv),
        quantizers=(read_codebooks(quantizer.rvq_first), read_codebooks(quantizer.rvq_rest)),
        window_shapes=tuple(reader.window_shapes),
    )


class ConvolutionReader:
    """Reads convolutions in their order and gives each its place in a slot's windows."""

    def __init__(self, frame_samples: int, storage: Storage) -> None:
        self._storage = storage
        self.samples = frame_samples
        self.window_shapes: list[tuple[int, int]] = []

    def read(self, module: Any) -> Convolution:
        conv = module.conv.conv
        if hasattr(conv, "weight_g"):
            nn.utils.remove_weight_norm(conv)  # Folds its two parts into one weight.
        expect(conv.groups == 1, "grouped convolutions")
        made = make_convolution(
            conv.weight,
            conv.bias,
            stride=conv.stride[0],
            dilation=conv.dilation[0],
            samples=self.samples,
            window=len(self.window_shapes),
            replicate=module.pad_mode == "replicate",
            storage=self._storage,
        )
        self.samples //= made.stride
        if made.past:
            self.window_shapes.append((made.past, conv.in_channels))
        return made


def read_codebooks(quantizer: Any) -> Codebooks:
    books = [layer._codebook.embedding for layer in quantizer.vq.layers[: quantizer.n_q]]
    return Codebooks(
        project=quantizer.input_proj.weight[:, :, 0].t().contiguous(),
        books=tuple(
            Codebook(entries, -2 * entries.t().contiguous(), entries.square().sum(1))
            for entries in books
        ),
    )


def read_transformer(
    transformer: Any, per_frame: int, dtype: torch.dtype, storage: Storage
) -> Transformer:
    expect(transformer.positional_embedding == "rope", "positions that are not rotary")
    layers = tuple(read_layer(layer, dtype, storage) for layer in transformer.layers)
    attention = transformer.layers[0].self_attn
    device = next(transformer.parameters()).device
    half = attention.embed_dim // attention.num_heads // 2
    # As moshi computes them, in its order: their rounding decides near ties.
    steps = torch.arange(half, device=device, dtype=torch.float32)
    return Transformer(
        layers=layers,
        heads=attention.num_heads,
        head_dim=2 * half,
        context=attention.context,
        per_frame=per_frame,
        dtype=dtype,
        frequencies=torch.exp(steps * (-math.log(transformer.max_period) * 2 / (2 * half))),
    )


def read_layer(layer: Any, dtype: torch.dtype, storage: Storage) -> Layer:
    attention = layer.self_attn
    expect(attention.causal and attention.context is not None, "attention without a context")
    expect(attention.kv_repeat == 1 and attention.mult == 1, "attention of another kind")
    expect(layer.cross_attention is None, "cross attention")
    if isinstance(layer.gating, ActivationGating):
        expect(layer.gating.activation is F.silu, "a gate that is not SiLU")
        expand, activate, contract = layer.gating.linear_in, gate, layer.gating.linear_out
    else:
        expect(layer.activation is F.gelu, "an activation that is not GELU")
        expand, activate, contract = layer.linear1, F.gelu, layer.linear2
    # Moshi's order is [3, heads, head_dim].
    qkv = attention.in_projs[0].weight.unflatten(0, (3, attention.num_heads, -1)).transpose(0, 1)
    read = partial(read_linear, storage=storage)
    attention.in_projs = None
    return Layer(
        norm_1=read_norm(layer.norm1, dtype),
        qkv=make_linear(qkv.flatten(0, 2), storage=storage),
        out=read(attention.out_projs[0], layer.layer_scale_1),
        norm_2=read_norm(layer.norm2, dtype),
        expand=read(expand),
        activate=activate,
        contract=read(contract, layer.layer_scale_2),
    )


def read_linear(module: Any, scale: Any = None, *, storage: Storage) -> Linear:
    """A linear layer; the scale of its outputs becomes part of its weight."""
    expect(isinstance(module, nn.Linear), "quantized or adapted weights")
    weight = module.weight
    if isinstance(scale, LayerScale):
        weight = weight * scale.scale.unsqueeze(1)
    module.weight = None  # Not all of a large model twice.
    return make_linear(weight, module.bias, storage)


def read_norm(norm: Any, dtype: torch.dtype) -> Function:
    if isinstance(norm, RMSNorm):
        alpha, eps = norm.alpha.flatten().to(dtype), norm.eps
        if alpha.device.type == "cuda":
            return partial(F.rms_norm, normalized_shape=alpha.shape, weight=alpha, eps=eps)
        return make_rms_norm(alpha, eps)
    expect(isinstance(norm, nn.LayerNorm), "norms of another kind")
    shape, eps = list(norm.normalized_shape), norm.eps
    weight, bias = norm.weight.to(dtype), norm.bias.to(dtype)
    return partial(F.layer_norm, normalized_shape=shape, weight=weight, bias=bias, eps=eps)


def make_rms_norm(alpha: torch.Tensor, eps: float) -> Function:
    """x * alpha / sqrt(mean(x²) + eps) in four calls; torch's own makes two dozen on a CPU."""
    dim = len(alpha)
    scale = alpha.float() * dim**0.5
    floor = torch.tensor((dim * eps) ** 0.5)

    def norm(x: torch.Tensor) -> torch.Tensor:
        length = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float32)
        return x / torch.hypot(length, floor) * scale

    if alpha.dtype == torch.float32:
        return norm
    return lambda x: norm(x).to(alpha.dtype)
