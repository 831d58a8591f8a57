"""Answers in OpenAI's form: choices, log-probabilities, usage."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Literal, TypedDict

from pydantic import BaseModel
from tinker import types

from backends.server.api.openai.requests import ChatRequest, CompletionRequest, CompletionSettings
from backends.server.api.openai.text import Tokenizer
from backends.stop_strings import cut_at_stop

Top = Sequence[Sequence[tuple[int, float]] | None]


class Head(TypedDict):
    """What every answer, and every event of a stream, begins with."""

    id: str
    object: str
    created: int
    model: str


class Usage(TypedDict):
    """How many tokens were read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class TokenLogprob(TypedDict):
    """A token, its log-probability, and its text as UTF-8."""

    token: str
    logprob: float
    bytes: list[int]


class AnswerTokenLogprob(TokenLogprob):
    """A token of an answer, and the most probable ones at its place."""

    top_logprobs: list[TokenLogprob]


class ChatLogprobs(TypedDict):
    """Log-probabilities of an answer's tokens."""

    content: list[AnswerTokenLogprob]
    refusal: None


class TextLogprobs(TypedDict):
    """Log-probabilities in the older form: lists with an entry for each token; None where nothing precedes it."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class Message(TypedDict, total=False):
    """A turn of the model, or, in a stream, what is new of it."""

    role: Literal["assistant"]
    content: str


class ChatChoice(TypedDict):
    """One answer of a conversation."""

    index: int
    message: Message
    logprobs: ChatLogprobs | None
    finish_reason: str


class ChatChunkChoice(TypedDict):
    """What is new of one answer of a conversation; `finish_reason` is given when it is complete."""

    index: int
    delta: Message
    logprobs: ChatLogprobs | None
    finish_reason: str | None


class TextChoice(TypedDict):
    """One continuation of a text, or what is new of it."""

    index: int
    text: str
    logprobs: TextLogprobs | None
    finish_reason: str | None


class ModelEntry(BaseModel):
    """A model that can be asked."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelList(BaseModel):
    """The models that can be asked."""

    object: Literal["list"] = "list"
    data: list[ModelEntry]


def head(kind: str, wanted: CompletionSettings) -> Head:
    """What every answer begins with."""
    return {"id": f"cmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": wanted.model}


def usage(prompts: Sequence[Sequence[int]], responses: Sequence[types.SampleResponse]) -> Usage:
    """How many tokens were read and written."""
    read = sum(map(len, prompts))
    written = sum(len(sequence.tokens) for response in responses for sequence in response.sequences)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def chat_choice(index: int, sequence: types.SampledSequence, wanted: ChatRequest, tokenizer: Tokenizer) -> ChatChoice:
    """One answer of a conversation."""
    text = cut_at_stop(tokenizer.decode(sequence.tokens), wanted.stops)
    return {
        "index": index,
        "message": {"role": "assistant", "content": text},
        "logprobs": chat_logprobs(sequence, wanted, tokenizer),
        "finish_reason": sequence.stop_reason,
    }


def chat_logprobs(sequence: types.SampledSequence, wanted: ChatRequest, tokenizer: Tokenizer) -> ChatLogprobs | None:
    """Log-probabilities of an answer's tokens, with the most probable ones at each place; None if not wanted."""
    if wanted.top is None:
        return None

    def entry(token: int, logprob: float) -> TokenLogprob:
        piece = tokenizer.piece(token)
        return {"token": piece, "logprob": logprob, "bytes": list(piece.encode())}

    top: Top = sequence.topk_logprobs or [None] * len(sequence.tokens)
    content: list[AnswerTokenLogprob] = [
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
) -> TextChoice:
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
) -> TextLogprobs:
    """Log-probabilities in the older form."""
    pieces = [tokenizer.piece(token) for token in tokens]
    offsets = [0]
    for piece in pieces[:-1]:
        offsets.append(offsets[-1] + len(piece))
    return {
        "tokens": pieces,
        "token_logprobs": list(logprobs),
        "top_logprobs": [
            None if candidates is None else {tokenizer.piece(token): logprob for token, logprob in candidates}
            for candidates in top
        ],
        "text_offset": offsets[: len(pieces)],
    }
