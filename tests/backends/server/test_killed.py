"""A server in another process, killed without warning."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tinker
from tinker import types

from tests.support.datums import random_datums
from tests.support.running import start_process

DATA = random_datums(4, 600)
REPOSITORY = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.slow


def test_a_kill_loses_nothing_that_was_acknowledged(tiny_model: str, tmp_path: Path) -> None:
    port = 8700 + os.getpid() % 200
    url = f"http://127.0.0.1:{port}"
    server = start_process(tiny_model, tmp_path / "data", port)
    second = None
    try:
        service = tinker.ServiceClient(base_url=url, api_key="tml-test-key")
        client = service.create_lora_training_client("tiny", rank=2, seed=1).result()
        client.forward_backward(DATA, "cross_entropy")
        client.optim_step(types.AdamParams(learning_rate=1e-2)).result()
        path = client.save_state("kept").result().path
        expected = client.forward(DATA, "cross_entropy").result().metrics["loss:sum"]
        sampler = client.save_weights_and_get_sampling_client().result()
        tokens = types.ModelInput.from_ints([1, 2, 3])
        scored = sampler.compute_logprobs(tokens).result()
        pending = [client.forward_backward(random_datums(400, 600), "cross_entropy") for _ in range(3)]
        time.sleep(0.3)
        server.send_signal(signal.SIGKILL)
        server.wait()
        second = start_process(tiny_model, tmp_path / "data", port)
        for future in pending:
            with pytest.raises((tinker.TinkerError, Exception), match=r"restarted|no longer in memory"):
                future.result(timeout=90)
        assert sampler.compute_logprobs(tokens).result() == scored  # the same client, after the restart
        again = tinker.ServiceClient(base_url=url, api_key="tml-test-key")
        resumed = again.create_training_client_from_state_with_optimizer(path).result()
        assert resumed.forward(DATA, "cross_entropy").result().metrics["loss:sum"] == expected
        taken = subprocess.run(
            [sys.executable, "-m", "text2sql", "serve", "--base-model", tiny_model, "--port", str(port)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
        )
        assert taken.returncode == 2 and "choose another --port" in taken.stderr
        for client_of in (service, again):
            client_of.close("success").result()
    finally:
        for process in (server, second):
            if process is not None:
                process.kill()


def test_soak(tiny_model: str, tmp_path: Path) -> None:
    """A short one of `scripts/load_server.py`, with every kind of fault that this machine allows."""
    command: list[Any] = [sys.executable, REPOSITORY / "scripts" / "load_server.py", "--model", tiny_model]
    command += ["--seconds", "150", "--clients", "4", "--kill-every", "50", "--quiet", "60", "--keep", tmp_path]
    command += ["--port", str(8900 + os.getpid() % 90)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=580)
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    assert report["lost checkpoints"] == [] and report["models with other bits"] == [] and report["wrong"] == 0
    files = report["records and files"]
    assert not (files["files without a record"] or files["records without files"] or files["other sizes"])
    assert report["clients"]["saved"] > 0 and report["clients"]["resumed"] > 0
    assert report["log"]["tracebacks"] == 0 and done.returncode == 0
