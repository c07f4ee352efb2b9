"""Our forward step says what stock moshi says, whoever else is in the batch."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from stt_service.config import DIGITS_CHECKPOINT, EngineConfig
from stt_service.engine.errors import NotEnoughMemory
from stt_service.engine.model import StepOutput, StepPlan
from stt_service.engine.step.forward import Network, Reach, step
from stt_service.engine.step.graphs import choose_sizes
from stt_service.engine.step.memory import check_memory, count_bytes_a_slot, count_free_bytes
from stt_service.engine.step.moshi_model import MoshiModel
from stt_service.process.environment import InvalidSetting
from tests.integration.engine.stock import NEAR_TIE, Frame, StockLoop
from tests.support import load_recordings

SLOTS = 24
FRAME_SAMPLES = 1920
QUICK, MANY = 30, 220
SEED = 20261128
STEPS_A_CROWD = 8
# Sums in another order move a latent by 4e-6. In one of 4,579 frames that flipped a code whose
# distances were 5e-7 apart, in the fourth codebook, and the pauses moved by 4e-4; else by 1e-6.
PAUSES_AFTER_A_FLIP = 0.02
MOST_ATEN_CALLS = 900
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> MoshiModel:
    loaded = MoshiModel(str(DIGITS_CHECKPOINT), SLOTS, "cpu", threads=1)
    loaded.warm_up()
    return loaded


@pytest.fixture(scope="module")
def network(model: MoshiModel) -> Network:
    return model.network


def step_some(
    model: MoshiModel, frames: dict[int, Frame], reset: set[int], **ways: tuple[int, ...]
) -> StepOutput:
    """One step of the slots that have a frame."""
    plan = StepPlan(
        pcm=np.full((model.slots, 1, FRAME_SAMPLES), 0.1, dtype=np.float32),
        active=np.isin(np.arange(model.slots), list(frames)),
        reset=np.isin(np.arange(model.slots), list(reset)),
        **ways,
    )
    for slot, frame in frames.items():
        plan.pcm[slot, 0] = frame
    return model.step(plan)


@dataclass
class Stream:
    """One session: its frames, how often it has none ready, and what was said."""

    frames: list[Frame]
    laziness: float
    text_ids: list[int] = field(default_factory=list)
    pauses: list[Any] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        return len(self.text_ids) == len(self.frames)


def cut_streams(dice: random.Random, count: int) -> Iterator[Stream]:
    speech = [recording.samples() for recording in load_recordings()]
    for number in range(count):
        samples = dice.choice(speech)
        # Every tenth is longer than the ring of the language model, 60 frames.
        length = 80 if number % 10 == 9 else dice.randint(3, 25)
        start = dice.randrange(len(samples) // FRAME_SAMPLES)
        whole = np.resize(samples[start:], length * FRAME_SAMPLES).astype(np.float32)
        yield Stream(list(whole.reshape(length, -1)), dice.choice([0.0, 0.2, 0.6]))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", [QUICK, pytest.param(MANY, marks=pytest.mark.slow)])
def test_every_stream_says_what_stock_moshi_says_at_every_size(
    model: MoshiModel, count: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Streams come, rest and go in the lowest free slots, so that the prefix grows and shrinks."""
    dice = random.Random(SEED)
    streams = list(cut_streams(dice, count))
    waiting = list(reversed(streams))
    taken: dict[int, Stream] = {}
    sizes: set[int] = set()
    for number in itertools.count():
        if not waiting and not taken:
            break
        crowd = 1 + number // STEPS_A_CROWD % SLOTS
        while waiting and len(taken) < crowd:
            taken[min(set(range(SLOTS)) - set(taken))] = waiting.pop()
        ready = {slot: s for slot, s in taken.items() if dice.random() >= s.laziness}
        reset = {slot for slot, stream in ready.items() if not stream.text_ids}
        output = step_some(
            model, {slot: s.frames[len(s.text_ids)] for slot, s in ready.items()}, reset
        )
        sizes.add(max(ready, default=-1) + 1)
        for slot, stream in ready.items():
            stream.text_ids.append(int(output.text_ids[slot]))
            stream.pauses.append(output.pauses[slot])
            if stream.ended:
                del taken[slot]
    missed = set(range(1, SLOTS + 1)) - sizes
    assert not missed if count == MANY else len(sizes) >= 6

    stock = StockLoop()
    ties = 0
    for stream in streams:
        for text_id, pauses, said in zip(
            stream.text_ids, stream.pauses, stock.run(stream.frames), strict=True
        ):
            if text_id != said.text_id:
                assert said.margin < NEAR_TIE
                ties += 1
                break  # From here on it has read something else.
            np.testing.assert_allclose(pauses, said.pauses, atol=PAUSES_AFTER_A_FLIP)
    steps = sum(len(stream.text_ids) for stream in streams)
    with capsys.disabled():
        print(f"\n{len(streams)} streams, {steps} steps, {len(sizes)} sizes, {ties} near ties")
    assert ties <= count // 100


