"""What holds the event loop is measured, and named."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backends.server.api.loop_watch import HELD_SECONDS, LoopWatch
from tests.support.repository import REPOSITORY


def hold() -> None:
    time.sleep(5 * HELD_SECONDS)


@pytest.mark.parametrize("holding", [True, False])
def test_what_holds_the_loop_is_named(holding: bool, caplog: pytest.LogCaptureFixture) -> None:
    lags: list[float] = []

    async def work() -> None:
        watch = asyncio.create_task(LoopWatch(lags.append).run())
        await asyncio.sleep(0.3)
        if holding:
            hold()
        else:
            await asyncio.to_thread(hold)
        await asyncio.sleep(0.3)
        watch.cancel()

    with caplog.at_level(logging.WARNING):
        asyncio.run(work())
    said = [record.getMessage() for record in caplog.records if "was held" in record.getMessage()]
    if holding:
        assert max(lags) > 4 * HELD_SECONDS
        # Where this thread was late too, nothing is said.
        assert all("hold (" in line and "test_loop_watch.py" in line for line in said) and len(said) <= 1
    else:
        assert said == []


FIRST_REQUESTS = """
import sys
from pathlib import Path
from tinker import types
from backends.options import LocalOptions
from backends.server.residency import Residency
from backends.server.settings import ServerSettings
from tests.support.datums import random_datums

model, data = sys.argv[1:]
settings = ServerSettings(base_models={"tiny": model}, data=Path(data), local=LocalOptions(device="cpu"))
residency = Residency(settings)
residency.load()
loaded = set(sys.modules)
residency.create("s:train:0", "tiny", rank=2, seed=1)
client = residency.model("s:train:0")
client.forward_backward(random_datums(2, 600), "cross_entropy").result()
client.optim_step(types.AdamParams(learning_rate=1e-2)).result()
client.save_state("state").result()
sampler = residency.sampler("tiny", client.save_weights_for_sampler("weights").result().path)
sampler.sample(types.ModelInput.from_ints([1, 2]), 1, types.SamplingParams(max_tokens=3)).result()
print(sorted(set(sys.modules) - loaded))
"""


@pytest.mark.slow
def test_the_first_requests_import_nothing(tiny_model: str, tmp_path: Path) -> None:
    """An import holds the interpreter, and with it the event loop."""
    done = subprocess.run(
        [sys.executable, "-c", FIRST_REQUESTS, tiny_model, tmp_path],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
