import subprocess
import sys
from pathlib import Path

import pytest

from stt_service.digits.__main__ import main, make_parser, make_plan, make_recognizer_plan


def test_help_needs_no_torch() -> None:
    code = (
        "import sys\n"
        "from stt_service.digits.__main__ import make_parser\n"
        "make_parser().format_help()\n"
        "print(*{'torch', 'moshi', 'scipy', 'rich', 'matplotlib'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == ""


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
        ("export --work {}", "fine-tuned holds no trained state; run `train` first"),
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
