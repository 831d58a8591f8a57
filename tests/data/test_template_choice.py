"""Why `plain` is the better default: what the base model itself thinks of the two templates."""

from __future__ import annotations

from typing import Any

import pytest
from tinker import types

from text2sql.data import prompts
from text2sql.data.bundled import load_bundled

EXAMPLES = load_bundled("test")[:60]


@pytest.mark.slow
def test_the_answer_is_likelier_without_the_trailing_space(record_property: Any) -> None:
    """Mean negative log-likelihood, in nats, of the whole completion (the same text, but for the prompt's space)."""
    from backends import open_backend

    service = open_backend("local")
    client = service.create_sampling_client(base_model="smollm2-135m-instruct").result()
    nats = {}
    for template in ("plain", "exercise"):
        tokens = prompts.tokenize(EXAMPLES, client.get_tokenizer(), template)
        sequences = [types.ModelInput.from_ints([*t.prompt.tolist(), *t.completion.tolist()]) for t in tokens]
        futures = [client.compute_logprobs(sequence) for sequence in sequences]
        logprobs = [f.result()[len(t.prompt) :] for f, t in zip(futures, tokens, strict=True)]
        nats[template] = -sum(map(sum, logprobs)) / len(EXAMPLES)  # type: ignore[arg-type]
    service.close()
    record_property("nats", nats)
    print(nats)
    assert nats["plain"] < nats["exercise"] - 1
