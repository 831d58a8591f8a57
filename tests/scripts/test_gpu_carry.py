"""What travels to a machine with a GPU: what it lacks, and nothing else."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from tests.support.repository import REPOSITORY


@pytest.fixture
def carry(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(REPOSITORY / "scripts"))
    return importlib.import_module("gpu_carry")


def test_what_is_there_stays_here_and_old_versions_are_replaced(carry: Any) -> None:
    wanted = [Requirement("peft>=0.21,<0.22"), Requirement("typer>=0.15")]
    all_of_it = carry.missing(wanted, carry.present([]))
    assert {"peft", "transformers", "typer", "click"} <= all_of_it.keys() and "torch" not in all_of_it
    assert not {"sympy", "jinja2"} & all_of_it.keys()
    there = carry.present(["# a comment", "peft==0.21.0", "typer", "torch==2.11.0+cu130"])
    assert carry.missing(wanted, there) == {}
    old = carry.missing(wanted, carry.present(["peft==0.10.0", "transformers", "typer", "accelerate==1.15.0"]))
    assert "peft" in old and not {"transformers", "typer", "accelerate"} & old.keys()


def test_the_project_and_what_it_is_compared_with_travel(carry: Any) -> None:
    names = carry.missing(carry.roots(), carry.present([])).keys()
    assert {"tinker", "sqlglot", "pydantic", "trl", "pytest", "hypothesis", "bitsandbytes"} <= names


def _check(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(REPOSITORY / "scripts" / "gpu_check.sh"), *arguments]
    variables = {**os.environ, "PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": "", **environment}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=variables)


def test_wrong_arguments_are_a_sentence(tmp_path: Path) -> None:
    nothing = _check("--from", "absent", cwd=tmp_path)
    assert nothing.returncode == 2 and "absent holds no wheels; make it with" in nothing.stderr
    assert _check("--carry", cwd=tmp_path).returncode == 2
    listed = _check("--carry", "made", "--has", "absent.txt", cwd=tmp_path)
    assert listed.returncode == 1 and "absent.txt is not there" in listed.stderr


def test_what_was_carried_is_used_and_without_a_gpu_nothing_is_checked(tmp_path: Path) -> None:
    wheel = tmp_path / "made" / "wheels"
    wheel.mkdir(parents=True)
    _write_wheel(wheel / "carried_example-1.0-py3-none-any.whl")
    python = tmp_path / "python"
    # PyTorch finds no GPU, and what was carried can be imported.
    python.write_text(
        f'#!/bin/sh\ncase "$*" in *cuda*) {sys.executable} -c "import carried_example" || exit 7;; esac\n'
        f'exec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    done = _check("--from", "made", cwd=tmp_path, PYTHON=str(python))
    assert done.returncode == 0 and "No CUDA GPU" in done.stdout and "Error" not in done.stderr, done.stderr


def _write_wheel(path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(path, "w") as file:
        file.writestr("carried_example.py", "")
        info = "carried_example-1.0.dist-info"
        file.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: carried-example\nVersion: 1.0\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
