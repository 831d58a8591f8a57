"""Prompts, settings and a plain loop to compare samples with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from tinker import types

PROMPTS = [[5, 9, 33], [7] * 20, list(range(40, 75)), [100], [3, 4, 5, 6, 7, 8, 9]]


def params(**values: Any) -> types.SamplingParams:
    return types.SamplingParams(**{"max_tokens": 12, "temperature": 0, "stop": [], **values})


def some(count: int, seed: int, vocabulary: int = 600) -> list[int]:
    """Random token ids."""
    return [int(i) for i in np.random.default_rng(seed).integers(1, vocabulary, count)]


def ids(prompt: list[int]) -> types.ModelInput:
    return types.ModelInput.from_ints(prompt)


def greedy_by_hand(model: Any, prompt: list[int], count: int) -> list[int]:
    tokens = list(prompt)
    for _ in range(count):
        with torch.no_grad():
            tokens.append(int(model(torch.tensor([tokens])).logits[0, -1].argmax()))
    return tokens[len(prompt) :]
