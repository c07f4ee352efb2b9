from digits_training.sound.accents import ACCENTS
from digits_training.sound.voices import list_accented_voices
from digits_training.vocabulary import DIGITS


def test_every_accent_spells_every_digit_and_nothing_else() -> None:
    for spellings in ACCENTS.values():
        assert tuple(spellings) == DIGITS
        assert all(spellings.values())


def test_accented_voices_are_told_apart() -> None:
    names = [voice.voice for voice in list_accented_voices()]
    assert len(set(names)) == len(names) == 8 * len(ACCENTS)
