"""Scenarios with the expected outcome of each step, for every implementation of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Vector:
    """One scenario."""

    steps: list[dict[str, Any]]
    expected: list[Any]
    """What becomes of each step."""


def each_vector(name: str) -> pytest.MarkDecorator:
    """Run a test with the argument `vector` once for each scenario in NAME.json."""
    scenarios = json.loads(Path(__file__).with_name(f"{name}.json").read_text())
    vectors = {
        title: Vector([step["do"] for step in steps], [step["gives"] for step in steps])
        for title, steps in scenarios.items()
    }
    return pytest.mark.parametrize("vector", vectors.values(), ids=vectors.keys())
