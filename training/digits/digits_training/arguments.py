"""The options that several commands share. Imports no torch, so that `--help` is there at once."""

import argparse
from pathlib import Path

from digits_training.training.plan import TrainingPlan


def add_work(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--work", type=Path, required=True, help="folder for all that is made")


def add_recordings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--recordings",
        type=Path,
        required=True,
        help="folder of the Free Spoken Digit Dataset: files like 7_jackson_32.wav",
    )


def add_training(parser: argparse.ArgumentParser) -> None:
    add_encoder(parser)
    add_recognizer(parser)
    add_count(parser, "--all-words-steps", TrainingPlan.all_words.steps, "fine-tuning on all words")
    add_count(parser, "--noise-steps", TrainingPlan.noise.steps, "at last, in noise and music")


def add_widening(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--start", type=Path, help="checkpoint to go on from; default: what `train` made"
    )
    add_count(parser, "--voices-steps", TrainingPlan.voices.steps, "on all voices")
    add_count(parser, "--voices-windows", TrainingPlan.voices_windows, "that they are drawn from")


def add_recognizer(parser: argparse.ArgumentParser) -> None:
    add_count(parser, "--recognizer-steps", TrainingPlan.recognizer.steps, "on mostly digits")


def add_encoder(parser: argparse.ArgumentParser) -> None:
    add_count(parser, "--encoder-steps", TrainingPlan.encoder.steps, "that teach the encoder")
    add_pace(parser)


def add_pace(parser: argparse.ArgumentParser) -> None:
    add_count(parser, "--workers", TrainingPlan.workers, "processes, one for each core")
    add_count(parser, "--seed", TrainingPlan.seed, "of what the training draws at random")


def add_count(parser: argparse.ArgumentParser, name: str, default: int, meaning: str) -> None:
    parser.add_argument(name, type=int, default=default, help=f"{meaning}; default %(default)s")
