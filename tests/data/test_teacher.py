"""Worked answers from a teacher: kept only where they prove right, asked for once, and never lost."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import archives
from tests.support.chat_server import ChatServer, chat_server
from tests.support.tiny_runs import read_jsonl, write_jsonl
from text2sql.chat_client import endpoint
from text2sql.config import Config, EndpointConfig
from text2sql.data import teacher as teacher_module
from text2sql.data.dataset import load_dataset
from text2sql.data.sources import load_examples
from text2sql.data.teacher import make_reasoning
from text2sql.errors import UserError


def teacher(prompt: str) -> str:
    """Derives the gold query that the prompt shows, as a good teacher does."""
    gold = re.search(r"-- Gold SQL Output: (.*)", prompt)
    assert gold
    return f"Let me think.\n1. First try ```sql\nSELECT 1\n```\n2. No.\n\nFinally:\n```sql\n{gold[1]}\n```"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("TEXT2SQL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(endpoint, "BACKOFF_SECONDS", 0.01)
    with chat_server() as state:
        state.reply = teacher
        yield state


@pytest.fixture
def make(server: ChatServer, tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Runs the command on six BIRD questions with databases; returns the rows that were kept."""
    directory = archives.bird(tmp_path / "bird")
    source = {"source": "bird", "path": str(directory)}
    values = {"data": {**source, "test": {**source, "hub_split": "dev"}, "test_size": 2, "max_dropped": 1}}
    config = Config.model_validate({**values, "evaluation": {"workers": 1, "databases": 5}})

    def run(limit: int | None = None, model: str = "teacher", **settings: Any) -> list[dict[str, Any]]:
        endpoint = {"model": model, "base_url": server.url, "api_key_env": None, "max_retries": 2, **settings}
        output = tmp_path / "out" / "reasoning.jsonl"
        make_reasoning(config, EndpointConfig.model_validate(endpoint), output, limit)
        return read_jsonl(output) if output.exists() else []

    return run


def _rejected(tmp_path: Path) -> dict[str, int]:
    path = tmp_path / "out" / "reasoning.rejected.jsonl"
    reasons = [row["reason"].partition(":")[0] for row in read_jsonl(path)] if path.exists() else []
    return {reason: reasons.count(reason) for reason in reasons}


def test_answers_become_rows_to_train_on(make: Any, tmp_path: Path, server: ChatServer) -> None:
    rows = make()
    assert len(rows) == 6 and len(server.seen) == 6
    prompt = server.seen[0]["body"]["messages"][0]["content"]
    assert "-- External Knowledge: deep means a depth over 10" in prompt and "CREATE TABLE vessel" in prompt
    config = Config.model_validate(
        {
            "data": {"source": str(tmp_path / "out" / "reasoning.jsonl"), "test_size": 1},
            "prompt": {"template": "chat-reasoning"},
        }
    )
    dataset = load_dataset(config)
    assert len(dataset.split.train) == 5 and all("```sql" in str(e.reasoning) for e in dataset.split.train)


def test_only_what_proves_right_is_kept(make: Any, tmp_path: Path, server: ChatServer) -> None:
    answers = iter(
        [
            "Reasoning without a query.",
            "```sql\nSELECT 42\n```",  # runs, and is wrong
            "```sql\nSELECT nothing FROM nowhere\n```",
            "```sql\nSELECT quay FROM berth WHERE depth > 10.0\n```",  # another spelling of one gold query
        ]
    )
    server.reply = lambda prompt: next(answers, None) or teacher(prompt)
    rows = make(concurrency=1)
    assert len(rows) + sum(_rejected(tmp_path).values()) == 6
    assert _rejected(tmp_path)["no fenced query"] == 1 and _rejected(tmp_path)["error"] == 1
    assert _rejected(tmp_path)["different"] >= 1


def test_an_answer_that_was_cut_off_is_not_believed(make: Any, tmp_path: Path, server: ChatServer) -> None:
    text = "```sql\nSELECT COUNT(*) FROM berth\n```"
    message = {"role": "assistant", "content": text}
    server.faults = [{"choices": [{"finish_reason": "length", "message": message}]}]
    assert len(make(concurrency=1)) == 5 and _rejected(tmp_path) == {"cut off at max_tokens": 1}


def test_a_second_start_asks_for_nothing_twice(make: Any, server: ChatServer, monkeypatch: Any) -> None:
    monkeypatch.setattr(teacher_module, "CHUNK", 2)
    first = make(limit=3)
    assert len(server.seen) == 3
    assert len(make()) == 6 and len(server.seen) == 6
    assert make()[:3] == first and len(server.seen) == 6


def test_a_killed_start_leaves_half_a_line_that_is_done_again(make: Any, tmp_path: Path, server: ChatServer) -> None:
    whole = make()
    output = tmp_path / "out" / "reasoning.jsonl"
    output.write_bytes(output.read_bytes()[:-30])
    assert make() == whole and len(server.seen) == 6  # the answer itself was kept by the client


def test_rate_limits_are_waited_out(make: Any, server: ChatServer) -> None:
    server.faults = [(429, {"Retry-After": "0.01"}, {"error": {"message": "slow down"}})] * 2
    assert len(make(concurrency=1)) == 6 and len(server.seen) == 8


def test_rubbish_is_asked_again_later_and_stops_nothing(make: Any, server: ChatServer, capsys: Any) -> None:
    server.faults = ["<html>", "not json", "{}"]  # one question and its two retries
    assert len(make(concurrency=1)) == 5
    assert "Without an answer: 1 failed; the same command asks them again." in " ".join(capsys.readouterr().out.split())
    assert len(make(concurrency=1)) == 6


def test_an_endpoint_that_fails_for_good_ends_with_what_was_made(make: Any, server: ChatServer) -> None:
    assert len(make(limit=2)) == 2
    server.faults = [(401, {}, {"error": {"message": "bad key"}})]
    with pytest.raises(UserError, match="refused the key"):
        make()
    assert len(make()) == 6 and len(server.seen) == 7


def test_a_cost_limit_stops_and_goes_on_with_more(make: Any, server: ChatServer, monkeypatch: Any) -> None:
    monkeypatch.setattr(teacher_module, "CHUNK", 4)
    prices = {"input_price": 1000.0, "output_price": 1000.0, "concurrency": 1}  # a request costs 11 cents
    with pytest.raises(UserError, match=r"max_cost: \$0\.22\d* of \$0\.25 are spent and 2 answers kept"):
        make(max_cost=0.25, **prices)
    assert len(make(max_cost=5.0, **prices)) == 6 and len(server.seen) == 6


def test_a_file_of_another_teacher_or_other_data_is_left_alone(make: Any, tmp_path: Path) -> None:
    make()
    with pytest.raises(UserError, match="is teacher's; for another name another --output"):
        make(model="another")
    output = tmp_path / "out" / "reasoning.jsonl"
    rows = read_jsonl(output)
    write_jsonl(output, [{**rows[0], "question": "Another?"}, *rows[1:]])
    with pytest.raises(UserError, match="was made of other data"):
        make()


def test_training_on_reasoning_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "gretel.jsonl", archives.gretel_rows())
    config = {"data": {"source": "gretel", "path": str(path), "test_size": 1}, "prompt": {"template": "chat-reasoning"}}
    with pytest.raises(UserError, match="text2sql data reason"):
        load_dataset(Config.model_validate(config))
    assert load_examples(Config.model_validate(config).data)[0].reasoning is None
