import numpy as np

from digits_training.vocabulary import DIGITS, invent_words, read_other_words


def test_other_words_are_no_digits_and_are_kept_apart() -> None:
    training, evaluation = read_other_words()
    assert len(evaluation) >= 100
    assert not set(training) & set(evaluation)
    assert not (set(training) | set(evaluation)) & set(DIGITS)
    assert len(set(training)) == len(training)


def test_invented_words_are_many_and_no_digits() -> None:
    words = invent_words(np.random.default_rng(1), 500)
    assert len(words) == 500
    assert len(set(words)) > 400
    assert not set(words) & set(DIGITS)
    assert all(word.isalpha() for word in words)
