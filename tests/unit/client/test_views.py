"""What the commands print."""

import io

import pytest
from rich.console import Console

from client.demo import view as demo_view
from client.demo.view import GRPC, WEBSOCKET, Comparison, Heard
from client.recordings import load_recordings
from client.transcribe import view as transcribe_view
from client.transcribe.view import draw_meter


def make_console(terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100, color_system=None)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("level_dbfs", "cells"), [(-90.0, 0), (-60.0, 0), (-30.0, 10), (0.0, 20), (3.0, 20)]
)
def test_the_meter_is_full_at_full_scale(level_dbfs: float, cells: int) -> None:
    meter = draw_meter(level_dbfs)

    assert len(meter) == 20
    assert meter.count("█") == cells


def test_plain_text_has_a_line_for_each_utterance_and_states_apart() -> None:
    console, states = make_console(), make_console()
    view = transcribe_view.PlainView(console, states)
    view.show_state("listening")
    view.show_state("listening")
    for text in (" zero", " one"):
        view.add_text(text, 0.7)
    view.end_line()
    view.end_line()
    view.add_text(" two [b]", 0.7)
    view.close()

    assert printed(console) == "zero one\ntwo [b]\n"
    assert printed(states) == "[listening]\n"


def test_the_live_screen_leaves_the_transcript_behind() -> None:
    console = make_console(terminal=True)
    view = transcribe_view.LiveView(console, lambda: -20.0)
    view.show_state("listening")
    view.add_text(" zero", 0.71)
    shown = printed(console)
    view.end_line()
    view.add_text(" one", 0.7)
    view.close()

    assert "zero" in shown
    assert "0.71 s behind" in shown
    assert "-20 dB" in shown
    assert "listening" in shown
    # A finished line is not shown a second time as the running one.
    assert "zero\nzero" not in printed(console)
    assert "one\none" not in printed(console)


def make_comparison(over_websocket: str) -> Comparison:
    recording = load_recordings()[0]
    by_protocol = {
        GRPC: Heard([(" zero", 0.7)], f" {recording.text}"),
        WEBSOCKET: Heard([(" zero", 0.8)], over_websocket),
    }
    return Comparison(recording, by_protocol)


def test_a_comparison_knows_agreement_and_errors() -> None:
    text = load_recordings()[0].text

    assert make_comparison(f" {text}").agree
    different = make_comparison(" zero one one")
    assert not different.agree
    assert different.error_rate(GRPC) == 0.0
    assert different.error_rate(WEBSOCKET) == 0.5


@pytest.mark.parametrize("terminal", [False, True])
def test_the_demo_shows_tokens_latencies_and_rates(terminal: bool) -> None:
    console = make_console(terminal)
    view = demo_view.make_view(console, plain=False)
    comparison = make_comparison(" zero one one")
    view.begin(comparison, "Recording 1 of 1")
    view.show_token(GRPC, " zero", 1.0, 0.7)
    view.end(comparison)
    shown = printed(console)

    assert isinstance(view, demo_view.LiveView if terminal else demo_view.PlainView)
    for part in ("Recording 1 of 1", "zero", "0.7", "gRPC", "WebSocket", "50.0%"):
        assert part in shown
    assert comparison.recording.text in shown


def test_a_terminal_that_cannot_draw_over_lines_gets_plain_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert isinstance(make_transcript_view(), transcribe_view.LiveView)
    assert isinstance(demo_view.make_view(Console(), False), demo_view.LiveView)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(make_transcript_view(), transcribe_view.PlainView)
    assert isinstance(demo_view.make_view(Console(), False), demo_view.PlainView)


def make_transcript_view() -> transcribe_view.TranscriptView:
    view = transcribe_view.make_view(lambda: -20.0, plain=False, text_to_stdout=True)
    view.close()
    return view
