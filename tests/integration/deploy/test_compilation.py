"""What the real torch and moshi make of the variables that a deployment sets."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stt_service.deploy.deployment import Deployment, make_compile_settings

TIMEOUT_S = 110
LOOK = """
from moshi.utils.compile import torch_compile_lazy
import torch._inductor.config
from torch._inductor.runtime.cache_dir_utils import cache_dir, triton_cache_dir

def f(): ...

print(torch_compile_lazy(f) is not f)
print(torch._inductor.config.compile_threads)
print(cache_dir())
print(triton_cache_dir(0))
"""


def look(environment: dict[str, str]) -> list[str]:
    clean = {name: v for name, v in os.environ.items() if not name.startswith("NO_TORCH")}
    looked = subprocess.run(
        [sys.executable, "-c", LOOK],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    return looked.stdout.split()


def test_moshi_compiles_nothing_in_a_container_by_default() -> None:
    deployment = Deployment.from_environment({})
    assert look({**deployment.container_environment})[0] == "False"


@pytest.mark.parametrize("switch", ["0", ""])
def test_if_it_compiles_then_in_one_thread_and_on_the_volume(switch: str, tmp_path: Path) -> None:
    deployment = Deployment.from_environment({"NO_TORCH_COMPILE": switch})
    assert deployment.compiles
    compiles, threads, inductor, triton = look(
        {**deployment.container_environment, **make_compile_settings(str(tmp_path))}
    )
    assert (compiles, threads) == ("True", "1")
    assert Path(inductor).is_relative_to(tmp_path)
    assert Path(triton).is_relative_to(tmp_path)
