"""OpenAI's completions, for ordinary clients: `model` is a base model or the path of a checkpoint."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import itertools
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from tinker import types
from tinker.proto.response_conv import deserialize_sample_response

from backends.checkpoint_paths import SCHEME
from backends.interface import cut_at_stop
from backends.server.api.request import owner_of, parse, state_of
from backends.server.errors import ApiError
from backends.server.futures import Failure
from backends.server.queues import SamplerQueue
from backends.server.state import ServerState

router = APIRouter(prefix="/v1")
_numbers = itertools.count()


class Settings(BaseModel):
    """What both kinds of completion have; other fields of OpenAI's are accepted and have no effect."""

    model_config = ConfigDict(extra="ignore")

    model: str
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float = Field(1.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    n: int = Field(1, ge=1)
    stop: str | list[str] | None = None
    seed: int | None = None
    stream: bool = False


class CompletionRequest(Settings):
    """``POST /v1/completions``."""

    prompt: str | list[int] | list[str] | list[list[int]]
    logprobs: int | None = None


class Message(BaseModel):
    """One turn of a conversation."""

    role: str
    content: str


class ChatRequest(Settings):
    """``POST /v1/chat/completions``."""

    messages: list[Message] = Field(min_length=1)


@dataclass
class Target:
    """What a request samples from."""

    state: ServerState
    owner: str
    queue: SamplerQueue
    tokenizer: Any
    room: int

    async def sample(
        self,
        prompt: list[int],
        count: int,
        params: types.SamplingParams,
        on_token: Callable[[int], None] | None = None,
    ) -> types.SampleResponse:
        """Sample through the queue (ApiError with what went wrong); whoever stops waiting ends the sampling."""
        pending, _ = self.state.futures.add(self.queue.name, next(_numbers), self.owner)
        request = types.SampleRequest(
            prompt=types.ModelInput.from_ints(prompt), num_samples=count, sampling_params=params
        )
        self.state.add_sample(self.queue, pending, request, 4 * len(prompt), on_token)
        try:
            answer = await asyncio.wrap_future(pending.future)
        finally:
            # Without effect if the request has been answered.
            self.state.cancel(pending)
            self.state.futures.forget(pending)
        if isinstance(answer, Failure):
            raise ApiError(400 if answer.category == "user" else 500, answer.message)
        return deserialize_sample_response(answer.body)

    async def stream(self, prompt: list[int], params: types.SamplingParams) -> AsyncGenerator[int | str]:
        """The tokens of one sample as they come, and at the end why it ended."""
        loop, heard = asyncio.get_running_loop(), asyncio.Queue[int | None]()

        def on_token(token: int | None) -> None:
            loop.call_soon_threadsafe(heard.put_nowait, token)

        answer = asyncio.create_task(self.sample(prompt, 1, params, on_token))
        answer.add_done_callback(lambda _: heard.put_nowait(None))
        try:
            while (token := await heard.get()) is not None:
                yield token
            yield (await answer).sequences[0].stop_reason
        finally:
            answer.cancel()


@router.get("/models")
async def models(request: Request) -> Any:
    """Base models, and the user's sampler checkpoints."""
    state, owner = state_of(request), owner_of(request)
    rows = [row for row in state.checkpoints.of_owner(owner) if row.kind == "sampler"]
    entries = [(name, state.metrics.started) for name in state.settings.base_models]
    entries += [(row.path, row.created) for row in rows]
    data = [{"id": name, "object": "model", "created": int(at), "owned_by": owner} for name, at in entries]
    return {"object": "list", "data": data}


@router.post("/completions")
async def completions(request: Request) -> Response:
    """Continue texts."""
    wanted = await parse(request, CompletionRequest)
    target = _target(request, wanted.model)
    prompts = _prompts(wanted.prompt, target.tokenizer)
    params = _params(wanted, wanted.max_tokens or 16)
    if wanted.stream:
        piece = lambda text: {"text": text, "logprobs": None}  # noqa: E731
        return _stream(target, prompts, wanted, params, "text_completion", piece)
    responses = await asyncio.gather(*(target.sample(prompt, wanted.n, params) for prompt in prompts))
    choices: list[dict[str, Any]] = []
    for sequence in (sequence for response in responses for sequence in response.sequences):
        choice = _choice(len(choices), sequence, target, wanted)
        logprobs = None
        if wanted.logprobs is not None:
            pieces = [target.tokenizer.decode([token]) for token in sequence.tokens]
            logprobs = {"tokens": pieces, "token_logprobs": sequence.logprobs}
        choices.append({**choice, "text": choice["text"], "logprobs": logprobs})
    return _completion("text_completion", wanted, prompts, responses, choices)


@router.post("/chat/completions")
async def chat_completions(request: Request) -> Response:
    """Answer a conversation, with the model's own chat template."""
    wanted = await parse(request, ChatRequest)
    target = _target(request, wanted.model)
    if not getattr(target.tokenizer, "chat_template", None):
        raise ApiError(400, f"{wanted.model} has no chat template; use /v1/completions.")
    messages = [message.model_dump() for message in wanted.messages]
    encoded = target.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
    prompt = list(encoded["input_ids"])
    params = _params(wanted, wanted.max_completion_tokens or wanted.max_tokens)
    if wanted.stream:
        piece = lambda text: {"delta": {"content": text}}  # noqa: E731
        return _stream(target, [prompt], wanted, params, "chat.completion.chunk", piece)
    response = await target.sample(prompt, wanted.n, params)
    choices: list[dict[str, Any]] = []
    for sequence in response.sequences:
        choice = _choice(len(choices), sequence, target, wanted)
        text = choice.pop("text")
        choices.append({**choice, "message": {"role": "assistant", "content": text}})
    return _completion("chat.completion", wanted, [prompt], [response], choices)


def _target(request: Request, model: str) -> Target:
    state, owner = state_of(request), owner_of(request)
    path = model if model.startswith(SCHEME) else None
    try:
        base_model = state.served(state.source_of(model, owner).base_model if path else model)
    except ValueError as error:
        raise ApiError(404, str(error)) from error

    def weights() -> tuple[str, str | None]:
        if path:
            state.checkpoints.readable(path, owner)
        return base_model, path

    base = state.residency.loaded(base_model)
    queue = state.sampler_queue(owner, f"openai:sample:{owner}:{model}", weights)
    # A copy: the device's thread uses the tokenizer too, and one object does not bear both.
    return Target(state, owner, queue, copy.deepcopy(base.tokenizer), base.max_length)


def _prompts(prompt: Any, tokenizer: Any) -> list[list[int]]:
    if isinstance(prompt, str):
        prompt = [prompt]
    if not prompt:
        raise ApiError(400, "The prompt is empty.")
    if isinstance(prompt[0], int):
        return [prompt]
    return [tokenizer.encode(one) if isinstance(one, str) else one for one in prompt]


def _params(wanted: Settings, max_tokens: int | None) -> types.SamplingParams:
    return types.SamplingParams(
        max_tokens=max_tokens,
        seed=wanted.seed,
        stop=_stops(wanted) or None,
        temperature=wanted.temperature,
        top_p=wanted.top_p,
    )


def _stops(wanted: Settings) -> list[str]:
    return [wanted.stop] if isinstance(wanted.stop, str) else wanted.stop or []


def _choice(index: int, sequence: types.SampledSequence, target: Target, wanted: Settings) -> dict[str, Any]:
    text = cut_at_stop(target.tokenizer.decode(sequence.tokens, skip_special_tokens=True), _stops(wanted))
    return {"index": index, "text": text, "finish_reason": sequence.stop_reason}


def _completion(
    kind: Literal["text_completion", "chat.completion"],
    wanted: Settings,
    prompts: list[list[int]],
    responses: list[types.SampleResponse],
    choices: list[dict[str, Any]],
) -> Response:
    read = sum(map(len, prompts))
    written = sum(len(sequence.tokens) for response in responses for sequence in response.sequences)
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    return JSONResponse({**_head(kind, wanted), "choices": choices, "usage": usage})


def _head(kind: str, wanted: Settings) -> dict[str, Any]:
    return {"id": f"cmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": wanted.model}


def _stream(
    target: Target,
    prompts: list[list[int]],
    wanted: Settings,
    params: types.SamplingParams,
    kind: str,
    piece: Callable[[str], dict[str, Any]],
) -> Response:
    if len(prompts) != 1 or wanted.n != 1:
        raise ApiError(400, "A stream has one prompt and n = 1.")
    head = _head(kind, wanted)

    def event(choice: dict[str, Any]) -> str:
        return f"data: {json.dumps({**head, 'choices': [{'index': 0, 'finish_reason': None, **choice}]})}\n\n"

    async def events() -> AsyncIterator[str]:
        try:
            async for text, reason in _pieces(target, prompts[0], params):
                yield event({**piece(text), "finish_reason": reason})
        except ApiError as refused:
            yield f"data: {json.dumps({'error': {'message': refused.detail}})}\n\n"
        yield "data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


async def _pieces(
    target: Target, prompt: list[int], params: types.SamplingParams
) -> AsyncIterator[tuple[str, str | None]]:
    """Text as it comes; the last piece has the reason of the end.

    What may be the beginning of a stop string, or of a character, is held back until that is known.
    """
    stops: Any = params.stop or []
    hold = max((len(stop) - 1 for stop in stops), default=0)
    reader = Reader(target.tokenizer)
    sent = 0
    async with contextlib.aclosing(target.stream(prompt, params)) as stream:
        async for heard in stream:
            if isinstance(heard, str):  # the reason of the end
                text = cut_at_stop(reader.whole(), stops)
                yield text[sent:], heard
                return
            text = cut_at_stop(reader.read(heard), stops)
            if len(text) - hold > sent:
                yield text[sent : len(text) - hold], None
                sent = len(text) - hold


class Reader:
    """The text of tokens that come one by one; the end of an incomplete character is not part of it yet."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._tokens: list[int] = []
        self._text = ""
        self._from = self._known = 0  # tokens[from:known] are decoded again with the next, whose text depends on them

    def read(self, token: int) -> str:
        """The text so far."""
        self._tokens.append(token)
        before = self._decode(self._tokens[self._from : self._known])
        after = self._decode(self._tokens[self._from :])
        if len(after) > len(before) and not after.endswith("\N{REPLACEMENT CHARACTER}"):
            self._text += after[len(before) :]
            self._from, self._known = self._known, len(self._tokens)
        return self._text

    def whole(self) -> str:
        """The text of all tokens, to the last byte."""
        return self._decode(self._tokens)

    def _decode(self, tokens: list[int]) -> str:
        return self._tokenizer.decode(tokens, skip_special_tokens=True)
