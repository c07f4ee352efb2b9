"""What a session tells its caller. Times are seconds in the session's own audio."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Token:
    """One text piece with its own leading space; `start_s` is the start of its word."""

    text: str
    start_s: float


@dataclass(frozen=True, slots=True)
class Word:
    """Pieces joined; `confidence` is the geometric mean of their probabilities."""

    text: str
    start_s: float
    end_s: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Pause:
    """The speaker has finished, recognised at `offset_s`."""

    offset_s: float


@dataclass(frozen=True, slots=True)
class Step:
    """The model has heard one more frame of the caller's own audio.

    `index` counts them from 0; `pause_probabilities` has one number for each VAD head, which may be
    none; `mid_word` says that the next token may go on with the word before it.
    """

    index: int
    pause_probabilities: tuple[float, ...]
    mid_word: bool


@dataclass(frozen=True, slots=True)
class Utterance:
    """The words of one turn, which a pause, a flush, a stall or the session's end has closed."""

    words: tuple[Word, ...]

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    @property
    def start_s(self) -> float:
        return self.words[0].start_s

    @property
    def end_s(self) -> float:
        return self.words[-1].end_s


@dataclass(frozen=True, slots=True)
class Flushed:
    """Every token of the audio before the flush has been sent."""

    flush_id: str


@dataclass(frozen=True, slots=True)
class Final:
    """The session's last event: all token texts joined, all words, and the audio's length.

    `is_cut` says that the session said more than Final can carry: transcript and words are its
    beginning.
    """

    transcript: str
    words: tuple[Word, ...]
    audio_duration_s: float
    is_cut: bool = False


Event = Token | Word | Pause | Step | Utterance | Flushed | Final
