"""What a run keeps to wherever it goes on, and what is said where its backend fails."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import tinker
from tinker.types import RequestErrorCategory

from backends.interface import BackendError
from text2sql.config import Config
from text2sql.runs.directory import RunDirectory
from text2sql.runs.session import TransientBackendError, open_service, pin_matmul_dtype
from text2sql.runs.summary import ENVIRONMENT, Environment


@pytest.mark.parametrize(
    ("asked", "recorded", "used"),
    [
        ("auto", {"matmul": "bfloat16"}, "bfloat16"),
        ("auto", {"matmul": "float32"}, "float32"),
        # Of a run from before the key, and of one that has not begun.
        ("auto", {}, "auto"),
        ("auto", None, "auto"),
        ("float32", {"matmul": "bfloat16"}, "float32"),
    ],
)
def test_automatic_arithmetic_is_settled_when_a_run_begins(
    tmp_path: Path, asked: str, recorded: dict[str, str] | None, used: str
) -> None:
    run = RunDirectory(tmp_path)
    if recorded is not None:
        run.write_json(ENVIRONMENT, Environment.model_validate(recorded))
    config = Config.model_validate({"data": {"source": "bundled"}, "local": {"matmul": asked, "lora_alpha": 8}})
    local = pin_matmul_dtype(config, run).local
    assert (local.matmul, local.lora_alpha) == (used, 8)


def _answered(status: int) -> tinker.APIStatusError:
    response = httpx.Response(status, request=httpx.Request("POST", "http://127.0.0.1"))
    return tinker.APIStatusError("said so", response=response, body=None)


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (_answered(503), True),
        (_answered(429), True),
        (_answered(400), False),
        (_answered(402), False),
        (tinker.RequestFailedError("gone", "step", RequestErrorCategory.Server), True),
        (tinker.RequestFailedError("too long", "step", RequestErrorCategory.User), False),
        (tinker.APIConnectionError(request=httpx.Request("POST", "http://127.0.0.1")), True),
    ],
)
def test_a_failure_that_may_pass_is_told_from_one_that_stays(error: Exception, passes: bool) -> None:
    config = Config.model_validate({"data": {"source": "bundled"}, "backend": "fake"})
    with pytest.raises(BackendError) as raised, open_service(config):
        raise error
    assert isinstance(raised.value, TransientBackendError) == passes
