import subprocess
import sys

import pytest

from stt_service.digits.__main__ import main, make_parser
from stt_service.digits.training.plan import LEFT_OUT_STEPS


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


def test_runs_without_a_speaker_end_with_the_digits() -> None:
    arguments = make_parser().parse_args(["leave-out", "--work", "out"])
    assert (arguments.all_words_steps, arguments.noise_steps) == (0, 0)
    assert arguments.digits_first_steps == LEFT_OUT_STEPS


def test_what_cannot_be_done_is_said_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["digits", "train", "--work", "nowhere", "--workers", "3"])
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    assert "--workers 3 does not divide 16 windows" in capsys.readouterr().err
