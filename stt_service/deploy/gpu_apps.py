"""One app on Modal for each GPU, so that they can be compared: `stt-latency --compare-gpus`.

`python -m stt_service.deploy.gpu_apps T4 L4` prints as JSON what each app is called, what an hour
of its GPU costs (null if that is not known), and how to stop it. With --deploy, and one GPU, it
then deploys the app: what Modal says goes to standard error, and the exit code is Modal's.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from stt_service.deploy.gpus import GPUS, find_modals_name

EXIT_OK = 0
MODAL_APP = Path(__file__).resolve().parent.parent / "modal_app.py"


@dataclass(frozen=True)
class GpuApp:
    """The app that serves on one GPU, by whatever name somebody calls that."""

    gpu: str

    @property
    def name(self) -> str:
        """The app's; two GPUs never share one."""
        # The exclamation mark of H100! forbids Modal to take an H200; no name of an app has one.
        return f"kyutai-stt-{self.gpu.lower().replace('!', '-only')}"

    @property
    def price_per_hour_usd(self) -> float | None:
        """None if it is not known."""
        known = GPUS.get(find_modals_name(self.gpu))
        return known.price_per_hour_usd if known else None

    def as_dict(self) -> dict[str, str | float | None]:
        """For JSON."""
        return {
            "gpu": self.gpu,
            "app": self.name,
            "price_per_hour_usd": self.price_per_hour_usd,
            "stop_command": f"uvx modal app stop {self.name}",
        }


def become_deployment(app: GpuApp) -> NoReturn:
    """Go on as `modal deploy`, in this process, which whoever started it can end."""
    sys.stdout.flush()
    os.dup2(2, 1)  # standard output is for JSON alone
    environment = {**os.environ, "KYUTAI_GPU": app.gpu, "KYUTAI_APP_NAME": app.name}
    command = [sys.executable, "-m", "modal", "deploy", str(MODAL_APP)]
    os.execve(sys.executable, command, environment)


def main(argv: Sequence[str] | None = None) -> int:
    """Describe the apps, deploy one if asked to; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m stt_service.deploy.gpu_apps", description=__doc__
    )
    parser.add_argument("gpus", nargs="+", metavar="GPU", help="as in KYUTAI_GPU")
    parser.add_argument("--deploy", action="store_true", help="deploy the app of the one GPU")
    arguments = parser.parse_args(argv)
    if arguments.deploy and len(arguments.gpus) > 1:
        parser.error("--deploy takes one GPU")
    apps = [GpuApp(gpu) for gpu in arguments.gpus]
    print(json.dumps([app.as_dict() for app in apps]))
    if arguments.deploy:
        become_deployment(apps[0])
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
