"""Subtitles against independent parsers."""

import json
from datetime import timedelta
from itertools import pairwise

import pytest
import srt
import webvtt
from hypothesis import assume, given
from hypothesis import strategies as st

from client.rpc.events import Final, Word
from client.transcribe.documents import Document
from client.transcribe.subtitles import (
    MAX_CUE_S,
    MIN_CUE_S,
    PAUSE_S,
    make_cues,
    to_srt,
    to_vtt,
)

TEXTS = st.text(st.characters(categories=["L", "N"], include_characters="&<>'-"), min_size=1)


@st.composite
def spoken_words(draw: st.DrawFn) -> list[Word]:
    words: list[Word] = []
    now_s = draw(st.floats(0.0, 4_000.0))
    for _ in range(draw(st.integers(0, 40))):
        length_s = draw(st.floats(0.05, 1.0))
        words.append(Word(draw(TEXTS), now_s, now_s + length_s, 0.9))
        now_s += length_s + draw(st.sampled_from([0.0, 0.2, 0.5, 2.0]))
    return words


def say(text: str, start_s: float = 0.0, gap_s: float = 0.1) -> list[Word]:
    """Words of 0.3 s each."""
    starts = [start_s + (0.3 + gap_s) * i for i in range(len(text.split()))]
    return [Word(t, s, s + 0.3, 0.9) for t, s in zip(text.split(), starts, strict=True)]


@given(spoken_words())
def test_cues_hold_every_word_in_at_most_two_short_lines(words: list[Word]) -> None:
    cues = make_cues(words)

    assert all(1 <= len(cue.lines) <= 2 for cue in cues if len(cue.lines[0]) < 42)
    assert all(len(line) <= 42 for cue in cues for line in cue.lines)
    shown = "".join("".join(cue.lines) for cue in cues).replace(" ", "")
    assert shown == "".join(word.text for word in words)
    for before, after in pairwise(cues):
        assert before.end_s <= after.start_s + 1e-9


@given(spoken_words())
def test_srt_and_vtt_say_the_same_to_independent_parsers(words: list[Word]) -> None:
    cues = make_cues(words)
    parsed = list(srt.parse(to_srt(cues)))
    vtt = list(webvtt.from_string(to_vtt(cues)))

    assert [cue.index for cue in parsed] == list(range(1, len(cues) + 1))
    assert len(vtt) == len(cues)
    for cue, srt_cue, vtt_cue in zip(cues, parsed, vtt, strict=True):
        assert srt_cue.content == "\n".join(cue.lines)
        assert srt_cue.start / timedelta(seconds=1) == pytest.approx(cue.start_s, abs=6e-4)
        assert srt_cue.end / timedelta(seconds=1) == pytest.approx(cue.end_s, abs=6e-4)
        assert vtt_cue.start_in_seconds == int(cue.start_s + 5e-4)
        assert vtt_cue.start.replace(".", ",") == srt.timedelta_to_srt_timestamp(srt_cue.start)


def test_a_silence_ends_a_cue() -> None:
    words = [*say("one two"), *say("three four", start_s=0.7 + PAUSE_S)]

    assert [cue.lines for cue in make_cues(words)] == [("one two",), ("three four",)]


def test_a_pause_of_the_model_ends_a_cue() -> None:
    words = say("one two three four", gap_s=0.3)

    assert len(make_cues(words)) == 1
    assert [cue.lines for cue in make_cues(words, pauses_s=[1.1])] == [
        ("one two",),
        ("three four",),
    ]


def test_a_cue_does_not_stand_too_long() -> None:
    cues = make_cues(say("a " * 40, gap_s=0.5))

    assert len(cues) > 1
    assert all(cue.end_s - cue.start_s <= MAX_CUE_S for cue in cues)


def test_lines_break_between_words_at_42_characters() -> None:
    [cue] = make_cues(say("the quick brown fox jumps over the lazy dog today", gap_s=0.0))

    assert cue.lines == ("the quick brown fox jumps over the lazy", "dog today")


def test_no_words_are_no_cues() -> None:
    assert to_srt(make_cues([])) == ""
    assert to_vtt(make_cues([])) == "WEBVTT\n"


def test_vtt_escapes_markup() -> None:
    text = to_vtt(make_cues(say("a <b> & c")))

    assert "a &lt;b&gt; &amp; c" in text


def test_a_json_document_names_its_file_whatever_its_name_is() -> None:
    document = Document("caf\udce9\n.wav", Final(" one", tuple(say("one")), 1.0), (0.5,))
    parsed = json.loads(document.render("json").encode())

    assert parsed["file"] == "caf\ufffd\n.wav"
    assert parsed["transcript"] == "one"
    assert parsed["pauses_s"] == [0.5]
    assert json.loads(Document(None, document.final).render("json"))["file"] is None


@given(spoken_words(), st.floats(0.0, 5.0), st.lists(st.floats(0.0, 4_100.0), max_size=5))
def test_a_cue_stands_long_enough_where_there_is_room(
    words: list[Word], silence_s: float, pauses_s: list[float]
) -> None:
    assume(words)
    spoken_until_s = words[-1].end_s
    duration_s = spoken_until_s + silence_s
    cues = make_cues(words, pauses_s, duration_s)

    for cue, next_start_s in zip(
        cues, [*(cue.start_s for cue in cues[1:]), duration_s], strict=True
    ):
        room_s = next_start_s - cue.start_s
        assert cue.end_s - cue.start_s >= min(MIN_CUE_S, room_s) - 1e-9
        assert cue.end_s <= max(next_start_s, spoken_until_s) + 1e-9
    # A cue starts with its first word and does not end before its last.
    untouched = make_cues(words, pauses_s, 0.0)
    assert [cue.start_s for cue in cues] == [cue.start_s for cue in untouched]
    assert all(cue.end_s >= bare.end_s for cue, bare in zip(cues, untouched, strict=True))


def test_a_document_gives_its_last_cue_the_room_that_the_audio_has() -> None:
    words = tuple(say("one"))

    assert "00:00:00,800" in Document(None, Final(" one", words, 2.0)).render("srt")
    assert "00:00:00.500" in Document(None, Final(" one", words, 0.5)).render("vtt")
