"""The course exercise's script, unchanged, against our server."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from tinker.cli.__main__ import main_cli

from tests.backends.server.conftest import Running
from tests.backends.tinker.conftest import plain_sdk
from tests.conftest import REPOSITORY
from tests.support.tiny_runs import rows


@plain_sdk
def test_the_script_goes_through_all_steps(
    server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data.json"
    data.write_text(json.dumps(rows(12)))
    monkeypatch.setenv("TINKER_BASE_URL", server.url)
    options = ["--base-model", "tiny", "--test", "3", "--batch-size", "3", "--epochs", "12", "--learning-rate", "0.01"]
    monkeypatch.setattr(sys, "argv", ["exercise_tinker.py", str(data), *options])
    runpy.run_path(str(REPOSITORY / "scripts" / "exercise_tinker.py"), run_name="__main__")
    out = capsys.readouterr().out
    losses = [float(line.rpartition(" ")[2]) for line in out.splitlines() if line.startswith("Epoch ")]
    assert losses[-1] < losses[0] / 3
    assert out.index("Base model: ") < out.index("Epoch 1/12") < out.index("Tuned model tinker://")
    (state,) = re.findall(r"tinker checkpoint download (tinker://\S+/weights/exercise)", out)
    monkeypatch.chdir(tmp_path)
    downloaded = CliRunner().invoke(main_cli, ["checkpoint", "download", state])
    assert downloaded.exit_code == 0, downloaded.output
    (adapter,) = tmp_path.glob("*_weights_exercise")
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == "tiny"
    assert "How many students are enrolled in each department?" in out