def speak(model: MoshiModel, slot: int, frames: list[Frame], others: dict[int, Frame]) -> Any:
    """The rows of one slot from its reset on, while others step too: [frames, 2 + heads]."""
    rows = []
    for number, frame in enumerate(frames):
        output = step_some(model, {**others, slot: frame}, {slot} if number == 0 else set())
        rows.append([output.text_ids[slot], output.probabilities[slot], *output.pauses[slot]])
    return np.array(rows)


@pytest.mark.parametrize("heard", [3, 59, 70, 130])
def test_a_slot_comes_back_to_what_it_remembered(model: MoshiModel, heard: int) -> None:
    """After silence of any length it says what it would have said without, and nobody else notices.

    The ring of the language model holds 60 frames, Mimi's 250 positions of 2 a frame.
    """
    frames = cut(np.resize(load_recordings()[1].samples(), 150 * FRAME_SAMPLES))
    silence = np.zeros(FRAME_SAMPLES, dtype=np.float32)
    others = {0: frames[5], 2: frames[6]}
    expected = speak(model, 1, frames, others)
    assert heard + 12 <= len(frames)
    speak(model, 1, frames[:heard], others)
    longest = 1 + model.info.tail_steps + model.info.extension_steps
    back: tuple[int, ...] = ()
    for steps in (longest, 1, model.info.tail_steps):
        step_some(model, {**others, 1: silence}, set(), leaving=(1,), returning=back)
        for _ in range(steps - 1):
            step_some(model, {**others, 1: silence}, set())
        # Its row is in the batch, and it has nothing to hear.
        for _ in range(70):
            step_some(model, {0: frames[5], 2: frames[6]}, set())
        back = (1,)
    rows = []
    for number, frame in enumerate(frames[heard:]):
        ways = back if number == 0 else ()
        output = step_some(model, {**others, 1: frame}, set(), returning=ways)
        rows.append([output.text_ids[1], output.probabilities[1], *output.pauses[1]])
    # As far as sums in another order can tell: the others have heard more meanwhile.
    np.testing.assert_allclose(np.array(rows), expected[heard:], atol=1e-5)


def test_of_a_ring_only_places_that_hold_something_are_kept(model: MoshiModel) -> None:
    """In its first minute a session of the 1B model costs a detour next to nothing."""
    context, ahead = model.state.lm.context, 36
    for frames, places in (0, 0), (context - ahead - 1, 0), (context - 1, ahead), (500, ahead + 1):
        kept = model.state.keep(0, frames, ahead)
        assert kept.lm_kv.shape[3] == len(kept.lm_places) == places
        assert len(set(kept.lm_places.tolist())) == places


def cut_speech(count: int) -> list[Frame]:
    return cut(load_recordings()[0].samples())[:count]


def cut(samples: Any) -> list[Frame]:
    whole = len(samples) // FRAME_SAMPLES
    return list(samples[: whole * FRAME_SAMPLES].reshape(whole, -1).astype(np.float32))


