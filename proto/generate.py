"""Generate the stubs and their type stubs from the .proto files, or check that they are current.

python proto/generate.py           write them below proto/
python proto/generate.py --check   exit 1 and name the files that differ
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

PROTO_ROOT = Path(__file__).resolve().parent
GENERATED_SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")
RIVA = PROTO_ROOT / "stt" / "nvidia_riva"
# NVIDIA's own client owns the package `riva`, and its files in protobuf's default pool.
RIVA_CHANGES = (
    ("riva.proto", "stt.nvidia_riva"),
    ("from google.protobuf import descriptor_pool", "from stt.nvidia_riva import descriptor_pool"),
)


def generate(output: Path) -> None:
    """Write all stubs below `output`, in the layout of this folder."""
    run_protoc(PROTO_ROOT, sorted(PROTO_ROOT.glob("stt/v1/*.proto")), output)
    with tempfile.TemporaryDirectory() as scratch:
        run_protoc(RIVA, sorted(RIVA.glob("riva/proto/*.proto")), Path(scratch))
        package = output / RIVA.relative_to(PROTO_ROOT)
        package.mkdir(parents=True, exist_ok=True)
        for path, content in read_generated(Path(scratch)).items():
            text = content.decode()
            for theirs, ours in RIVA_CHANGES:
                text = text.replace(theirs, ours)
            (package / path.name).write_text(text)


def run_protoc(root: Path, sources: list[Path], output: Path) -> None:
    """Write the stubs of the files, whose imports are relative to `root`, below `output`."""
    # protoc's module form finds the well-known types that grpcio-tools carries.
    command = [
        *(sys.executable, "-m", "grpc_tools.protoc"),
        f"--proto_path={root}",
        f"--python_out={output}",
        f"--grpc_python_out={output}",
        f"--mypy_out=quiet:{output}",
        f"--mypy_grpc_out=quiet:{output}",
        *(str(source.relative_to(root)) for source in sources),
    ]
    subprocess.run(command, check=True)


def read_generated(root: Path) -> dict[Path, bytes]:
    """Map each generated file below `root`, by its path relative to it, to its content."""
    return {
        path.relative_to(root): path.read_bytes()
        for path in root.rglob("*")
        if path.name.endswith(GENERATED_SUFFIXES)
    }


def find_drift() -> list[Path]:
    """Name the generated files that differ from what the .proto files make, or are missing."""
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        fresh = read_generated(Path(scratch))
    committed = read_generated(PROTO_ROOT)
    return sorted(path for path in fresh | committed if fresh.get(path) != committed.get(path))


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Generate the stubs and their type stubs from the .proto files."
    )
    parser.add_argument("--check", action="store_true", help="only compare; exit 1 on drift")
    arguments = parser.parse_args()
    if not arguments.check:
        generate(PROTO_ROOT)
        return 0
    drift = find_drift()
    for path in drift:
        print(f"{path} differs from what its .proto makes; run `poe proto`", file=sys.stderr)
    return 1 if drift else 0


if __name__ == "__main__":
    sys.exit(main())
