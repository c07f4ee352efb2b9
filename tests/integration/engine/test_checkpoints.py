"""What is taken from a checkpoint: everything, and from nowhere else."""

import asyncio
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import torch
from safetensors.torch import load_file, save_file

from stt_service.config import DIGITS_CHECKPOINT
from stt_service.engine.engine import Engine
from stt_service.engine.errors import InvalidOptions, UnsuitableCheckpoint
from stt_service.engine.events import Final
from stt_service.engine.model import StepPlan
from stt_service.engine.options import SessionOptions
from stt_service.engine.pauses import VadOptions
from stt_service.engine.step.checkpoint import find_checkpoint, read_pieces
from stt_service.engine.step.device import choose_device, choose_dtype
from stt_service.engine.step.moshi_model import MoshiModel


def copy_checkpoint(directory: Path, **changes) -> Path:
    """The embedded checkpoint with another config; None removes a key."""
    shutil.copytree(DIGITS_CHECKPOINT, directory)
    config = json.loads((directory / "config.json").read_text()) | changes
    config = {key: value for key, value in config.items() if value is not None}
    (directory / "config.json").write_text(json.dumps(config))
    return directory


def drop_vad_heads(directory: Path) -> None:
    weights = load_file(directory / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("extra_heads")}
    assert len(kept) < len(weights)
    save_file(kept, directory / "model.safetensors")


def test_the_embedded_checkpoint_tells_everything() -> None:
    info = MoshiModel(str(DIGITS_CHECKPOINT), 2, "cpu", threads=1).info
    assert (info.sample_rate_hertz, info.frame_samples) == (24_000, 1920)
    assert (info.delay_s, info.silence_prefix_s, info.prefix_steps) == (0.5, 0.0, 0)
    assert (info.padding_id, info.end_of_padding_id) == (3, 0)
    assert info.pause_heads_s == (0.5, 1.0, 2.0, 3.0)
    assert b" seven" in info.pieces
    assert info.pieces[info.padding_id] == b""


async def test_a_model_like_the_2_6b_one_long_delay_prefix_no_vad(tmp_path) -> None:
    stt_config = {"audio_delay_seconds": 2.5, "audio_silence_prefix_seconds": 1.0}
    directory = copy_checkpoint(tmp_path / "m", stt_config=stt_config, extra_heads_num_heads=0)
    drop_vad_heads(directory)
    steps = []
    engine = Engine(lambda: MoshiModel(str(directory), 1, "cpu", threads=1), steps.append)
    await engine.start()
    assert not engine.info.has_semantic_vad
    session = await engine.open_session(SessionOptions(vad=VadOptions(pause_s=1.25)))
    await session.push_audio(np.zeros(5 * 1920, dtype="<f4").tobytes())
    session.finish()
    async with asyncio.timeout(30):
        updates = [update async for update in session]
    session.close()
    await engine.stop()
    assert isinstance(updates[-1].event, Final)
    # 1.0 s of prefix, 0.4 s of audio, 2.75 s of tail, each in whole frames.
    assert len(steps) >= 13 + 5 + 35
    assert steps[0].output.pauses.shape == (1, 0)


async def test_a_pause_that_the_model_does_not_predict_is_refused() -> None:
    engine = Engine(lambda: MoshiModel(str(DIGITS_CHECKPOINT), 1, "cpu", threads=1))
    await engine.start()
    with pytest.raises(InvalidOptions, match=r"0\.5, 1, 2, 3 s"):
        await engine.open_session(SessionOptions(vad=VadOptions(pause_s=1.25)))
    await engine.stop()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "moshi"}, "no speech-to-text checkpoint"),
        ({"stt_config": {}}, "no speech-to-text checkpoint"),
        ({"mimi_name": "elsewhere.safetensors"}, r"mimi_name is 'elsewhere\.safetensors'"),
        ({"tokenizer_name": None}, "tokenizer_name is None"),
    ],
)
def test_an_unsuitable_checkpoint_says_why(tmp_path, changes, message) -> None:
    directory = copy_checkpoint(tmp_path / "m", **changes)
    with pytest.raises(UnsuitableCheckpoint, match=message):
        find_checkpoint(str(directory))


def test_what_our_step_does_not_know_is_not_served(tmp_path) -> None:
    directory = copy_checkpoint(tmp_path / "m", delays=[0, 0, 1, 1, 1, 1, 1, 1, 1])
    with pytest.raises(UnsuitableCheckpoint, match="delays between its codebooks"):
        MoshiModel(str(directory), 1, "cpu", threads=1)


def test_a_directory_that_is_not_there_is_not_looked_for_on_the_hub() -> None:
    with pytest.raises(UnsuitableCheckpoint, match="no such directory"):
        find_checkpoint("./not/here")


def test_warm_up_leaves_no_trace() -> None:
    """After a warm-up the first session hears what it would have heard without."""
    pcm = np.random.default_rng(1).normal(0, 0.1, (12, 2, 1, 1920)).astype(np.float32)
    everyone = np.ones(2, dtype=np.bool_)

    def run(model: MoshiModel) -> np.ndarray:
        outputs = [
            model.step(StepPlan(frame, everyone, everyone if n == 0 else ~everyone))
            for n, frame in enumerate(pcm)
        ]
        return np.stack([output.pauses for output in outputs])

    cold = MoshiModel(str(DIGITS_CHECKPOINT), 2, "cpu", threads=1)
    warm = MoshiModel(str(DIGITS_CHECKPOINT), 2, "cpu", threads=1)
    warm.warm_up()
    np.testing.assert_array_equal(run(cold), run(warm))


def test_the_cpu_computes_in_float32() -> None:
    assert choose_dtype(torch.device("cpu")) is torch.float32
    assert choose_device("cpu").type == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_asking_for_a_gpu_that_is_not_there_says_so() -> None:
    with pytest.raises(UnsuitableCheckpoint, match="no CUDA device"):
        choose_device("cuda")
    assert choose_device("auto").type == "cpu"


def test_byte_pieces_are_their_bytes_and_the_word_mark_is_a_space() -> None:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["hello world", "hello there"] * 20),
        model_writer=model,
        vocab_size=290,
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = read_pieces(tokenizer, text_card=400)
    assert len(pieces) == 401
    assert b"".join(pieces[text_id] for text_id in tokenizer.encode("hello été")) == (
        " hello été".encode()
    )
    assert pieces[tokenizer.unk_id()] == pieces[tokenizer.bos_id()] == pieces[400] == b""
