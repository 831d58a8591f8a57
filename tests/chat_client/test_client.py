"""The client of chat endpoints, against a real HTTP server that fails in every way that a test asks for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.chat_server import ChatServer, chat_server
from text2sql.chat_client import Answer, ChatClient, ChatFailure, Completion, endpoint
from text2sql.config import EndpointConfig
from text2sql.errors import UserError

KEY = "sk-of-the-tests-only"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(endpoint, "BACKOFF_SECONDS", 0.01)
    with chat_server() as state:
        yield state


@pytest.fixture
def ask(server: ChatServer, tmp_path: Path) -> Callable[..., tuple[list[Answer], ChatClient]]:
    """Asks questions of the server with some settings; returns the answers and the client."""

    def ask(
        *questions: str, on_result: Any = None, attempt: int = 0, **settings: Any
    ) -> tuple[list[Answer], ChatClient]:
        config = EndpointConfig.model_validate({"base_url": server.url, "model": "m", **settings})
        client = ChatClient(config, tmp_path / "cache")
        conversations = [[{"role": "user", "content": question}] for question in questions]
        return client.complete_all(conversations, on_result, attempt=attempt), client

    return ask


def _texts(answers: list[Answer]) -> list[str]:
    return [answer.text if isinstance(answer, Completion) else f"({answer.kind})" for answer in answers]


def _error(status: int, code: str | None = None, message: str = "no", **headers: str) -> tuple[int, Any, Any]:
    return status, headers, {"error": {"message": message, "type": "t", "code": code}}


def test_answers_come_in_the_order_of_the_questions_with_their_tokens(server: ChatServer, ask: Any) -> None:
    called: dict[int, Answer] = {}
    answers, client = ask(*"abcdefgh", on_result=called.__setitem__, concurrency=3)
    assert _texts(answers) == [f"echo {letter}" for letter in "abcdefgh"]
    assert called == dict(enumerate(answers))
    assert answers[0] == Completion("echo a", "", "stop", 100, 10)
    assert (client.requests, client.prompt_tokens, client.completion_tokens) == (8, 800, 80)
    assert 1 < server.most <= 3
    body = server.seen[0]["body"]
    assert (server.seen[0]["path"], body["model"], body["temperature"]) == ("/v1/chat/completions", "m", 0)
    assert server.seen[0]["headers"]["Authorization"] == f"Bearer {KEY}"


def test_what_was_answered_is_never_asked_again(server: ChatServer, ask: Any) -> None:
    ask("a", "b")
    answers, client = ask("a", "b", "c", input_price=1.0, output_price=1.0)
    assert _texts(answers) == ["echo a", "echo b", "echo c"]
    assert [getattr(answer, "cached", None) for answer in answers] == [True, True, False]
    assert [seen["body"]["messages"][0]["content"] for seen in server.seen] == ["a", "b", "c"]
    assert (client.cached, client.requests, client.spent) == (2, 1, pytest.approx(110e-6))


@pytest.mark.parametrize("change", [{"model": "n"}, {"temperature": 1.0}, {"max_tokens": 9}, {"extra": {"seed": 1}}])
def test_another_request_is_not_answered_from_the_cache(server: ChatServer, ask: Any, change: dict[str, Any]) -> None:
    ask("a")
    ask("a", **change)
    ask("a", attempt=1)
    assert len(server.seen) == 3


def test_further_fields_and_absent_ones(server: ChatServer, ask: Any) -> None:
    ask("a", temperature=None, max_tokens=None, extra={"max_completion_tokens": 7, "reasoning_effort": "low"})
    body = server.seen[0]["body"]
    assert (body["max_completion_tokens"], body["reasoning_effort"]) == (7, "low")
    assert "temperature" not in body and "max_tokens" not in body


@pytest.mark.parametrize("fault", [_error(500), _error(429), _error(503), "<html>gateway</html>", {"choices": []}])
def test_passing_faults_are_retried(server: ChatServer, ask: Any, fault: Any) -> None:
    server.faults = [fault, fault]
    answers, client = ask("a", "b")
    assert _texts(answers) == ["echo a", "echo b"]
    assert (len(server.seen), client.requests) == (4, 2)


def test_a_rate_limit_is_waited_for_as_long_as_it_says(server: ChatServer, ask: Any) -> None:
    server.faults = [_error(429, **{"retry-after": "0.4"})]
    answers, _ = ask("a")
    assert _texts(answers) == ["echo a"]
    assert server.seen[1]["at"] - server.seen[0]["at"] > 0.39


def test_a_lasting_fault_fails_the_question_alone_and_is_asked_again_next_time(server: ChatServer, ask: Any) -> None:
    server.faults = [None, *[_error(500, message="broken")] * 3]
    answers, _ = ask("a", "b", "c", max_retries=2, concurrency=1)
    assert _texts(answers) == ["echo a", "(failed)", "echo c"]
    assert answers[1] == ChatFailure("failed", "HTTP 500: broken")
    assert _texts(ask("b")[0]) == ["echo b"]


def test_a_refused_request_is_not_retried(server: ChatServer, ask: Any) -> None:
    server.faults = [_error(400, message="too long")]
    answers, _ = ask("a", "b")
    assert answers[0] == ChatFailure("refused", "HTTP 400: too long")
    assert _texts(answers)[1] == "echo b"
    assert len(server.seen) == 2


def test_a_hanging_request_is_given_up_and_repeated(server: ChatServer, ask: Any) -> None:
    server.faults = [None, "hang"]
    start = time.monotonic()
    answers, _ = ask("a", "b", timeout=0.3)
    assert _texts(answers) == ["echo a", "echo b"]
    assert time.monotonic() - start < 30


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (_error(401, "invalid_api_key", f"Incorrect API key: {KEY}"), r"refused the key \(from OPENAI_API_KEY\)"),
        (_error(404, "model_not_found", "The model m does not exist"), "has no model m"),
        (_error(429, "insufficient_quota", "You exceeded your quota"), "nothing more can be asked with this key"),
        ("hang", "no answer within 0.3 s"),
    ],
)
def test_what_no_waiting_changes_ends_at_once_after_one_request(
    server: ChatServer, ask: Any, fault: Any, said: str
) -> None:
    server.faults = [fault] * 50
    with pytest.raises(UserError, match=said) as raised:
        ask(*"abcdefgh", timeout=0.3 if fault == "hang" else 60)
    assert len(server.seen) == 1
    assert KEY not in str(raised.value)


def test_a_key_that_expires_in_the_middle_ends_it_and_the_answers_are_kept(server: ChatServer, ask: Any) -> None:
    server.faults = [None, None, _error(401)]
    with pytest.raises(UserError, match="refused the key"):
        ask("a", "b", "c", "d", concurrency=1)
    answers, client = ask("a", "b", "c", "d")
    assert (_texts(answers), client.cached) == (["echo a", "echo b", "echo c", "echo d"], 2)


def test_nothing_listens(ask: Any) -> None:
    start = time.monotonic()
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9/v1: no connection"):
        ask("a", base_url="http://127.0.0.1:9/v1")
    assert time.monotonic() - start < 30


def test_an_endpoint_that_stops_answering_is_given_up(server: ChatServer, ask: Any) -> None:
    server.faults = [None, *[_error(503)] * 100]
    with pytest.raises(UserError, match=r"10 requests one after another.*503.*goes on"):
        ask(*map(str, range(30)), max_retries=0)
    assert len(server.seen) < 30


def test_the_cost_limit_stops_cleanly_and_is_not_passed(server: ChatServer, ask: Any) -> None:
    # A dollar each.
    prices = {"input_price": 10_000.0, "output_price": 0.0}
    answers, client = ask(*"abcdefgh", max_cost=3.5, concurrency=4, **prices)
    assert sorted(_texts(answers)) == ["(cost)"] * 5 + ["echo a", "echo b", "echo c"]
    assert (client.spent, len(server.seen)) == (3.0, 3)
    assert "limit of $3.5" in next(a.reason for a in answers if isinstance(a, ChatFailure))
    assert _texts(ask(*"abcdef", max_cost=3.5, **prices)[0]) == [f"echo {letter}" for letter in "abcdef"]


def test_tokens_are_estimated_where_the_endpoint_reports_none(server: ChatServer, ask: Any) -> None:
    server.usage = False
    (answer,), _ = ask("x" * 400)
    assert isinstance(answer, Completion) and (answer.prompt_tokens, answer.completion_tokens) == (100, 101)


def test_reasoning_is_kept_apart(server: ChatServer, ask: Any) -> None:
    message = {"role": "assistant", "content": None, "reasoning_content": "thinking"}
    server.faults = [{"choices": [{"finish_reason": "length", "message": message}]}]
    (answer,), _ = ask("a")
    assert isinstance(answer, Completion)
    assert (answer.text, answer.reasoning, answer.finish_reason) == ("", "thinking", "length")


def test_a_damaged_cache_file_is_asked_again(server: ChatServer, ask: Any, tmp_path: Path) -> None:
    ask("a")
    (file,) = (tmp_path / "cache").glob("*/*.json")
    file.write_text("{")
    assert _texts(ask("a")[0]) == ["echo a"]
    assert len(server.seen) == 2


def test_the_key_is_neither_stored_nor_needed_where_there_is_none(
    server: ChatServer, ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask("a")
    assert all(KEY not in file.read_text() for file in (tmp_path / "cache").rglob("*.json"))
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(UserError, match="environment variable OPENAI_API_KEY, or set api_key_env to null"):
        ask("b")
    assert _texts(ask("b", api_key_env=None)[0]) == ["echo b"]


def test_nothing_to_ask(server: ChatServer, ask: Any) -> None:
    assert ask()[0] == []
    assert not server.seen


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_cost": 1.0}, "needs input_price and output_price"),
        ({"input_price": 1.0}, "belong together"),
        ({"base_url": "localhost:8000"}, "must be an address"),
        ({"base_url": "https://user:secret@host/v1"}, "must hold no password"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        EndpointConfig.model_validate({"model": "m", **settings})
