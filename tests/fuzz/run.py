"""One target under atheris, with libFuzzer's own options: `python -m tests.fuzz.run TARGET …`."""

import sys

try:
    import atheris
except ImportError:
    sys.exit("atheris is not installed: `uv run --group fuzz python -m tests.fuzz`")

with atheris.instrument_imports(include=["gateway", "stt_service"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
