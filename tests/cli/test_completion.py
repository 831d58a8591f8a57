"""What Tab offers: commands, configurations, and keys with which an override can be gone on with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.repository import REPOSITORY
from text2sql.config import load_config
from text2sql.errors import UserError


def _offered(words: str, directory: Path) -> list[str]:
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")), "_TEXT2SQL_COMPLETE": "complete_bash"}
    environment = {**os.environ, **asked, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "text2sql"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=directory, check=True)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("text2sql ru", ["run", "runs"]),
        ("text2sql run quick", ["quickstart", "quickstart-rl", "quick.yaml"]),
        ("text2sql evaluate deep/m", ["deep/mine.yml"]),
        # A shell offers files then.
        ("text2sql evaluate nothing", []),
        ("text2sql config validate llama-3.2", ["llama-3.2-1b"]),
        ("text2sql run quickstart training.weight", ["training.weight_decay=", "training.weight_decay=0.0"]),
        ("text2sql run data.test_", ["data.test_size=", "data.test_size=200"]),
        ("text2sql sweep quickstart see", ["seed=", "seed=0"]),
    ],
)
def test_what_is_offered(words: str, offered: list[str], tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("quick.yaml", "deep/mine.yml", "deep/other.txt"):
        (tmp_path / name).touch()
    assert _offered(words, tmp_path) == offered


def test_every_key_that_is_offered_is_one(tmp_path: Path) -> None:
    keys = _offered("text2sql run quickstart ", tmp_path)
    assert {"training.batch_size=", "lora.rank=", "backend="} <= {*keys}
    for key in keys:
        try:
            load_config(None, [f"{key}x"])
        except UserError as error:
            assert "unknown key" not in str(error)
