"""What does not fit into a GPU is refused before anything is built."""

import pytest
import torch

from stt_service.bench.shapes import make_lm, make_mimi
from stt_service.config import EngineConfig
from stt_service.deploy.deployment import Deployment
from stt_service.deploy.gpu_memory import MEMORY, check_fits
from stt_service.deploy.gpus import GPUS
from stt_service.engine.step.forward import Network
from stt_service.engine.step.linear import Storage
from stt_service.engine.step.memory import count_bytes_a_slot
from stt_service.engine.step.weights import read_lm, read_mimi
from stt_service.process.environment import InvalidSetting


@pytest.mark.parametrize(
    ("shape", "model"), [("1b", "kyutai/stt-1b-en_fr"), ("2.6b", "kyutai/stt-2.6b-en")]
)
def test_the_table_is_what_the_step_allocates(shape: str, model: str) -> None:
    with torch.inference_mode():
        lm, mimi = make_lm(shape, "meta"), make_mimi("meta")
        tensors = [*lm.parameters(), *mimi.parameters(), *mimi.buffers()]
        weights = sum(tensor.nbytes for tensor in tensors)
        network = Network(
            read_mimi(mimi, Storage.PLAIN), read_lm(lm, torch.bfloat16, Storage.PLAIN)
        )
    known = MEMORY[EngineConfig(model).checkpoint]
    assert count_bytes_a_slot(network, torch.device("cuda")) == known.slot
    assert weights == pytest.approx(known.weights, rel=0.01)


def test_a_deployment_that_does_not_fit_says_what_does() -> None:
    settings = {"KYUTAI_GPU": "T4", "MODEL_NAME": "kyutai/stt-2.6b-en", "BATCH_SIZE": "1024"}
    with pytest.raises(InvalidSetting, match=r"needs 165 GiB .* KYUTAI_GPU T4 has 14: at most \d+"):
        Deployment.from_environment(settings)
    Deployment.from_environment({**settings, "BATCH_SIZE": "8"})
    Deployment.from_environment({**settings, "MODEL_NAME": "digits"})
    Deployment.from_environment({**settings, "MODEL_NAME": "somebody/elses"})


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("model", [*MEMORY, "kyutai/stt-1b-en_fr"])
def test_the_most_that_is_named_fits_and_one_more_does_not(gpu: str, model: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        check_fits(model, 100_000, gpu)
    most = int(str(refused.value).rpartition(" ")[2])
    assert most >= 50
    check_fits(model, most, gpu)
    with pytest.raises(InvalidSetting, match=f"at most {most}$"):
        check_fits(model, most + 1, gpu)
