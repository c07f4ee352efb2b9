"""How a command begins and ends, as small programs of their own."""

import os
import signal
import subprocess
import sys

import pytest

FRAME = """
import signal, sys, threading, time
from stt_service.process.program import announce, interruptible, leave, run_program, say, show

def main():
{body}

run_program("stt-try", main, signals=(signal.SIGINT, signal.SIGTERM), signalled=7, extra="client")
"""


def run(body: str, **how) -> subprocess.CompletedProcess[str]:
    program = FRAME.format(body="\n".join(f"    {line}" for line in body.splitlines()))
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
    return subprocess.run(
        [sys.executable, "-c", program], text=True, errors="replace", timeout=30, **streams
    )


@pytest.mark.parametrize(
    ("body", "exit_code", "says"),
    [
        ("return 3", 3, ""),
        ("sys.exit(4)", 4, ""),
        ("sys.exit()", 0, ""),
        ("raise BrokenPipeError", 1, ""),
        (
            "import nothing_of_this_name",
            1,
            "stt-try: nothing_of_this_name is not installed; in a clone: pip install '.[client]'\n",
        ),
        ("raise KeyError('a bug')", 1, "KeyError: 'a bug'"),
        ("say('stt-try', 'it is so'); return 0", 0, "stt-try: it is so\n"),
    ],
)
def test_what_main_does_is_the_exit_code(body: str, exit_code: int, says: str):
    done = run(body)
    assert done.returncode == exit_code
    assert says in done.stderr


def test_a_thread_that_goes_on_does_not_hold_the_end_up():
    body = "threading.Thread(target=time.sleep, args=(60,)).start()\nprint('done')\nreturn 0"
    done = run(body)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_quietly(number: signal.Signals):
    done = run(f"signal.raise_signal({int(number)})\nreturn 0")
    assert (done.returncode, done.stderr) == (7, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_inside_interruptible_it_is_an_exception(number: signal.Signals):
    body = f"""
try:
    with interruptible((signal.SIGINT, signal.SIGTERM)):
        signal.raise_signal({int(number)})
except KeyboardInterrupt:
    return 8
"""
    assert run(body).returncode == 8


@pytest.mark.parametrize("text", ["\\u2026", "\\udcff"])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_character_that_cannot_be_written_is_escaped(encoding: str, text: str):
    body = f"print('{text}')\nshow('{text}')\nreturn 0"
    done = run(body, env={**os.environ, "PYTHONIOENCODING": encoding})
    assert done.returncode == 0
    assert done.stderr.strip() in (text, "…")


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_closed_stream_is_not_the_next_file(number: int, tmp_path):
    path = tmp_path / "next"
    body = f"""
with open({str(path)!r}, "w") as opened:
    assert opened.fileno() > 2
print("printed"); show("shown"); announce("ready")
return 0
"""
    program = FRAME.format(body="\n".join(f"    {line}" for line in body.splitlines()))
    command = f'exec "$0" -c "$1" {number}>&-'
    done = subprocess.run(["sh", "-c", command, sys.executable, program], capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert path.read_text() == ""


class TestAnOutputThatIsGone:
    @pytest.mark.parametrize("how", ["announce('ready')", "print('lost')"])
    def test_nobody_reads(self, how: str):
        reader, writer = os.pipe()
        os.close(reader)
        done = run(f"{how}\nreturn 0", stdout=writer)
        os.close(writer)
        assert done.stderr == ""
        assert done.returncode == (0 if "announce" in how else 1)

    @pytest.mark.parametrize("how", ["announce('ready')", "print('lost')"])
    def test_the_disk_is_full(self, how: str):
        with open("/dev/full", "w") as full:
            done = run(f"{how}\nreturn 0", stdout=full)
        if "announce" in how:
            assert (done.returncode, done.stderr) == (0, "")
        else:
            assert done.returncode == 1
            assert done.stderr.startswith("stt-try: cannot write what there is to say: No space")
            assert len(done.stderr.splitlines()) == 1

    def test_what_is_said_is_lost_and_nothing_else(self):
        with open("/dev/full", "w") as full:
            done = run("show('lost')\nsay('stt-try', 'lost')\nreturn 5", stderr=full)
        assert done.returncode == 5
