import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _need_cuda() -> None:
    if not torch.cuda.is_available():
        pytest.skip("torch finds no CUDA device")
