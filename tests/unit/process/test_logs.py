"""One form for our own events and for what libraries log, and one event a line."""

import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stt_service.process.logs import LogFormat, configure_logging, get_logger

NAME = "tests.logs"
log = get_logger(NAME)


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """Leave the root logger as it was."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers = []
    yield
    root.handlers, root.level = before, level


def format_event(log_format: LogFormat, event: str, fields: dict[str, object]) -> str:
    """The line that is written for an event of ours."""
    seen: list[str] = []
    configure_logging(log_format)
    handler = logging.getLogger().handlers[0]
    handler.emit = lambda record: seen.append(handler.format(record))
    log.bind(session_id="s-1").info(event, **fields)
    (line,) = seen
    return line


def test_json_has_time_level_logger_event_and_fields_in_order(capsys: pytest.CaptureFixture[str]):
    configure_logging("json")
    log.bind(session_id="s-1").warning("session refused", reason="é", seconds=0.5)
    logging.getLogger("uvicorn").error("%s broke", "it")
    ours, theirs = map(json.loads, capsys.readouterr().err.splitlines())
    assert list(ours) == ["time", "level", "logger", "event", "session_id", "reason", "seconds"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", ours["time"])
    assert [*ours.values()][1:] == ["warning", NAME, "session refused", "s-1", "é", 0.5]
    assert list(theirs) == ["time", "level", "logger", "event"]
    assert [*theirs.values()][1:] == ["error", "uvicorn", "it broke"]


def test_text_has_time_level_event_and_fields_in_order(capsys: pytest.CaptureFixture[str]):
    configure_logging("text")
    log.info("session ended", outcome="final", text='a "b"', nothing="", where="é\n")
    logging.getLogger("asyncio").warning("two\nlines")
    ours, theirs = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        r'\d\d:\d\d:\d\d info session ended outcome=final text="a \\"b\\"" nothing="" '
        r'where="\\u00e9\\n"',
        ours,
    )
    assert re.fullmatch(r"\d\d:\d\d:\d\d warning two\\nlines", theirs)


@pytest.mark.parametrize("log_format", ["json", "text"])
@pytest.mark.parametrize("ours", [True, False], ids=["ours", "a library's"])
def test_an_exception_comes_with_its_traceback(
    log_format: LogFormat, ours: bool, capsys: pytest.CaptureFixture[str]
):
    configure_logging(log_format)
    try:
        raise ValueError("broken")
    except ValueError:
        (log if ours else logging.getLogger("uvicorn")).error("call failed", exc_info=True)
    line, _, rest = capsys.readouterr().err.partition("\n")
    if log_format == "json":
        assert not rest
        line, rest = json.loads(line)["event"], json.loads(line)["exception"]
    assert line.endswith("call failed")
    assert rest.startswith("Traceback (most recent call last):\n")
    assert rest.rstrip("\n").endswith("ValueError: broken")


def test_below_info_nothing_is_written(capsys: pytest.CaptureFixture[str]):
    configure_logging("json")
    log.debug("detail")
    assert capsys.readouterr().err == ""


@given(event=st.text(), value=st.text() | st.binary())
def test_nobody_writes_a_line_of_their_own(event: str, value: str | bytes):
    line = format_event("text", event, {"value": value})
    assert line.isprintable()
    line = format_event("json", event, {"value": value})
    assert "\n" not in line and "\r" not in line
    read = json.loads(line)
    assert (read["event"], read["value"]) == (
        event,
        value if isinstance(value, str) else str(value),
    )


@pytest.mark.parametrize("program", ["stt_service", "gateway", "client.demo"])
def test_a_program_that_logs_nothing_does_not_load_it(program: str):
    code = (
        "import os, runpy, sys\n"
        "def leave(code):\n    print('structlog' in sys.modules)\n    sys.exit(code)\n"
        "os._exit = leave\n"
        f"sys.argv[1:] = ['--help']; runpy.run_module({program!r}, run_name='__main__')"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "False", told
