"""Write a trained model as a checkpoint folder in the layout of Kyutai's own."""

# torch, moshi and scipy are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportPrivateImportUsage=false

import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from digits_training.training.network import (
    CONFIG_NAME,
    LM_WEIGHTS_NAME,
    MIMI_CONFIG_NAME,
    MIMI_WEIGHTS_NAME,
    TOKENIZER_NAME,
    JointModel,
    describe_checkpoint,
    fold_tables,
)


def export_checkpoint(model: JointModel, design: Path, target: Path) -> None:
    """Write target/; configurations and tokenizer come from the folder `design`.

    Raises RuntimeError when moshi does not load the result strictly.
    """
    target.mkdir(parents=True, exist_ok=True)
    fold_tables(model)
    save_file(_collect(model.mimi), target / MIMI_WEIGHTS_NAME)
    save_file(_collect(model.lm), target / LM_WEIGHTS_NAME)
    for name in (CONFIG_NAME, MIMI_CONFIG_NAME, TOKENIZER_NAME):
        if (design / name).resolve() != (target / name).resolve():
            shutil.copyfile(design / name, target / name)
    info = describe_checkpoint(target)
    info.get_mimi("cpu")
    info.get_moshi("cpu", dtype=torch.float32)


def _collect(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.contiguous().clone() for name, tensor in module.state_dict().items()}
