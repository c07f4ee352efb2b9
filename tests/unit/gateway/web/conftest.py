"""The page's modules in Deno, which `poe check` type-checks them with: no browser is needed."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import deno
import pytest

Play = Callable[..., Any]


@pytest.fixture(scope="session")
def play_js(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Play]:
    """Plays what it is given by name (see play.js) and returns the answer."""
    caches = {"DENO_DIR": str(tmp_path_factory.mktemp("deno")), "DENO_NO_UPDATE_CHECK": "1"}
    command = [deno.find_deno_bin(), "run", "--no-config", "--no-prompt", "--cached-only"]
    with subprocess.Popen(
        [*command, str(Path(__file__).with_name("play.js"))],
        env={**os.environ, **caches},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        pipe_in, pipe_out = process.stdin, process.stdout

        def play(**request: Any) -> Any:
            pipe_in.write(json.dumps(request) + "\n")
            pipe_in.flush()
            return json.loads(pipe_out.readline())

        yield play
        pipe_in.close()
