"""Answers as they come: server-sent events in OpenAI's form."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

from fastapi import Response
from fastapi.responses import StreamingResponse
from tinker import types

from backends.server.api.openai.replies import (
    ChatChunkChoice,
    Message,
    TextChoice,
    Usage,
    chat_logprobs,
    head,
    text_logprobs,
    usage,
)
from backends.server.api.openai.requests import ChatRequest, CompletionRequest, CompletionSettings
from backends.server.api.openai.target import Target
from backends.server.api.openai.text import IncrementalText, Tokenizer
from backends.server.errors import ApiError
from backends.server.futures import PendingRequest
from backends.stop_strings import cut_at_stop


def stream(
    target: Target, prompts: Sequence[list[int]], wanted: CompletionRequest | ChatRequest, params: types.SamplingParams
) -> Response:
    """Stream `n` answers to each prompt, token by token; with log-probabilities, each answer when it is complete.

    With a seed, answer `k` to a prompt is sampled with the seed plus `k`.

    Raises:
        Busy: The queue is full; nothing has been sent then.
    """
    answers = _Answers(target, wanted)
    try:
        for prompt in prompts:
            for number in range(wanted.n):
                seed = None if params.seed is None else params.seed + number
                answers.begin(prompt, params.model_copy(update={"seed": seed}))
    except BaseException:
        answers.give_up()
        raise
    return StreamingResponse(answers.events(prompts), media_type="text/event-stream")


class _Answers:
    """The answers of one stream, under way."""

    def __init__(self, target: Target, wanted: CompletionRequest | ChatRequest) -> None:
        self._target = target
        self._wanted = wanted
        self._chat = isinstance(wanted, ChatRequest)
        self._head = head("chat.completion.chunk" if self._chat else "text_completion", wanted)
        self._loop = asyncio.get_running_loop()
        # Which answer has a new token; None when it is complete.
        self._news: asyncio.Queue[tuple[int, int | None]] = asyncio.Queue()
        self._requests: list[PendingRequest] = []
        self._texts: list[_SentText] = []

    def begin(self, prompt: list[int], params: types.SamplingParams) -> None:
        """Queue one answer (Busy if the queue is full)."""
        index = len(self._requests)

        def on_token(token: int | None) -> None:
            self._loop.call_soon_threadsafe(self._news.put_nowait, (index, token))

        live = self._wanted.top is None
        pending = self._target.submit(prompt, 1, params, on_token=on_token if live else None, top=self._wanted.top)
        pending.future.add_done_callback(lambda _: on_token(None))
        self._requests.append(pending)
        self._texts.append(_SentText(self._target.tokenizer, self._wanted))

    def give_up(self) -> None:
        """End what is still being sampled."""
        self._target.give_up(self._requests)

    async def events(self, prompts: Sequence[list[int]]) -> AsyncIterator[str]:
        """The events; whoever stops listening ends the sampling."""
        responses: list[types.SampleResponse] = []
        try:
            if self._chat:
                for index in range(len(self._requests)):
                    yield self._event([self._choice(index, {"role": "assistant", "content": ""})])
            while len(responses) < len(self._requests):
                index, token = await self._news.get()
                if token is not None:
                    if text := self._texts[index].read(token):
                        yield self._event([self._choice(index, {"content": text})])
                    continue
                response = self._target.read(self._requests[index].future.result())
                responses.append(response)
                # With log-probabilities it is long.
                last = await asyncio.to_thread(self._last_choice, index, response.sequences[0])
                yield self._event([last])
            if self._wanted.stream_options.include_usage:
                repeated = [prompt for prompt in prompts for _ in range(self._wanted.n)]
                yield self._event([], usage(repeated, responses))
        except ApiError as error:
            yield f"data: {json.dumps({'error': {'message': error.detail}})}\n\n"
        finally:
            self.give_up()
        yield "data: [DONE]\n\n"

    def _choice(self, index: int, delta: Message) -> ChatChunkChoice | TextChoice:
        if self._chat:
            return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
        return {"index": index, "text": delta["content"], "logprobs": None, "finish_reason": None}

    def _last_choice(self, index: int, sequence: types.SampledSequence) -> ChatChunkChoice | TextChoice:
        tokenizer, wanted = self._target.tokenizer, self._wanted
        rest, reason = self._texts[index].rest(sequence.tokens), sequence.stop_reason
        if isinstance(wanted, ChatRequest):
            of_chat = chat_logprobs(sequence, wanted, tokenizer)
            return {"index": index, "delta": {"content": rest}, "logprobs": of_chat, "finish_reason": reason}
        logprobs = None
        if wanted.top is not None:
            top = sequence.topk_logprobs or [None] * len(sequence.tokens)
            logprobs = text_logprobs(sequence.tokens, sequence.logprobs or [], top, tokenizer)
        return {"index": index, "text": rest, "logprobs": logprobs, "finish_reason": reason}

    def _event(self, choices: Sequence[ChatChunkChoice | TextChoice], used: Usage | None = None) -> str:
        """One event; a stream that reports its usage has the key in every event, null but in the last."""
        reported = {"usage": used} if self._wanted.stream_options.include_usage else {}
        return f"data: {json.dumps({**self._head, 'choices': choices, **reported})}\n\n"


class _SentText:
    """How much of one answer's text has been sent.

    What may be the beginning of a stop string, or of a character, is held back until that is known.
    """

    def __init__(self, tokenizer: Tokenizer, wanted: CompletionSettings) -> None:
        self._tokenizer = tokenizer
        self._text = IncrementalText(tokenizer)
        self._stops = wanted.stops
        self._held_back = max((len(stop) - 1 for stop in self._stops), default=0)
        self._sent = 0

    def read(self, token: int) -> str:
        """What can be sent after this token."""
        text = cut_at_stop(self._text.read(token), self._stops)
        end = max(self._sent, len(text) - self._held_back)
        piece, self._sent = text[self._sent : end], end
        return piece

    def rest(self, tokens: list[int]) -> str:
        """What is left to be sent of an answer of these tokens."""
        return cut_at_stop(self._tokenizer.decode(tokens), self._stops)[self._sent :]
