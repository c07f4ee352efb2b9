"""Train and measure the digits model that the service carries."""

import argparse
from dataclasses import replace
from pathlib import Path

from digits_training.arguments import (
    add_encoder,
    add_pace,
    add_recognizer,
    add_recordings,
    add_training,
    add_widening,
    add_work,
)
from digits_training.errors import PlanError
from digits_training.training.plan import TrainingPlan
from stt_service.config import DIGITS_CHECKPOINT

# A new model takes its shapes and its tokenizer from the one that is there.
DESIGN = DIGITS_CHECKPOINT
CONFUSIONS_NAME = "confusions.png"
EVALUATION_NAME = "evaluation.json"
FIGURES_NAME = "evaluation.md"
CHECKPOINT_NAME = "checkpoint"

EPILOG = """\
Everything, from recordings to a measured checkpoint (about six hours on two cores, 6 GB of disk
and 12 of memory; stop and start at will):

  uv run --package digits-training --extra voices python -m digits_training all \\
    --recordings free-spoken-digit-dataset/recordings --work work

It needs, from Debian:
  apt-get install espeak-ng flite festival festvox-us-slt-hts festvox-kallpc16k libtcmalloc-minimal4
Training is several times faster with LD_PRELOAD=libtcmalloc_minimal.so.4.
"""


def main() -> None:
    """Parse the command line and run one command."""
    parser = make_parser()
    arguments = parser.parse_args()
    try:
        arguments.run(arguments)
    except (PlanError, NotADirectoryError, PermissionError) as error:
        parser.error(str(error))


