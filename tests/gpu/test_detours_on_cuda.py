"""A slot that comes back remembers what it did, bit by bit, in the tensors that the graphs read."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from stt_service.config import DIGITS_CHECKPOINT
from stt_service.engine.model import StepOutput, StepPlan
from stt_service.engine.step.moshi_model import MoshiModel
from tests.support import Recording

pytestmark = pytest.mark.gpu

DEVICE = "cuda"
SLOTS = 8
# Stepped by the graph of all slots, whoever else is: no other kernels, so no other rounding.
SLOT, NEIGHBOUR = SLOTS - 1, SLOTS - 2
FRAME_SAMPLES = 1920
AFTER = 20
STATE = "position", "token", "windows", "mimi_kv", "lm_kv"
SILENCE = np.zeros(FRAME_SAMPLES, dtype=np.float32)

Frame = npt.NDArray[np.float32]  # [FRAME_SAMPLES]


@pytest.fixture(scope="module")
def model() -> MoshiModel:
    loaded = MoshiModel(str(DIGITS_CHECKPOINT), SLOTS, DEVICE)
    loaded.warm_up()
    return loaded


def step(
    model: MoshiModel, frames: dict[int, Frame], reset: bool = False, **ways: tuple[int, ...]
) -> StepOutput:
    """One step of the slots that have a frame."""
    active = np.isin(np.arange(SLOTS), list(frames))
    pcm = np.zeros((SLOTS, 1, FRAME_SAMPLES), dtype=np.float32)
    for slot, frame in frames.items():
        pcm[slot, 0] = frame
    return model.step(StepPlan(pcm, active, active & reset, **ways))


def read_row(output: StepOutput) -> list[float]:
    return [output.text_ids[SLOT], output.probabilities[SLOT], *output.pauses[SLOT]]


def read_state(model: MoshiModel, heard: int) -> list[npt.NDArray[np.float32]]:
    """What the slot remembers; of rings that are not full, the places in use."""
    state = model.state
    rows = [tensor[SLOT].float().cpu().numpy() for tensor in (state.position, state.token)]
    rows.append(state.windows[SLOT].cpu().numpy())
    for transformer, kv in (state.mimi, state.mimi_kv), (state.lm, state.lm_kv):
        places = min(heard * transformer.per_frame, transformer.context)
        rows.append(kv[:, :, SLOT, :, :places].float().cpu().numpy())
    return rows


# The embedded model's rings are full after 25 frames, Mimi's, and after 60.
@pytest.mark.parametrize("heard", [1, 3, 24, 59, 60, 70, 130])
def test_a_slot_comes_back_exactly(
    model: MoshiModel, recordings: tuple[Recording, ...], heard: int
) -> None:
    samples = np.resize(recordings[1].samples(), (heard + AFTER) * FRAME_SAMPLES)
    frames = list(samples.reshape(-1, FRAME_SAMPLES).astype(np.float32))
    expected: list[list[float]] = []
    for number, frame in enumerate(frames):
        if number == heard:
            state_before = read_state(model, heard)
        expected.append(read_row(step(model, {SLOT: frame}, reset=number == 0)))
    state_after = read_state(model, len(frames))

    addresses = [getattr(model.state, name).data_ptr() for name in STATE]
    for number, frame in enumerate(frames[:heard]):
        step(model, {SLOT: frame}, reset=number == 0)
    step(model, {NEIGHBOUR: frames[0]}, reset=True)
    longest = 1 + model.info.tail_steps + model.info.extension_steps
    back: tuple[int, ...] = ()
    for steps in (longest, 1, model.info.tail_steps):
        ways = {"leaving": (SLOT,), "returning": back}
        step(model, {SLOT: SILENCE, NEIGHBOUR: frames[0]}, **ways)
        for _ in range(steps - 1):
            step(model, {SLOT: SILENCE, NEIGHBOUR: frames[0]})
        # Its row is in the batch, and it has nothing to hear.
        for _ in range(3):
            step(model, {NEIGHBOUR: frames[0]})
        back = (SLOT,)
    with torch.inference_mode():
        _, kept = model._kept[SLOT]  # pyright: ignore[reportPrivateUsage]
        model.state.put_back(SLOT, kept)
    for found, before in zip(read_state(model, heard), state_before, strict=True):
        np.testing.assert_array_equal(found, before)
    rows: list[list[float]] = []
    for frame in frames[heard:]:
        rows.append(read_row(step(model, {SLOT: frame}, returning=back)))
        back = ()
    assert rows == expected[heard:]
    for found, after in zip(read_state(model, len(frames)), state_after, strict=True):
        np.testing.assert_array_equal(found, after)
    assert [getattr(model.state, name).data_ptr() for name in STATE] == addresses


def test_what_is_kept_takes_no_memory_of_the_device(model: MoshiModel) -> None:
    step(model, {SLOT: SILENCE}, reset=True)
    for _ in range(70):
        step(model, {SLOT: SILENCE})
    before = torch.cuda.memory_allocated()
    step(model, {SLOT: SILENCE}, leaving=(SLOT,))
    step(model, {SLOT: SILENCE}, returning=(SLOT,))
    assert torch.cuda.memory_allocated() == before
