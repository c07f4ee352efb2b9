"""What only a GPU can show: the dtype, the CUDA graphs, and that both leave the words alone.

Run with `uv run pytest -m gpu` on a machine with a GPU.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from moshi.models import LMGen
from torch.profiler import ProfilerActivity, profile

from stt_service.config import DIGITS_CHECKPOINT
from stt_service.engine.model import StepPlan
from stt_service.engine.step.checkpoint import find_checkpoint
from stt_service.engine.step.device import choose_dtype
from stt_service.engine.step.graphs import choose_sizes
from stt_service.engine.step.memory import count_free_bytes
from stt_service.engine.step.moshi_model import MoshiModel
from tests.support import Recording

pytestmark = pytest.mark.gpu

DEVICE = "cuda"
SLOTS = 8
FRAME_SAMPLES = 1920
STAGGER_STEPS = 3
TAIL_FRAMES = 10
FIRST_CAPABILITY_WITH_BFLOAT16 = (8, 0)
STATE = "position", "token", "windows", "mimi_kv", "lm_kv"
# One for each of them.
MOST_LAUNCHES_A_RESET = len(STATE)

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


def test_slots_out_of_step_write_what_each_writes_alone(
    model: MoshiModel, recordings: tuple[Recording, ...]
) -> None:
    """Alone a slot is stepped by a smaller graph, which rounds differently; no word may move."""
    streams = {slot: cut(recordings[slot]) for slot in range(SLOTS)}
    together = run(model, streams, STAGGER_STEPS)
    for slot, frames in streams.items():
        alone = run(model, {slot: frames}, 0)[slot]
        assert spell(model, together[slot]) == spell(model, alone)


def test_whoever_else_is_in_the_batch_the_same_graph_says_the_same(
    model: MoshiModel, recordings: tuple[Recording, ...]
) -> None:
    """Exactly: slot 7 is stepped by the graph of all slots, alone or not."""
    streams = {slot: cut(recordings[slot]) for slot in range(SLOTS)}
    last = SLOTS - 1
    together = run(model, streams, 0)
    assert together[last] == run(model, {last: streams[last]}, 0)[last]


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
    assert model.network.lm.transformer.dtype is model.state.lm_kv.dtype is expected
    # Codes are decided by distances.
    assert model.network.mimi.transformer.dtype is model.state.mimi_kv.dtype is torch.float32


def test_all_graphs_are_captured_at_warm_up_and_read_one_state(
    model: MoshiModel, recordings: tuple[Recording, ...]
) -> None:
    """A capture while sessions run would hold all of them up."""
    internals: Any = model
    graphs = dict(internals._runner._graphs)
    assert list(graphs) == choose_sizes(SLOTS)[::-1]
    tensors = [getattr(model.state, name) for name in STATE]
    addresses = [tensor.data_ptr() for tensor in tensors]

    run(model, {slot: cut(recordings[slot])[:20] for slot in range(SLOTS)}, STAGGER_STEPS)

    assert internals._runner._graphs == graphs
    assert [getattr(model.state, name).data_ptr() for name in STATE] == addresses


def test_a_step_is_one_graph_with_a_copy_before_and_after(
    model: MoshiModel, recordings: tuple[Recording, ...]
) -> None:
    frames = cut(recordings[0])[:3]
    run(model, {0: frames}, 0)
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
        run(model, {0: frames[:1], 1: frames[:1]}, 0)
    calls = [event.name for event in profiled.events()]
    assert sum("cudaGraphLaunch" in name for name in calls) == 1
    assert sum("cudaLaunchKernel" in name for name in calls) <= 2 * MOST_LAUNCHES_A_RESET


@pytest.mark.parametrize("where", ["windows", "mimi_kv", "lm_kv"])
def test_what_is_not_finite_stays_in_its_slot_and_ends_with_its_session(
    model: MoshiModel, recordings: tuple[Recording, ...], where: str
) -> None:
    streams = {slot: cut(recordings[slot]) for slot in range(3)}
    expected = run(model, streams, 0)
    run(model, {slot: frames[:2] for slot, frames in streams.items()}, 0)
    tensor = getattr(model.state, where)
    with torch.inference_mode():
        (tensor[1] if where == "windows" else tensor[:, :, 1]).fill_(torch.nan)
    again = run(model, streams, 0)
    assert {slot: spell(model, ids) for slot, ids in again.items()} == {
        slot: spell(model, ids) for slot, ids in expected.items()
    }


def test_memory_is_counted_before_it_is_asked_for() -> None:
    free, _ = torch.cuda.mem_get_info()
    counted = count_free_bytes(torch.device(DEVICE))
    assert counted == pytest.approx(free, rel=0.05)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one CUDA device")
def test_a_second_device_captures_on_itself(recordings: tuple[Recording, ...]) -> None:
    second = MoshiModel(str(DIGITS_CHECKPOINT), SLOTS, "cuda:1")
    second.warm_up()
    assert second.state.lm_kv.device.index == 1
    text = spell(second, run(second, {0: cut(recordings[0])}, 0)[0])
    assert text.split() == recordings[0].text.split()
