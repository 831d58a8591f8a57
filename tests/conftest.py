"""What all tests share: a tiny random Llama with a real tokenizer, and the way to the shared data."""

from __future__ import annotations

import asyncio
import copy
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

os.environ.setdefault("TINKER_TELEMETRY", "0")
# How long an example takes is the machine's affair.
hypothesis.settings.register_profile(
    "untimed",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
)
hypothesis.settings.load_profile("untimed")

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def no_prices_of_today(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests know the dated list of prices, and do not ask the service for another."""
    monkeypatch.setattr("backends.planning.prices.PUBLISHED_URL", "http://127.0.0.1:9/models.json")


@pytest.fixture(autouse=True)
def no_session_stays_open() -> Iterator[None]:
    """What a test opens with the SDK, it closes: a heartbeat that goes on would speak in the tests after it."""
    yield
    deadline = time.monotonic() + 5
    while beating := _heartbeats():
        assert time.monotonic() < deadline, f"{beating} sessions of the SDK were left open"
        time.sleep(0.01)


def _heartbeats() -> int:
    holders = sys.modules.get("tinker.lib.internal_client_holder")
    loop = holders._internal_client_holder_thread_singleton._loop if holders else None
    tasks = asyncio.all_tasks(loop) if loop else ()
    return sum(task.get_coro().__qualname__.endswith("._session_heartbeat") for task in tasks)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The directory of real data; tests that need it skip where it is absent."""
    directory = Path(os.environ.get("TEXT2SQL_DATA") or REPOSITORY.parent / "shared" / "data")
    if not directory.is_dir():
        pytest.skip(f"no shared data in {directory}; set TEXT2SQL_DATA")
    return directory


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Any:
    """A byte-level BPE tokenizer of 600 tokens, trained on the bundled questions."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    from text2sql.data.sources.bundled import load_bundled

    texts = [f"Table schema:\n{e.context}\nQuestion: {e.question}\nSQL: {e.answer}\n\n" for e in load_bundled()[:200]]
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts, vocab_size=600, special_tokens=["<eos>"], show_progress=False)
    return PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token="<eos>", pad_token="<eos>")


@pytest.fixture(scope="session")
def tiny_chat_tokenizer(tiny_tokenizer: Any) -> Any:
    """The tiny tokenizer with marks of turns and a chat template that uses them."""
    from transformers import PreTrainedTokenizerFast

    core = type(tiny_tokenizer.backend_tokenizer).from_str(tiny_tokenizer.backend_tokenizer.to_str())
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<eos>",
        eos_token="<eos>",
        pad_token="<eos>",
        extra_special_tokens=["<turn>", "<end>"],
    )
    tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}<turn>{{ m.role }}\n{{ m.content }}<end>\n{% endfor %}"
        "{% if add_generation_prompt %}<turn>assistant\n{% endif %}"
    )
    return tokenizer


@pytest.fixture(scope="session")
def make_tiny_model(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Any) -> Callable[..., Path]:
    """Writes tiny random Llamas, one for each set of keyword arguments; returns their directories."""
    made: dict[tuple[Any, ...], Path] = {}

    def make(*, tied: bool = True, seed: int = 0) -> Path:
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        if (tied, seed) not in made:
            directory = tmp_path_factory.mktemp("tiny-llama")
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                model = LlamaForCausalLM(
                    LlamaConfig(
                        vocab_size=len(tiny_tokenizer),
                        hidden_size=64,
                        intermediate_size=128,
                        num_hidden_layers=2,
                        num_attention_heads=4,
                        num_key_value_heads=2,
                        max_position_embeddings=512,
                        tie_word_embeddings=tied,
                        # Sharper than usual, so that greedy choices are not ties.
                        initializer_range=0.2,
                        eos_token_id=tiny_tokenizer.eos_token_id,
                        bos_token_id=None,
                    )
                )
            model.save_pretrained(directory)
            tiny_tokenizer.save_pretrained(directory)
            made[(tied, seed)] = directory
        return made[(tied, seed)]

    return make


@pytest.fixture(scope="session")
def tiny_model(make_tiny_model: Callable[..., Path]) -> str:
    """Directory of the tiny tied Llama."""
    return str(make_tiny_model())


@pytest.fixture(scope="session")
def tiny_chat_model(make_tiny_model: Callable[..., Path], tiny_chat_tokenizer: Any, tmp_path_factory: Any) -> str:
    """The tiny Llama with the marks of turns in its vocabulary."""
    from transformers import AutoModelForCausalLM

    directory = tmp_path_factory.mktemp("tiny-chat")
    model = AutoModelForCausalLM.from_pretrained(make_tiny_model())
    model.resize_token_embeddings(len(tiny_chat_tokenizer))
    model.config.max_position_embeddings = 1024
    model.save_pretrained(directory)
    tiny_chat_tokenizer.save_pretrained(directory)
    return str(directory)


# Qwen's, shortened to what is asked of it here.
THINKING = (
    "{%- for m in messages %}{{ '<turn>' + m.role + '\\n' }}"
    "{%- if m.role == 'assistant' %}{{ '<think>\\n' + (m.reasoning_content or '') + '\\n</think>\\n\\n' }}{% endif %}"
    "{{- m.content + '<end>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<turn>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
    "{%- endif %}"
)


@pytest.fixture(scope="session")
def thinking_model(tiny_chat_model: str, tiny_chat_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tiny chat model with marks of thinking."""
    from transformers import AutoModelForCausalLM

    directory = tmp_path_factory.mktemp("thinking")
    tokenizer = copy.deepcopy(tiny_chat_tokenizer)
    tokenizer.chat_template = THINKING
    tokenizer.add_tokens(["<think>", "</think>"])
    model = AutoModelForCausalLM.from_pretrained(tiny_chat_model)
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return str(directory)


@pytest.fixture
def open_local(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens local backends with given options; closes them after the test. Checkpoints go into the test's directory.

    They compute on ``$TEXT2SQL_TEST_DEVICE``: the CPU, unless `scripts/gpu_check.sh` says otherwise.
    """
    from backends import open_backend
    from backends.options import LocalOptions

    services, device = [], os.environ.get("TEXT2SQL_TEST_DEVICE", "cpu")

    def open_(**options: Any) -> Any:
        chosen = LocalOptions(**{"device": device, "dtype": "float32", **options})
        service = open_backend("local", chosen, checkpoints=tmp_path / "checkpoints")
        services.append(service)
        return service

    yield open_
    for service in services:
        service.close()