def make_parser() -> argparse.ArgumentParser:
    """Sub-commands for the steps of the work, and `all`."""
    parser = argparse.ArgumentParser(
        prog="python -m digits_training",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    everything = commands.add_parser("all", help="prepare, train, export and evaluate")
    add_work(everything)
    add_recordings(everything)
    add_training(everything)
    add_widening(everything)
    everything.set_defaults(run=run_all)

    prepare = commands.add_parser("prepare", help="cut recordings and speak synthetic words")
    add_work(prepare)
    add_recordings(prepare)
    prepare.set_defaults(run=run_prepare)

    pretrain = commands.add_parser("pretrain", help="teach the encoder what sounds are like")
    add_work(pretrain)
    add_encoder(pretrain)
    pretrain.set_defaults(run=run_pretrain)

    train = commands.add_parser("train", help="train; goes on where an earlier run stopped")
    add_work(train)
    add_training(train)
    train.set_defaults(run=run_train)

    widen = commands.add_parser("widen", help="train a checkpoint on with many more voices")
    add_work(widen)
    add_widening(widen)
    add_pace(widen)
    widen.set_defaults(run=run_widen)

    export = commands.add_parser(
        "export", help="write the checkpoint folder of what `widen` trained"
    )
    add_work(export)
    export.set_defaults(run=run_export)

    evaluate = commands.add_parser("evaluate", help="measure a checkpoint through the engine")
    add_work(evaluate)
    evaluate.add_argument("--checkpoint", type=Path, help="default: WORK/checkpoint")
    evaluate.set_defaults(run=run_evaluate)

    left_out = commands.add_parser(
        "leave-out", help="train a recognizer without each speaker in turn"
    )
    add_work(left_out)
    add_encoder(left_out)
    add_recognizer(left_out)
    left_out.add_argument("--speakers", nargs="+", help="default: all")
    left_out.set_defaults(run=run_leave_out)

    benchmark = commands.add_parser("benchmark", help="time steps of checkpoints side by side")
    benchmark.add_argument("checkpoints", nargs="+", type=Path)
    benchmark.add_argument("--slots", nargs="+", type=int, default=[1, 8, 64])
    benchmark.add_argument("--rounds", type=int, default=200)
    benchmark.add_argument("--threads", type=int, default=2)
    benchmark.set_defaults(run=run_benchmark)
    return parser


def run_all(arguments: argparse.Namespace) -> None:
    run_prepare(arguments)
    run_train(arguments)
    run_widen(arguments)
    run_export(arguments)
    arguments.checkpoint = None
    run_evaluate(arguments)


def run_prepare(arguments: argparse.Namespace) -> None:
    from digits_training.sound.clips import ClipBank
    from digits_training.sound.new_voices import (
        NEW_VOICES_BANK,
        STRANGERS_BANK,
        prepare_new_voices,
    )
    from digits_training.sound.preparation import (
        EVALUATION_BANK,
        SEED,
        TRAINING_BANK,
        describe,
        prepare,
    )

    prepare(arguments.recordings, arguments.work, seed=SEED)
    training = ClipBank.load(arguments.work / TRAINING_BANK)
    prepare_new_voices(training.filter(lambda clip: clip.human), arguments.work)
    for name in (TRAINING_BANK, NEW_VOICES_BANK, EVALUATION_BANK, STRANGERS_BANK):
        print(name, *describe(ClipBank.load(arguments.work / name).clips), sep="\n  ")


def run_pretrain(arguments: argparse.Namespace) -> None:
    from digits_training.training.pretraining import pretrain

    pretrain(make_encoder_plan(arguments))


def run_train(arguments: argparse.Namespace) -> None:
    from digits_training.training.finetuning import fine_tune
    from digits_training.training.recognizer import train_recognizers

    plan = make_plan(arguments)
    train_recognizers([plan])
    fine_tune(plan)


def run_widen(arguments: argparse.Namespace) -> None:
    from digits_training.training.all_voices import train_on_all_voices

    plan = TrainingPlan(
        design=DESIGN,
        work_dir=arguments.work,
        voices=replace(TrainingPlan.voices, steps=arguments.voices_steps),
        voices_windows=arguments.voices_windows,
        workers=arguments.workers,
        seed=arguments.seed,
    )
    if arguments.start is None:
        export(plan.fine_tuned_dir, plan.narrow_checkpoint_dir)
    train_on_all_voices(plan, arguments.start or plan.narrow_checkpoint_dir)


def run_export(arguments: argparse.Namespace) -> None:
    export(TrainingPlan(DESIGN, arguments.work).voices_dir, arguments.work / CHECKPOINT_NAME)


def export(trained: Path, target: Path) -> None:
    """Write the checkpoint folder of a run's last saved state."""
    from digits_training.training.export import export_checkpoint
    from digits_training.training.joint import load_trained
    from digits_training.training.runs import read_progress

    export_checkpoint(load_trained(DESIGN, trained), DESIGN, target)
    steps, total_steps = read_progress(trained)
    print(f"wrote {target}, trained for {steps:,} of {total_steps:,} steps")


def run_evaluate(arguments: argparse.Namespace) -> None:
    from rich.console import Console

    from digits_training.evaluation.evaluator import evaluate
    from digits_training.evaluation.pictures import draw_confusions
    from digits_training.evaluation.report import list_figures, make_table, write_markdown
    from digits_training.sound.clips import ClipBank
    from digits_training.sound.new_voices import STRANGERS_BANK, read_tally
    from digits_training.sound.preparation import EVALUATION_BANK

    checkpoint = arguments.checkpoint or arguments.work / CHECKPOINT_NAME
    bank, strangers = (
        ClipBank.load(arguments.work / name) for name in (EVALUATION_BANK, STRANGERS_BANK)
    )
    evaluation = evaluate(checkpoint, bank, strangers, read_tally(arguments.work))
    figures = list_figures(evaluation)
    Console().print(make_table(figures))
    (arguments.work / EVALUATION_NAME).write_text(evaluation.to_json())
    (arguments.work / FIGURES_NAME).write_text(write_markdown(figures))
    draw_confusions(evaluation.confusions, arguments.work / CONFUSIONS_NAME)
    print(f"wrote {EVALUATION_NAME}, {FIGURES_NAME} and {CONFUSIONS_NAME} to {arguments.work}")


def run_leave_out(arguments: argparse.Namespace) -> None:
    from rich.console import Console

    from digits_training.evaluation.crossvalidation import leave_speakers_out
    from digits_training.sound.clips import ClipBank
    from digits_training.sound.preparation import EVALUATION_BANK, TRAINING_BANK

    recordings = ClipBank(
        clip
        for name in (TRAINING_BANK, EVALUATION_BANK)
        for clip in ClipBank.load(arguments.work / name).clips
        if clip.human
    )
    speakers = arguments.speakers or recordings.get_voices(human=True)
    leave_speakers_out(make_recognizer_plan(arguments), recordings, speakers, Console())


def run_benchmark(arguments: argparse.Namespace) -> None:
    from digits_training.evaluation.benchmark import measure_step_costs

    for slots in arguments.slots:
        for cost in measure_step_costs(
            arguments.checkpoints, slots=slots, rounds=arguments.rounds, threads=arguments.threads
        ):
            print(
                f"{slots:3} slots: median {cost.median_ms:6.2f} ms, "
                f"best {cost.best_ms:6.2f} ms  {cost.checkpoint}"
            )


def make_encoder_plan(arguments: argparse.Namespace) -> TrainingPlan:
    return TrainingPlan(
        design=DESIGN,
        work_dir=arguments.work,
        encoder=replace(TrainingPlan.encoder, steps=arguments.encoder_steps),
        workers=arguments.workers,
        seed=arguments.seed,
    )


def make_recognizer_plan(arguments: argparse.Namespace) -> TrainingPlan:
    return replace(
        make_encoder_plan(arguments),
        recognizer=replace(TrainingPlan.recognizer, steps=arguments.recognizer_steps),
    )


def make_plan(arguments: argparse.Namespace) -> TrainingPlan:
    return replace(
        make_recognizer_plan(arguments),
        all_words=replace(TrainingPlan.all_words, steps=arguments.all_words_steps),
        noise=replace(TrainingPlan.noise, steps=arguments.noise_steps),
    )


if __name__ == "__main__":
    main()
