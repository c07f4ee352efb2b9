import subprocess
import sys

from stt_service.digits.__main__ import make_parser


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
    assert arguments.digits_first_steps > 0
