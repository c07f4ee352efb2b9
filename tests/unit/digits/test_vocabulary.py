from stt_service.digits.vocabulary import DIGITS, read_other_words


def test_other_words_are_no_digits_and_are_kept_apart() -> None:
    training, evaluation = read_other_words()
    assert len(evaluation) >= 100
    assert not set(training) & set(evaluation)
    assert not (set(training) | set(evaluation)) & set(DIGITS)
    assert len(set(training)) == len(training)
