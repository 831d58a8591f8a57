"""A teacher and a judge that this project's own server serves, behind a gateway that fails in every way.

The teacher is real: an adapter trained through the server, which knows the answers to a few questions by heart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tinker import types

from tests.support import archives
from tests.support.chat_server import ChatServer, chat_server
from tests.support.running import KEY, Running
from tests.support.tiny_runs import read_jsonl
from text2sql.chat_client import client as chat_client
from text2sql.chat_client import endpoint
from text2sql.config import Config, EndpointConfig
from text2sql.data import teacher
from text2sql.data.dataset import load_dataset
from text2sql.data.teacher import make_reasoning
from text2sql.errors import UserError
from text2sql.evaluation import Verdict
from text2sql.evaluation.llm_judge import JudgeCase, judge_messages
from text2sql.evaluation.score import ask_judge

pytestmark = pytest.mark.slow  # the teacher is trained first
ASKED = 3  # questions of the teacher
OPINION = '{"correct": true, "error_type": "none", "reason": "It counts."}'
FAULTS = [
    (429, {"Retry-After": "0.01"}, {"error": {"message": "slow down"}}),
    (500, {}, {"error": {"message": "out of memory"}}),
    '{"choices": [{"message": {"content": "```sql\\nSELE',  # cut in the middle of its body
    "<html>502 Bad Gateway</html>",
    "hang",
]
CASES = [
    JudgeCase(
        question=f"How many berths at quay {i}?",
        schema="CREATE TABLE berth (quay TEXT)",
        gold=f"SELECT COUNT(*) FROM berth WHERE quay = '{i}'",
        predicted="SELECT COUNT(*) FROM berth",
    )
    for i in range(2)
]
VERDICTS = [Verdict("different", "")] * 2


def config(directory: Path) -> Config:
    """Six questions of BIRD with their database."""
    source = {"source": "bird", "path": str(directory)}
    values = {"data": {**source, "test": {**source, "hub_split": "dev"}, "test_size": 2, "max_dropped": 1}}
    return Config.model_validate({**values, "evaluation": {"workers": 1, "databases": 5}})


@pytest.fixture(scope="module")
def bird(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return archives.bird(tmp_path_factory.mktemp("bird"))


def lessons(bird: Path) -> list[tuple[list[dict[str, str]], str]]:
    """What the teacher is to say (the gold queries, and a wrong one for the first question), and the judge."""
    split = load_dataset(config(bird)).split
    examples = [*split.train, *split.validation][:ASKED]
    said = ["SELECT 42", *(example.answer for example in examples[1:])]
    taught = [(teacher._conversation(e), f"So:\n```sql\n{sql}\n```") for e, sql in zip(examples, said, strict=True)]
    asked = [judge_messages(*case) for case in CASES]
    return [*taught, *((messages, OPINION) for messages in asked)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def running(data: Path, tiny_chat_model: str) -> Iterator[list[Running]]:
    """The server, the newest last."""
    servers = [Running(data, {"tiny": tiny_chat_model})]
    yield servers
    servers[-1].stop()


@pytest.fixture(scope="module")
def model(running: list[Running], bird: Path) -> str:
    """A checkpoint that knows the lessons by heart."""
    service = running[-1].client()
    client = service.create_lora_training_client("tiny", rank=32, seed=1).result()
    tokenizer = running[-1].state.residency.loaded("tiny").tokenizer
    batch = []
    for messages, answer in lessons(bird):
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
        ids = np.asarray([*prompt, *tokenizer(f"{answer}<eos>", add_special_tokens=False)["input_ids"]])
        weights = np.zeros(len(ids) - 1, dtype=np.float32)
        weights[len(prompt) - 1 :] = 1.0
        inputs = {
            "target_tokens": types.TensorData.from_numpy(ids[1:]),
            "weights": types.TensorData.from_numpy(weights),
        }
        batch.append(types.Datum(model_input=types.ModelInput.from_ints(ids[:-1].tolist()), loss_fn_inputs=inputs))
    loss = float("inf")
    for _ in range(200):
        learnt = client.forward_backward(batch, "cross_entropy")
        client.optim_step(types.AdamParams(learning_rate=1e-2)).result()
        loss = learnt.result().metrics["loss:sum"]
        if loss < 0.5:
            break
    path: str = client.save_weights_for_sampler("teacher").result().path
    service.close("success").result()
    return path


@pytest.fixture
def gateway(running: list[Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("TEXT2SQL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OWN_KEY", KEY)
    monkeypatch.setattr(endpoint, "BACKOFF_SECONDS", 0.01)
    with chat_server() as state:
        state.upstream = f"{running[-1].url}/v1"
        yield state


@pytest.fixture
def settings(gateway: ChatServer, model: str) -> EndpointConfig:
    values = {"model": model, "base_url": gateway.url, "api_key_env": "OWN_KEY", "max_tokens": 90, "timeout": 2.0}
    prices = {"input_price": 0.5, "output_price": 1.0}
    return EndpointConfig.model_validate({**values, **prices, "max_retries": 5, "concurrency": 2})


@pytest.fixture
def reason(bird: Path, tmp_path: Path, settings: EndpointConfig) -> Callable[[], tuple[int, int]]:
    """Runs the command; how many answers were kept and rejected."""

    def run() -> tuple[int, int]:
        output = tmp_path / "reasoning.jsonl"
        make_reasoning(config(bird), settings, output, ASKED)
        files = (output, tmp_path / "reasoning.rejected.jsonl")
        return tuple(len(read_jsonl(file)) if file.exists() else 0 for file in files)  # type: ignore[return-value]

    return run


def test_a_teacher_is_asked_through_every_failure_and_paid_once(reason: Any, gateway: ChatServer) -> None:
    gateway.faults = list(FAULTS)
    assert reason() == (2, 1)
    assert gateway.answered == ASKED and len(gateway.seen) == ASKED + len(FAULTS)
    assert reason() == (2, 1) and gateway.answered == ASKED  # a second start pays for nothing


def test_a_server_that_dies_in_the_middle_loses_nothing(
    reason: Any, gateway: ChatServer, running: list[Running], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_client, "MAX_CONSECUTIVE_FAILURES", 2)
    forward = ChatServer._forward

    def dying(self: ChatServer, *asked: Any) -> Any:
        if self.answered >= 1 and running[-1]._thread.is_alive():
            running[-1].stop()
        return forward(self, *asked)

    monkeypatch.setattr(ChatServer, "_forward", dying)
    with pytest.raises(UserError, match=r"failed on 2 requests one after another.*HTTP 502"):
        reason()
    assert 1 <= gateway.answered < ASKED
    monkeypatch.setattr(ChatServer, "_forward", forward)
    running.append(Running(data, dict(running[0].settings.base_models)))
    gateway.upstream = f"{running[-1].url}/v1"
    assert reason() == (2, 1) and gateway.answered == ASKED


def test_a_judge_is_asked_through_every_failure(gateway: ChatServer, settings: EndpointConfig) -> None:
    gateway.faults = list(FAULTS)
    opinions, summary = ask_judge(CASES, VERDICTS, "Judge", settings)
    assert [opinion.status for opinion in opinions] == ["judged"] * 2
    assert (summary.correct, summary.judged, summary.requests) == (2, 2, 2) and summary.cost and summary.cost > 0
    assert summary.agreement.judge_only == 2  # execution says otherwise
    _, again = ask_judge(CASES, VERDICTS, "Judge", settings)
    assert (again.requests, again.cached, gateway.answered) == (0, 2, 2)


def test_a_judge_that_writes_rubbish_is_counted(gateway: ChatServer, settings: EndpointConfig) -> None:
    untrained = settings.model_copy(update={"model": "tiny", "max_tokens": 20})
    opinions, summary = ask_judge(CASES, VERDICTS, "Judge", untrained)
    assert (summary.malformed, summary.judged) == (2, 0) and gateway.answered == 6  # asked three times each
    assert all(opinion.correct is None for opinion in opinions)
    gateway.faults = [None, None, *[(400, {}, {"error": {"message": "the conversation is too long"}})] * 2]
    _, summary = ask_judge(CASES, VERDICTS, "Judge", untrained.model_copy(update={"max_tokens": 19}))
    assert (summary.malformed, summary.unanswered) == (2, 0)  # they were answered once, with rubbish