@pytest.mark.parametrize("poison", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("where", ["windows", "mimi_kv", "lm_kv"])
def test_what_is_not_finite_stays_in_its_slot_and_ends_with_its_session(
    model: MoshiModel, where: str, poison: float
) -> None:
    state = model.state
    frames = cut_speech(12)
    expected = speak(model, 1, frames, {})
    for slot in range(3):
        step_some(model, {slot: frames[0]}, {slot})
    tensor = getattr(state, where)
    with torch.inference_mode():
        (tensor[1] if where == "windows" else tensor[:, :, 1]).fill_(poison)
    broken = step_some(model, {slot: frames[1] for slot in range(3)}, set())
    assert not np.isfinite(broken.probabilities[1])
    assert np.isfinite(broken.probabilities[[0, 2]]).all()
    assert np.isfinite(broken.pauses[[0, 2]]).all()
    np.testing.assert_allclose(speak(model, 1, frames, {0: frames[2]}), expected, atol=1e-5)


def test_a_step_waits_for_nothing_and_makes_no_new_state(network: Network) -> None:
    """So that it can be captured as a CUDA graph. A fake tensor has no numbers to look at."""
    state = network.make_state(4, CPU)
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with torch.inference_mode(), fake:
        rows = fake_rows(fake, network, 4)
        pcm = torch.zeros(4, FRAME_SAMPLES)
        active = torch.ones(4, 1, dtype=torch.bool)
        output = step(network, pcm, active, rows, Reach.whole(network))
    assert output.shape == (4, network.columns)

    tensors = [
        getattr(state, name) for name in ("position", "token", "windows", "mimi_kv", "lm_kv")
    ]
    addresses = [tensor.data_ptr() for tensor in tensors]
    before = [tensor.clone() for tensor in tensors]
    with torch.inference_mode():
        some = state.rows(3)
        for _ in range(2):
            pcm = torch.rand(3, FRAME_SAMPLES) - 0.5
            step(network, pcm, torch.ones(3, 1, dtype=torch.bool), some, Reach.whole(network))
    assert addresses == [tensor.data_ptr() for tensor in tensors]
    # It moved on through its views, and only in their rows.
    assert all(not torch.equal(a, b) for a, b in zip(before, tensors, strict=True))
    assert not any(tensor[3].any() for tensor in tensors[:3])
    assert not any(tensor[:, :, 3].any() for tensor in tensors[3:])


def fake_rows(fake: FakeTensorMode, network: Network, slots: int) -> Any:
    with fake:
        return network.make_state(slots, CPU).rows(slots)


class Shapes(TorchDispatchMode):
    """Notes what is computed: the operations and the shapes of what they give."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, Any]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.seen.append((str(func), tuple(result.shape)))
        return result


def test_rows_above_the_highest_caller_cost_nothing(model: MoshiModel) -> None:
    small = MoshiModel(str(DIGITS_CHECKPOINT), 2, "cpu", threads=1)
    frame = cut_speech(1)[0]
    seen = []
    for some in (small, model):
        step_some(some, {0: frame}, {0})
        with Shapes() as shapes:
            step_some(some, {0: frame}, set())
        seen.append(shapes.seen)
    assert seen[0] == seen[1]


def test_a_step_of_one_slot_is_few_calls(model: MoshiModel) -> None:
    frame = cut_speech(1)[0]
    step_some(model, {0: frame}, {0})
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        step_some(model, {0: frame}, set())
    calls = sum(event.name.startswith("aten::") for event in profiled.events())
    assert 0 < calls <= MOST_ATEN_CALLS


def test_the_sizes_of_graphs_end_at_all_slots() -> None:
    assert choose_sizes(1) == [1]
    assert choose_sizes(8) == [1, 2, 4, 8]
    assert choose_sizes(20) == [1, 2, 4, 8, 16, 20]
    for needed in range(1, 1025):
        size = next(size for size in choose_sizes(1024) if size >= needed)
        assert size < 2 * needed or size == needed


def test_bytes_of_a_slot_are_counted_before_they_are_asked_for(network: Network) -> None:
    a_slot = count_bytes_a_slot(network, CPU)
    assert a_slot * 8 == network.make_state(8, CPU).nbytes
    check_memory(network, 8, CPU, free=9 * a_slot)
    with pytest.raises(NotEnoughMemory, match=r"batch size of 1024 needs .* GiB of memory, and "):
        check_memory(network, 1024, CPU, free=100 * a_slot)
    with pytest.raises(NotEnoughMemory, match=r"at most 95$"):
        check_memory(network, 96, CPU, free=100 * a_slot)
    with pytest.raises(NotEnoughMemory, match="not even one slot fits"):
        check_memory(network, 1, CPU, free=a_slot // 2)
    free = count_free_bytes(CPU)
    assert free is None or 2**20 < free < 2**50


@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
def test_shorter_weights_leave_the_words_alone(weights: str) -> None:
    """Of the embedded model, which is not what they are for: they read the larger models faster."""
    recordings = load_recordings()
    model = MoshiModel(str(DIGITS_CHECKPOINT), len(recordings), "cpu", 1, weights)
    tail = [np.zeros(FRAME_SAMPLES, dtype=np.float32)] * 12
    streams = [Stream([*cut(recording.samples()), *tail], 0) for recording in recordings]
    while not all(stream.ended for stream in streams):
        ready = {slot: stream for slot, stream in enumerate(streams) if not stream.ended}
        frames = {slot: stream.frames[len(stream.text_ids)] for slot, stream in ready.items()}
        reset = {slot for slot, stream in ready.items() if not stream.text_ids}
        output = step_some(model, frames, reset)
        for slot, stream in ready.items():
            stream.text_ids.append(int(output.text_ids[slot]))
    for stream, recording in zip(streams, recordings, strict=True):
        text = b"".join(model.info.pieces[text_id] for text_id in stream.text_ids).decode()
        assert text.split() == recording.text.split()


def test_with_int8_weights_nobody_hears_a_neighbour() -> None:
    """torch's own dynamic layers have one scale for all rows."""
    model = MoshiModel(str(DIGITS_CHECKPOINT), 3, "cpu", 1, "int8")
    frames = cut_speech(20)
    alone = speak(model, 1, frames, {})
    loud = {0: np.sign(frames[3]), 2: np.zeros(FRAME_SAMPLES, dtype=np.float32)}
    np.testing.assert_allclose(speak(model, 1, frames, loud), alone, atol=1e-3)


def test_weights_that_there_are_not_are_refused() -> None:
    with pytest.raises(InvalidSetting, match="auto, float32, bfloat16, int8"):
        EngineConfig(weights="int4")
