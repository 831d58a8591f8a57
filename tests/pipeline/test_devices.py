"""A run that leaves GPUs idle says so, and how they are used."""

from __future__ import annotations

from typing import Any

import pytest

from text2sql.config import load_config
from text2sql.pipeline.console_tables import introduce_devices


@pytest.mark.parametrize(
    ("described", "device", "said"),
    [
        ({"processes": 1, "gpus": 4}, "auto", True),
        ({"processes": 2, "gpus": 4}, "cuda", True),
        ({"processes": 4, "gpus": 4}, "auto", False),
        ({"processes": 1, "gpus": 4}, "cpu", False),
        ({"processes": 1, "gpus": 1}, "auto", False),
        ({}, "auto", False),
    ],
)
def test_idle_gpus_are_named_with_the_option_that_uses_them(
    described: Any, device: str, said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    introduce_devices(described, load_config("llama-3.2-1b", [f"local.device={device}"]))
    shown = " ".join(capsys.readouterr().out.split())
    used = described.get("processes", 1)
    expected = f"This machine has 4 GPUs, and this run uses {used}; `text2sql run CONFIG --processes 4` shares its work"
    assert shown.startswith(expected) if said else not shown
