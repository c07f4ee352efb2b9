"""How a model is loaded: what that takes, and who waits for it."""

import asyncio
import threading

import pytest
import torch

from stt_service.config import DIGITS_CHECKPOINT
from stt_service.engine.engine import STOP_TIMEOUT_S, Engine
from stt_service.engine.errors import EngineDied
from stt_service.engine.model import BatchedModel
from stt_service.engine.step.checkpoint import find_checkpoint
from stt_service.engine.step.no_init import NoInit


async def test_nobody_who_stops_waits_for_a_model_that_still_loads() -> None:
    is_loading, is_stopped = threading.Event(), threading.Event()

    def load() -> BatchedModel:
        is_loading.set()
        is_stopped.wait()
        raise RuntimeError("stopped")

    engine = Engine(load)
    starting = asyncio.create_task(engine.start())
    try:
        await asyncio.to_thread(is_loading.wait)
        async with asyncio.timeout(STOP_TIMEOUT_S / 2):
            await engine.stop()
    finally:
        is_stopped.set()
    with pytest.raises(EngineDied) as caught:
        await starting
    assert "stopped" in caught.value.reason


def test_without_first_values_every_weight_is_still_the_checkpoints() -> None:
    checkpoint = find_checkpoint(str(DIGITS_CHECKPOINT))
    usual = checkpoint.get_moshi("cpu", torch.float32).state_dict()
    with NoInit():
        ours = checkpoint.get_moshi("cpu", torch.float32).state_dict()
    assert ours.keys() == usual.keys()
    for name, weight in ours.items():
        assert torch.equal(weight, usual[name]), name
        assert weight.requires_grad == usual[name].requires_grad, name


def test_only_tensors_without_data_are_left_as_they_are() -> None:
    weight = torch.zeros(4)
    with NoInit():
        torch.nn.init.ones_(weight)
        weight.add_(1)
        torch.nn.init.constant_(empty := torch.zeros(4, device="meta"), 3.0)
    assert weight.tolist() == [2, 2, 2, 2]
    assert empty.is_meta
