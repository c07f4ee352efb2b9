"""What is trained must be what is served."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from moshi.models import LMGen
from moshi.utils.compile import no_compile

from digits_training.__main__ import DESIGN
from digits_training.training.export import export_checkpoint
from digits_training.training.network import (
    JointModel,
    build_model,
    describe_checkpoint,
    iterate_codebooks,
    read_text_ids,
)
from digits_training.vocabulary import DIGITS, FRAME_SAMPLES

# As long as the encoder's attention reaches (2 s). Beyond it, moshi's streaming drops the oldest
# position one half frame earlier than its offline forward does, which changes little but something.
FRAMES = 24


@pytest.fixture(autouse=True)
def without_compiling() -> Iterator[None]:
    with no_compile():
        yield


@pytest.fixture(scope="module")
def trained() -> JointModel:
    """The shipped model as it was before the export."""
    info = describe_checkpoint(DESIGN)
    model = JointModel(info.get_mimi("cpu"), info.get_moshi("cpu", dtype=torch.float32))
    model.hear.weight.data.copy_(unfold_tables(model))
    model.quantizing = True
    return model.eval()


@torch.no_grad()
def unfold_tables(model: JointModel) -> torch.Tensor:
    """What fold_tables folded: `hear` [lm dimension, mimi dimension], by least squares."""
    tables, heard = [], []
    for table, (codebook, projection) in zip(model.lm.emb, iterate_codebooks(model), strict=True):
        tables.append(table.weight[: len(codebook)])
        heard.append(codebook @ projection.T)
    return torch.linalg.lstsq(torch.cat(heard), torch.cat(tables), driver="gelsd").solution.T


def make_audio(frames: int = FRAMES) -> torch.Tensor:
    rng = np.random.default_rng(1)
    sound = rng.normal(0, 0.1, (1, 1, frames * FRAME_SAMPLES)).astype(np.float32)
    sound[..., : 5 * FRAME_SAMPLES] = 0
    return torch.from_numpy(sound)


@torch.no_grad()
def stream(checkpoint: Path, audio: torch.Tensor) -> tuple[list[int], torch.Tensor]:
    """Text ids and head probabilities [heads, frames] of moshi's own streaming loop."""
    info = describe_checkpoint(checkpoint)
    mimi, lm = info.get_mimi("cpu"), info.get_moshi("cpu", dtype=torch.float32)
    generator = LMGen(lm, use_sampling=False, temp=0, temp_text=0, support_out_of_sync=True)
    ids: list[int] = []
    heads: list[torch.Tensor] = []
    with mimi.streaming(1), generator.streaming(1):
        for frame in audio.split(FRAME_SAMPLES, dim=-1):
            text, probabilities = generator.step_with_extra_heads(mimi.encode(frame))
            ids.append(int(text[0, 0, 0]))
            heads.append(torch.stack([head[0, 0, 0] for head in probabilities]))
    return ids, torch.stack(heads, dim=1)


@torch.no_grad()
def assert_streams_alike(model: JointModel, checkpoint: Path) -> None:
    audio = make_audio()
    ids, heads = stream(checkpoint, audio)
    history = torch.tensor([[model.lm.text_initial_token_id, *ids[:-1]]])
    prediction = model(model.tell_spectrum(audio), history)
    assert prediction.text_logits[0].argmax(dim=-1).tolist() == ids
    ours = prediction.pause_logits.softmax(dim=-1)[0, :, :, 0]
    torch.testing.assert_close(ours, heads, atol=1e-4, rtol=0)


def test_the_joint_model_predicts_what_moshi_streams(trained: JointModel) -> None:
    assert_streams_alike(trained, DESIGN)


def test_a_new_model_streams_after_export_as_it_did_in_training(tmp_path: Path) -> None:
    model = build_model(DESIGN, seed=3)
    with torch.no_grad():
        latents = model.encode(model.tell_spectrum(make_audio(300)))
    model.start_quantizing(latents.transpose(0, 1).flatten(1))
    export_checkpoint(model.eval(), DESIGN, tmp_path)
    assert_streams_alike(model, tmp_path)


def test_an_exported_checkpoint_is_small(tmp_path: Path, trained: JointModel) -> None:
    export_checkpoint(trained, DESIGN, tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 12e6


def test_the_encoder_hears_the_first_sound_with_a_new_model() -> None:
    model = build_model(DESIGN, seed=3)
    with torch.no_grad():
        latent = model.encode(model.tell_spectrum(make_audio()))[0]
    assert 0.05 < latent[:, 10:].std() < 50


def test_gradients_reach_every_part_that_is_trained() -> None:
    model = build_model(DESIGN, seed=3)
    model.train()
    history = torch.zeros(1, FRAMES, dtype=torch.int64)
    prediction = model(model.tell_spectrum(make_audio()), history)
    outputs = (prediction.text_logits, prediction.pause_logits, prediction.state_logits)
    sum(output.square().mean() for output in outputs).backward()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    trained = model.get_parameters(with_convolutions=True)
    assert [names[id(one)] for one in trained if one.grad is None] == []
    assert not any("decoder" in names[id(one)] for one in trained)
    behind = {names[id(one)] for one in model.get_parameters(with_convolutions=False)}
    convolutions = {names[id(one)] for one in trained} - behind
    assert convolutions == {name for name in names.values() if name.startswith("mimi.encoder.")}


def test_every_digit_is_one_piece() -> None:
    ids = read_text_ids(DESIGN)
    assert list(ids.pieces) == list(DIGITS)
    assert len(set(ids.pieces.values())) == len(DIGITS)
    assert not {ids.padding, ids.end_of_padding, 0} & set(ids.pieces.values())
