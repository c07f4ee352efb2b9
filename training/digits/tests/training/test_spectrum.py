from dataclasses import replace

import numpy as np
import pytest
import torch

from digits_training.training.spectrum import (
    BANDS,
    MOMENTS_PER_STEP,
    STEP_SAMPLES,
    SpectrumVarier,
    Variation,
    measure_spectrum,
)
from digits_training.vocabulary import SAMPLE_RATE_HERTZ

STEPS = 25
NOTHING_VARIES = Variation(equalizer_db=0, warp=0, band_masks=0, moment_masks=0)


def make_tone(hertz: float, level: float = 0.1) -> torch.Tensor:
    times_s = torch.arange(STEPS * STEP_SAMPLES) / SAMPLE_RATE_HERTZ
    return level * torch.sin(2 * torch.pi * hertz * times_s)[None, None]


def find_band(spectrum: torch.Tensor) -> int:
    return int(spectrum[0, -BANDS:, -1].argmax())


def test_a_higher_tone_is_in_a_higher_band() -> None:
    bands = [find_band(measure_spectrum(make_tone(hertz))) for hertz in (100, 500, 1_500, 3_500)]
    assert bands == sorted(set(bands))


def test_twenty_decibels_are_as_many_units_at_every_level() -> None:
    loud, soft, softer = (
        measure_spectrum(make_tone(500, level)).max() for level in (0.5, 0.05, 0.005)
    )
    assert float(loud - soft) == pytest.approx(20 / 15, abs=0.01)
    assert float(soft - softer) == pytest.approx(20 / 15, abs=0.01)


def test_silence_is_finite_and_below_every_sound() -> None:
    silence = measure_spectrum(torch.zeros(2, 1, STEPS * STEP_SAMPLES))
    assert silence.shape == (2, MOMENTS_PER_STEP * BANDS, STEPS)
    assert silence.isfinite().all()
    assert silence.max() < measure_spectrum(make_tone(500, 0.001)).max()


def test_a_step_hears_nothing_of_the_future() -> None:
    sound = make_tone(500)
    cut = sound.clone()
    cut[..., 10 * STEP_SAMPLES :] = 0
    whole, past = measure_spectrum(sound), measure_spectrum(cut)
    assert torch.equal(whole[..., :10], past[..., :10])
    assert not torch.equal(whole[..., 10], past[..., 10])


def test_when_nothing_varies_spectra_come_through_unchanged() -> None:
    spectrum = measure_spectrum(make_tone(700))
    varied = SpectrumVarier(NOTHING_VARIES).vary(np.random.default_rng(0), spectrum)
    torch.testing.assert_close(varied, spectrum)


def test_variation_is_repeatable_and_leaves_its_input_alone() -> None:
    spectra = measure_spectrum(make_tone(700)).repeat(8, 1, 1)
    before = spectra.clone()
    varier = SpectrumVarier(Variation())
    first, second = (varier.vary(np.random.default_rng(3), spectra) for _ in "ab")
    assert torch.equal(first, second)
    assert torch.equal(spectra, before)
    assert not torch.allclose(first[0], first[1]), "each window varies in its own way"


def test_a_warp_moves_a_tone_by_its_share() -> None:
    varier = SpectrumVarier(Variation(equalizer_db=0, warp=0.3, band_masks=0, moment_masks=0))
    spectra = measure_spectrum(make_tone(1_500)).repeat(64, 1, 1)
    varied = varier.vary(np.random.default_rng(0), spectra)
    bands = {int(window[-BANDS:, -1].argmax()) for window in varied}
    # Reading a band at 0.7 to 1.3 times its frequency puts 1,500 Hz where 1,154 to 2,143 Hz were.
    lowest, highest = (find_band(measure_spectrum(make_tone(hertz))) for hertz in (1_154, 2_143))
    assert min(bands) == pytest.approx(lowest, abs=1)
    assert max(bands) == pytest.approx(highest, abs=1)


def test_masks_put_a_mean_in_place_of_a_stretch() -> None:
    varier = SpectrumVarier(
        Variation(equalizer_db=0, warp=0, band_masks=1, masked_bands=4, moment_masks=0)
    )
    spectra = measure_spectrum(make_tone(700) + make_tone(2_000)).repeat(64, 1, 1)
    changed = (varier.vary(np.random.default_rng(0), spectra) - spectra).abs() > 1e-4
    bands = changed.transpose(1, 2).reshape(64, -1, BANDS).any(dim=1).sum(dim=1)
    assert 0 < int(bands.max()) <= 4


@pytest.mark.parametrize("masks", [{"band_masks": 1}, {"moment_masks": 1}])
def test_a_masked_stretch_holds_its_own_mean(masks: dict[str, int]) -> None:
    varier = SpectrumVarier(replace(NOTHING_VARIES, **masks))
    spectra = measure_spectrum(make_tone(700) + make_tone(2_000)).repeat(16, 1, 1)
    varied = varier.vary(np.random.default_rng(0), spectra)
    masked = 0
    for before, after in zip(spectra, varied, strict=True):
        changed = (after - before).abs() > 1e-4
        if changed.any():
            masked += 1
            assert float(after[changed].std()) == pytest.approx(0, abs=1e-4)
            mean = float(before[changed].mean())
            assert float(after[changed].mean()) == pytest.approx(mean, abs=0.01)
    assert masked > 4
