"""A Hugging Face cache on disk, in its real layout, with the digits model under other names.

The files bear the names of Kyutai's 1B repositories, see their config.json and
https://github.com/kyutai-labs/delayed-streams-modeling/blob/main/configs/config-stt-en_fr-hf.toml
"""

import hashlib
import json
from pathlib import Path

from safetensors.torch import load, save

from stt_service.config import DIGITS_CHECKPOINT

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = "model.safetensors"
HEADS = "extra_heads"
NAMES = {
    "mimi_name": "mimi-pytorch-e351c8d8@125.safetensors",
    "tokenizer_name": "tokenizer_en_fr_audio_8000.model",
}


def store_model(cache: Path, repository: str, *, heads: bool) -> None:
    """Put the digits model into the cache, as it is, or without its extra heads."""
    config = json.loads((DIGITS_CHECKPOINT / "config.json").read_text())
    weights = (DIGITS_CHECKPOINT / config.pop("moshi_name")).read_bytes()  # moshi has a default
    files = {new: (DIGITS_CHECKPOINT / config[key]).read_bytes() for key, new in NAMES.items()}
    if not heads:
        weights = save({key: t for key, t in load(weights).items() if not key.startswith(HEADS)})
        config = {key: value for key, value in config.items() if not key.startswith(HEADS)}
    mimi_config = config["mimi_config_name"]
    files |= {
        WEIGHTS: weights,
        mimi_config: (DIGITS_CHECKPOINT / mimi_config).read_bytes(),
        "config.json": json.dumps(config | NAMES).encode(),
    }
    store(cache, repository, files)


def store(cache: Path, repository: str, files: dict[str, bytes]) -> None:
    """What a download leaves: blobs by their hash, and a snapshot of links to them."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / COMMIT
    for path in (folder / "refs", folder / "blobs", snapshot):
        path.mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    for name, content in files.items():
        digest = hashlib.sha256(content).hexdigest()
        (folder / "blobs" / digest).write_bytes(content)
        (snapshot / name).symlink_to(Path("../../blobs") / digest)
