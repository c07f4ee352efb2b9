"""What only a GPU can show: the dtype, the CUDA graphs, and that both leave the tokens alone.

Run with `uv run pytest -m gpu` on a machine with a GPU.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from moshi.models import LMGen

from stt_service.config import DIGITS_CHECKPOINT
from stt_service.engine.model import StepPlan
from stt_service.engine.step.checkpoint import find_checkpoint
from stt_service.engine.step.device import choose_dtype
from stt_service.engine.step.moshi_model import MoshiModel
from tests.support import Recording

pytestmark = pytest.mark.gpu

DEVICE = "cuda"
SLOTS = 8
FRAME_SAMPLES = 1920
STAGGER_STEPS = 3
TAIL_FRAMES = 10
FIRST_CAPABILITY_WITH_BFLOAT16 = (8, 0)

Frames = list[npt.NDArray[np.float32]]  # each [FRAME_SAMPLES]


@pytest.fixture(scope="module")
def model() -> MoshiModel:
    loaded = MoshiModel(str(DIGITS_CHECKPOINT), SLOTS, DEVICE)
    loaded.warm_up()
    return loaded


def cut(recording: Recording) -> Frames:
    """Whole frames, and silence for as long as the text runs behind the audio."""
    samples = recording.samples()
    frames = len(samples) // FRAME_SAMPLES
    cut = list(samples[: frames * FRAME_SAMPLES].reshape(frames, FRAME_SAMPLES))
    return cut + [np.zeros(FRAME_SAMPLES, dtype=np.float32)] * TAIL_FRAMES


def run(model: MoshiModel, streams: dict[int, Frames], stagger_steps: int) -> dict[int, list[int]]:
    """Feed each slot its stream, one slot starting some steps after another; their text ids."""
    text_ids: dict[int, list[int]] = {slot: [] for slot in streams}
    starts = {slot: number * stagger_steps for number, slot in enumerate(streams)}
    step = 0
    while any(step < starts[slot] + len(frames) for slot, frames in streams.items()):
        plan = StepPlan(
            pcm=np.zeros((SLOTS, 1, FRAME_SAMPLES), dtype=np.float32),
            active=np.zeros(SLOTS, dtype=np.bool_),
            reset=np.zeros(SLOTS, dtype=np.bool_),
        )
        for slot, frames in streams.items():
            position = step - starts[slot]
            if 0 <= position < len(frames):
                plan.pcm[slot, 0] = frames[position]
                plan.active[slot] = True
                plan.reset[slot] = position == 0
        output = model.step(plan)
        for slot in np.flatnonzero(plan.active):
            text_ids[int(slot)].append(int(output.text_ids[slot]))
        step += 1
    return text_ids


def run_plain_loop(streams: list[Frames]) -> list[list[int]]:
    """`mimi.encode` and `LMGen.step` at batch 1, as in moshi's own scripts."""
    checkpoint = find_checkpoint(str(DIGITS_CHECKPOINT))
    device = torch.device(DEVICE)
    mimi = checkpoint.get_mimi(device)
    lm = checkpoint.get_moshi(device, dtype=choose_dtype(device))
    lm_gen = LMGen(lm, use_sampling=False, temp=0, temp_text=0)
    mimi.streaming_forever(1)
    lm_gen.streaming_forever(1)
    text_ids: list[list[int]] = []
    with torch.no_grad():
        for frames in streams:
            mimi.reset_streaming()
            lm_gen.reset_streaming()
            text_ids.append([])
            for frame in frames:
                codes = mimi.encode(torch.from_numpy(frame).view(1, 1, -1).to(device))
                tokens = lm_gen.step(codes)
                assert tokens is not None
                text_ids[-1].append(int(tokens[0, 0, 0]))
    return text_ids


def test_slots_out_of_step_say_what_each_says_alone(
    model: MoshiModel, recordings: tuple[Recording, ...]
) -> None:
    """Exactly: the same kernels run at the same batch size, whoever else is in the batch."""
    streams = {slot: cut(recordings[slot]) for slot in range(SLOTS)}
    together = run(model, streams, STAGGER_STEPS)
    for slot, frames in streams.items():
        assert together[slot] == run(model, {slot: frames}, 0)[slot]


def test_slots_write_the_words_of_a_plain_loop(
    model: MoshiModel, recordings: tuple[Recording, ...]
) -> None:
    """At batch 1 other kernels round differently, so a step may move; no word may."""
    streams = {slot: cut(recordings[slot]) for slot in range(SLOTS)}
    together = run(model, streams, STAGGER_STEPS)
    plain = run_plain_loop(list(streams.values()))
    for slot in streams:
        assert spell(model, together[slot]) == spell(model, plain[slot])
        assert spell(model, together[slot]).split() == recordings[slot].text.split()


def spell(model: MoshiModel, text_ids: list[int]) -> str:
    return b"".join(model.info.pieces[text_id] for text_id in text_ids).decode()


def test_the_dtype_is_one_that_the_gpu_computes_in(model: MoshiModel) -> None:
    has_bfloat16 = torch.cuda.get_device_capability() >= FIRST_CAPABILITY_WITH_BFLOAT16
    expected = torch.bfloat16 if has_bfloat16 else torch.float16
    internals: Any = model
    assert next(internals._lm_gen.lm_model.parameters()).dtype is expected


def test_all_graphs_are_captured_at_warm_up(
    model: MoshiModel, recordings: tuple[Recording, ...]
) -> None:
    """A capture while sessions run would hold all of them up."""
    captured = find_graphs(model)
    assert all(graph is not None for graph in captured.values()), captured

    run(model, {slot: cut(recordings[slot])[:20] for slot in range(SLOTS)}, STAGGER_STEPS)

    assert find_graphs(model) == captured


def find_graphs(model: MoshiModel) -> dict[str, Any]:
    """moshi's CUDA graphs on the way of a step; None where none was captured."""
    internals: Any = model
    mimi, lm_gen = internals._mimi._streaming_state, internals._lm_gen._streaming_state
    graphed = {
        "encoder": mimi.graphed_encoder,
        "encoder transformer": mimi.graphed_tr_enc,
        "main transformer": lm_gen.graphed_main,
        "mimi's mask": mimi._set_exec_mask_graphed,
        "the model's mask": lm_gen._set_exec_mask_graphed,
    }
    return {name: function and function._graph for name, function in graphed.items()}
