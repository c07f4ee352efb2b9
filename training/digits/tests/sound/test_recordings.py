from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from digits_training.errors import PlanError
from digits_training.sound.recordings import list_recordings, read_recordings


def write_recordings(folder: Path, *names: str) -> None:
    rng = np.random.default_rng(0)
    for name in names:
        sf.write(folder / name, rng.normal(0, 0.1, 4_000), 8_000)


def test_the_first_five_of_each_are_held_out(tmp_path: Path) -> None:
    write_recordings(tmp_path, "7_ada_0.wav", "7_ada_4.wav", "7_ada_5.wav", "7_ada_40.wav")
    held_out = [path.stem for path in list_recordings(tmp_path, held_out=True)]
    training = [path.stem for path in list_recordings(tmp_path, held_out=False)]
    assert held_out == ["7_ada_0", "7_ada_4"]
    assert training == ["7_ada_40", "7_ada_5"]


def test_the_name_says_word_and_voice(tmp_path: Path) -> None:
    write_recordings(tmp_path, "7_Ada2_9.wav")
    (clip,) = read_recordings(list_recordings(tmp_path, held_out=False))
    assert (clip.word, clip.voice, clip.human) == ("seven", "Ada2", True)


def test_a_folder_without_recordings_is_explained(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="free-spoken-digit-dataset"):
        list_recordings(tmp_path, held_out=False)


def test_both_training_and_evaluation_want_recordings(tmp_path: Path) -> None:
    write_recordings(tmp_path, "7_ada_4.wav")
    with pytest.raises(PlanError, match="which no training hears"):
        list_recordings(tmp_path, held_out=False)
    (tmp_path / "7_ada_4.wav").rename(tmp_path / "7_ada_5.wav")
    with pytest.raises(PlanError, match="which the evaluation hears"):
        list_recordings(tmp_path, held_out=True)
