"""A small model to sample from, and the same one as Transformers has it."""

from __future__ import annotations

from typing import Any

import pytest
import torch


@pytest.fixture
def base(open_local: Any, tiny_model: str) -> Any:
    return open_local().create_sampling_client(base_model=tiny_model).result()


@pytest.fixture
def model(tiny_model: str) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
