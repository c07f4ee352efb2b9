"""The work of stt-latency."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from rich.console import Console

from client.audio import ArraySource, AudioError
from client.command.environment import Environment
from client.command.exit_codes import FAILED, OK, OUTPUT_CLOSED, exit_code_for
from client.command.files import OutputError, check_place, write_file
from client.command.target import COMMAND_PATIENCE, Target, find_target
from client.latency.audio import Audio
from client.latency.gpu_comparison import (
    DeployError,
    GpuApp,
    deploy,
    find_websocket_url,
    list_apps,
)
from client.latency.measure import LoadResult, measure_load
from client.latency.plot import PlotError, check_plot, draw_plot
from client.latency.report import (
    GpuResult,
    Setup,
    draw_gpus_table,
    draw_load_table,
    find_most_streams,
    to_json,
)
from client.rpc.errors import SttError
from client.rpc.retry import Patience, Waiting

# A GPU's first container may have to pull an image and load a large model.
WARM_UP_PATIENCE = replace(COMMAND_PATIENCE, starting_s=900.0, full_s=60.0)
# A stream that finds no slot is a result; waiting for one would be counted as latency.
NO_PATIENCE = Patience(starting_s=0.0, full_s=0.0, unreachable_s=0.0)


class _Console(Console):
    """One whose reader may leave: rich would end the process with 1."""

    def on_broken_pipe(self) -> None:
        """Tell, in place of leaving."""
        raise BrokenPipeError


async def run(arguments: argparse.Namespace) -> int:
    """Do what the arguments say; returns the exit code."""
    console = _Console()
    try:
        _check_places(arguments)
        audio = await Audio.load(arguments.wav, arguments.rtf)
        if arguments.compare_gpus:
            return await _compare_gpus(arguments, audio, console)
        return await _measure_target(arguments, audio, console)
    except BrokenPipeError:
        # The reader of the figures is gone.
        return OUTPUT_CLOSED
    except (
        SttError,
        AudioError,
        DeployError,
        OutputError,
        PlotError,
        OSError,
        ValueError,
    ) as error:
        print(f"stt-latency: {error}", file=sys.stderr)
        return exit_code_for(error)


async def _measure_target(arguments: argparse.Namespace, audio: Audio, console: Console) -> int:
    target = await find_target(arguments, Environment.read())
    setup = _describe(arguments, audio, target)
    console.print(f"Measuring {target}: {audio.mean_s:.1f} s of audio a stream, pace {audio.rtf:g}")
    await _warm_up(target, audio)
    loads: list[LoadResult] = []
    for streams in arguments.sweep or [arguments.parallel]:
        load = await _measure(target, audio, streams, arguments.runs)
        loads.append(load)
        if arguments.sweep:
            keeps_up = "keeps up" if load.is_in_real_time else "does not keep up"
            console.print(f"{streams} streams: the service {keeps_up}")
            if not load.is_in_real_time:
                break
    for load in loads:
        console.print(draw_load_table(load))
    _print_errors(loads, console)
    if arguments.sweep:
        most = find_most_streams(loads)
        console.print(f"Most streams in real time: {most if most is not None else 'none'}")
    lags = {f"{load.streams} streams": load.token_lags_s for load in loads}
    _write(arguments, to_json(setup, loads), lags)
    # A sweep ends with the first number of streams that is too many; that is its result.
    errors = [] if arguments.sweep else [error for load in loads for error in load.errors]
    return exit_code_for(errors[0]) if errors else OK


def _describe(arguments: argparse.Namespace, audio: Audio, target: Target | None) -> Setup:
    return Setup(
        str(target or ""),
        "grpc" if target and target.is_grpc else "websocket",
        audio.rtf,
        round(audio.mean_s, 3),
        arguments.runs,
        datetime.now(UTC),
    )


async def _warm_up(target: Target, audio: Audio) -> None:
    """One stream before the measurement: it starts a container and reveals wrong credentials."""
    source = ArraySource(audio.recordings[0])
    told: set[str] = set()

    def show_waiting(waiting: Waiting) -> None:
        reason = str(waiting.reason)
        if reason not in told:
            told.add(reason)
            print(f"stt-latency: waiting: {reason}", file=sys.stderr)

    async with target.make_client(patience=WARM_UP_PATIENCE, on_wait=show_waiting) as client:
        await client.transcribe(source)


async def _measure(target: Target, audio: Audio, streams: int, runs: int) -> LoadResult:
    make_client = partial(target.make_client, NO_PATIENCE)
    return await measure_load(make_client, audio.plan, streams, runs)


async def _compare_gpus(arguments: argparse.Namespace, audio: Audio, console: Console) -> int:
    environment = Environment.read()
    urls = dict(arguments.gpu_url)
    apps = await list_apps(arguments.compare_gpus)
    setup = _describe(arguments, audio, None)
    results: list[GpuResult] = []
    try:
        for app in apps:
            results.append(await _measure_gpu(app, urls, environment, arguments, audio, console))
    finally:
        # Also after Ctrl-C: an app that was deployed stays until it is stopped.
        if not arguments.no_deploy:
            console.print("\nThe apps cost nothing while nobody streams. To remove them:")
            for app in apps:
                console.print(f"  {app.stop_command}", markup=False, highlight=False)
    console.print(draw_gpus_table(results))
    for result in results:
        if result.error:
            text = f"{result.gpu}: {result.error}"
            console.print(text, markup=False, highlight=False, style="red", soft_wrap=True)
    _print_errors([result.load for result in results if result.load], console)
    lags = {result.gpu: result.load.token_lags_s for result in results if result.load}
    _write(arguments, to_json(setup, [], results), lags)
    failed = any(result.error or (result.load and result.load.errors) for result in results)
    return FAILED if failed else OK


async def _measure_gpu(
    app: GpuApp,
    urls: dict[str, str],
    environment: Environment,
    arguments: argparse.Namespace,
    audio: Audio,
    console: Console,
) -> GpuResult:
    try:
        if not arguments.no_deploy:
            console.print(f"{app.gpu}: deploying {app.name} …")
            await deploy(app)
        url = urls.get(app.gpu) or await find_websocket_url(app)
        target = Target(url, False, environment.credentials)
        console.print(f"{app.gpu}: warming up {url} …")
        await _warm_up(target, audio)
        console.print(f"{app.gpu}: measuring {arguments.parallel} streams …")
        load = await _measure(target, audio, arguments.parallel, arguments.runs)
    except (DeployError, SttError) as error:
        return GpuResult(app.gpu, app.name, app.price_per_hour_usd, error=str(error))
    return GpuResult(app.gpu, app.name, app.price_per_hour_usd, load)


def _print_errors(loads: Sequence[LoadResult], console: Console) -> None:
    for load in loads:
        for text in sorted({str(error) for error in load.errors}):
            console.print(f"{load.streams} streams: {text}", markup=False, style="red")


def _check_places(arguments: argparse.Namespace) -> None:
    """Raises ValueError or `PlotError` before a measurement whose figures would be lost."""
    for path in (arguments.json, arguments.plot):
        if path is not None:
            check_place(path)
    if arguments.plot is not None:
        check_plot(arguments.plot)


def _write(
    arguments: argparse.Namespace, document: dict[str, object], lags: dict[str, list[float]]
) -> None:
    if arguments.json is not None:
        text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        write_file(arguments.json, text.encode())
    if arguments.plot is not None:
        write_file(arguments.plot, draw_plot(lags, arguments.plot))
