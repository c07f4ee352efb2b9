import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from digits_training.__main__ import (
    DESIGN,
    EPILOG,
    main,
    make_parser,
    make_plan,
    make_recognizer_plan,
)

CARD = DESIGN.parent / "MODEL_CARD.md"
COMMAND = re.compile(r"uv run --package digits-training(.*?)python -m digits_training\b([^`]*)")


def test_help_needs_no_torch() -> None:
    code = (
        "import sys\n"
        "from digits_training.__main__ import make_parser\n"
        "make_parser().format_help()\n"
        "print(*{'torch', 'moshi', 'scipy', 'rich', 'matplotlib'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == ""


def find_commands(text: str) -> list[str]:
    """The arguments of each printed command."""
    options, arguments = zip(
        *COMMAND.findall(" ".join(text.replace("\\\n", " ").split())), strict=True
    )
    assert {option.strip() for option in options} <= {"", "--extra voices"}
    return list(arguments)


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        (CARD.read_text(), ["all", "evaluate", "leave-out", "benchmark"]),
        (EPILOG.partition("It needs")[0], ["all"]),
    ],
)
def test_every_command_that_is_printed_is_one(text: str, commands: list[str]) -> None:
    printed = [shlex.split(arguments) for arguments in find_commands(text)]
    assert [words[0] for words in printed] == commands
    for words in printed:
        make_parser().parse_args(words)


def test_one_command_does_everything() -> None:
    arguments = make_parser().parse_args(["all", "--recordings", "in", "--work", "out"])
    assert arguments.run.__name__ == "run_all"


def test_a_speaker_is_left_out_of_the_recognizer_that_is_fine_tuned() -> None:
    parser = make_parser()
    options = ["--work", "out", "--recognizer-steps", "1000"]
    without = make_recognizer_plan(parser.parse_args(["leave-out", *options]))
    assert without.recognizer.steps == 1_000
    assert without == make_plan(parser.parse_args(["train", *options]))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("train --work {} --workers 3", "--workers 3 does not divide 16 windows"),
        ("train --work {} --seed -1", "--seed -1 is below zero"),
        ("train --work {}", "training.npz is missing; run `prepare` first"),
        ("export --work {}", "all-voices holds no trained state; run `train` first"),
        ("evaluate --work {}", "evaluation.npz is missing; run `prepare` first"),
        ("leave-out --work {}", "training.npz is missing; run `prepare` first"),
        ("prepare --work {} --recordings {}", "holds no recordings named like 7_jackson_32.wav"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line_and_leaves_nothing(
    arguments: str,
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["digits", *arguments.replace("{}", str(tmp_path)).split()])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    assert complaint in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
