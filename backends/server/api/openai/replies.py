"""Answers in OpenAI's form: choices, log-probabilities, usage."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any

from tinker import types

from backends.server.api.openai.requests import ChatRequest, CompletionRequest, CompletionSettings
from backends.server.api.openai.text import Tokenizer
from backends.stop_strings import cut_at_stop

Top = Sequence[Sequence[tuple[int, float]] | None]


def head(kind: str, wanted: CompletionSettings) -> dict[str, Any]:
    """What every answer begins with."""
    return {"id": f"cmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": wanted.model}


def usage(prompts: Sequence[Sequence[int]], responses: Sequence[types.SampleResponse]) -> dict[str, int]:
    """How many tokens were read and written."""
    read = sum(map(len, prompts))
    written = sum(len(sequence.tokens) for response in responses for sequence in response.sequences)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def chat_choice(
    index: int, sequence: types.SampledSequence, wanted: ChatRequest, tokenizer: Tokenizer
) -> dict[str, Any]:
    """One answer of a conversation."""
    text = cut_at_stop(tokenizer.decode(sequence.tokens), wanted.stops)
    return {
        "index": index,
        "message": {"role": "assistant", "content": text},
        "logprobs": chat_logprobs(sequence, wanted, tokenizer),
        "finish_reason": sequence.stop_reason,
    }


def chat_logprobs(sequence: types.SampledSequence, wanted: ChatRequest, tokenizer: Tokenizer) -> dict[str, Any] | None:
    """Log-probabilities of an answer's tokens, with the most probable ones at each place; None if not wanted."""
    if wanted.top is None:
        return None

    def entry(token: int, logprob: float) -> dict[str, Any]:
        piece = tokenizer.piece(token)
        return {"token": piece, "logprob": logprob, "bytes": list(piece.encode())}

    top: Top = sequence.topk_logprobs or [None] * len(sequence.tokens)
    content = [
        {**entry(token, logprob), "top_logprobs": [entry(*candidate) for candidate in candidates or ()]}
        for token, logprob, candidates in zip(sequence.tokens, sequence.logprobs or [], top, strict=True)
    ]
    return {"content": content, "refusal": None}


def text_choice(
    index: int,
    sequence: types.SampledSequence,
    prompt: list[int],
    prompt_text: str,
    response: types.SampleResponse,
    wanted: CompletionRequest,
    tokenizer: Tokenizer,
) -> dict[str, Any]:
    """One continuation of a text, behind the text itself if `echo` asks for it."""
    text = cut_at_stop(tokenizer.decode(sequence.tokens), wanted.stops)
    echoed = prompt if wanted.echo else []
    logprobs = None
    if wanted.top is not None:
        of_prompt = list(response.prompt_logprobs or []) if wanted.echo else []
        top_of_prompt: Top = (response.topk_prompt_logprobs or [None] * len(prompt)) if wanted.echo else []
        top: Top = sequence.topk_logprobs or [None] * len(sequence.tokens)
        logprobs = text_logprobs(
            [*echoed, *sequence.tokens],
            [*of_prompt, *(sequence.logprobs or [])],
            [*top_of_prompt, *top],
            tokenizer,
        )
    return {
        "index": index,
        "text": prompt_text + text if wanted.echo else text,
        "logprobs": logprobs,
        "finish_reason": sequence.stop_reason,
    }


def text_logprobs(
    tokens: Sequence[int], logprobs: Sequence[float | None], top: Top, tokenizer: Tokenizer
) -> dict[str, Any]:
    """Log-probabilities in the older form: four lists with an entry for each token; None where nothing precedes it."""
    pieces = [tokenizer.piece(token) for token in tokens]
    offsets = [0]
    for piece in pieces[:-1]:
        offsets.append(offsets[-1] + len(piece))
    return {
        "tokens": pieces,
        "token_logprobs": list(logprobs),
        "top_logprobs": [c and {tokenizer.piece(token): logprob for token, logprob in c} for c in top],
        "text_offset": offsets[: len(pieces)],
    }
