"""Options that are wrong are one sentence, and the ones that are right are what they say."""

import argparse
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stt_service import __version__
from stt_service.process.arguments import Parser, number_up_to, seconds, whole_number


@given(number=st.integers(1, 1024))
def test_whole_numbers(number: int):
    assert whole_number(1024)(str(number)) == number


@given(number=st.floats(0, 1e300))
def test_seconds(number: float):
    assert seconds(repr(number)) == number


@pytest.mark.parametrize("read", [whole_number(1024), seconds, number_up_to(64)])
@pytest.mark.parametrize(
    "text",
    ["", " ", "-1", "+1", "nan", "inf", "-inf", "1e999", "1_0", "\uff18", "0x8", "8s", "\udcff"],
)
def test_what_is_no_number_is_refused(read, text: str):
    with pytest.raises(argparse.ArgumentTypeError, match="is not a"):
        read(text)


@pytest.mark.parametrize("text", ["0", "1025", "1e3", "8.0", "9" * 5000])
def test_what_is_out_of_range_is_refused(text: str):
    with pytest.raises(argparse.ArgumentTypeError, match="from 1 to 1024"):
        whole_number(1024)(text)


@pytest.mark.parametrize("arguments", [["--loud"], ["--volume"], ["--vol", "3"], ["x"], ["-v3"]])
def test_a_wrong_command_line_is_one_line_and_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
):
    parser = Parser("stt-try", "Tries.", "")
    parser.add_argument("--volume", type=whole_number(11))
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(arguments)
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("stt-try: ")
    assert captured.err.endswith("see stt-try --help\n")
    assert len(captured.err.splitlines()) == 1


PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"
SCRIPTS: dict[str, str] = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]["scripts"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_command_says_its_version(name: str):
    module, function = SCRIPTS[name].split(":")
    program = f"import sys; from {module} import {function}; sys.exit({function}())"
    done = subprocess.run(
        [sys.executable, "-c", program, "--version"], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout) == (0, f"{name} {__version__}\n"), done.stderr
