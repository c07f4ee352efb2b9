"""The blocked encoder is moshi's encoder: same latents, same gradients."""

import pytest
import torch
from moshi.modules.seanet import SEANetEncoder
from torch import nn

from digits_training.__main__ import DESIGN
from digits_training.training import blocked
from digits_training.training.network import build_model
from digits_training.vocabulary import FRAME_SAMPLES


@pytest.fixture(scope="module")
def encoder() -> SEANetEncoder:
    found = build_model(DESIGN, seed=3).mimi.encoder
    assert isinstance(found, SEANetEncoder)
    return found


@pytest.mark.parametrize("frames", [1, 7])
def test_latents_and_gradients_are_those_of_moshi(encoder: SEANetEncoder, frames: int) -> None:
    generator = torch.Generator().manual_seed(1)
    audio = 0.1 * torch.randn(2, 1, frames * FRAME_SAMPLES, generator=generator)
    parameters = list(encoder.parameters())
    theirs, ours = encoder(audio), blocked.encode(encoder, audio)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    # Weights at random, so that no error hides behind a symmetry.
    pull = torch.randn(theirs.shape, generator=generator)
    for our, their in zip(
        torch.autograd.grad((ours * pull).sum(), parameters),
        torch.autograd.grad((theirs * pull).sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(our, their, atol=1e-3 * float(their.abs().max()), rtol=1e-3)


@pytest.mark.parametrize(
    ("channels", "outputs", "kernel", "stride"),
    [(1, 8, 7, 1), (8, 4, 3, 1), (4, 8, 1, 1), (8, 16, 8, 4), (3, 5, 10, 5), (40, 2, 2, 1)],
)
def test_any_causal_convolution_can_be_blocked(
    channels: int, outputs: int, kernel: int, stride: int
) -> None:
    torch.manual_seed(1)
    convolution = nn.Conv1d(channels, outputs, kernel, stride)
    assert convolution.bias is not None
    x = torch.randn(3, channels, 40, requires_grad=True)
    theirs = convolution(nn.functional.pad(x, (kernel - stride, 0)))
    ours = blocked.convolve(x.transpose(1, 2), convolution.weight, convolution.bias, stride)
    torch.testing.assert_close(ours.transpose(1, 2), theirs, atol=1e-5, rtol=1e-4)
    (to_theirs,) = torch.autograd.grad(theirs.square().sum(), x)
    (to_ours,) = torch.autograd.grad(ours.square().sum(), x)
    torch.testing.assert_close(to_ours, to_theirs, atol=1e-4, rtol=1e-3)


def test_a_layer_that_cannot_be_blocked_is_named() -> None:
    dilated = SEANetEncoder(n_filters=2, n_residual_layers=2, causal=True, pad_mode="constant")
    other = SEANetEncoder(n_filters=2, activation="CELU", causal=True, pad_mode="constant")
    for encoder, name in ((dilated, "dilation="), (other, "CELU")):
        with pytest.raises(TypeError, match=name):
            blocked.encode(encoder, torch.zeros(1, 1, 640))
