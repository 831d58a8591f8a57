"""The routes: models, completions of texts, completions of conversations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from tinker import types

from backends.server.api.errors import OPENAI_PREFIX
from backends.server.api.openai.replies import (
    ChatChoice,
    ModelEntry,
    ModelList,
    TextChoice,
    chat_choice,
    head,
    text_choice,
    usage,
)
from backends.server.api.openai.requests import (
    ChatRequest,
    CompletionRequest,
    CompletionSettings,
    Prompt,
    read_request,
)
from backends.server.api.openai.streams import stream
from backends.server.api.openai.target import Target, find_target, model_names
from backends.server.api.openai.text import Tokenizer
from backends.server.api.request import owner_of, state_of
from backends.server.errors import ApiError
from backends.server.futures import PendingRequest
from backends.server.state import ServerState

router = APIRouter(prefix=OPENAI_PREFIX)


@router.get("/models")
def models(request: Request) -> ModelList:
    """Base models, and the user's sampler checkpoints."""
    return ModelList(data=_models(state_of(request), owner_of(request)))


@router.get("/models/{name:path}")
def model(request: Request, name: str) -> ModelEntry:
    """One of them."""
    for entry in _models(state_of(request), owner_of(request)):
        if entry.id == name:
            return entry
    raise ApiError(404, f'There is no model "{name}"; GET /v1/models lists those that there are.')


def _models(state: ServerState, owner: str) -> list[ModelEntry]:
    samplers = [checkpoint for checkpoint in state.checkpoints.of_owner(owner) if checkpoint.kind == "sampler"]
    entries = [(name, state.metrics.started) for name in model_names(state)]
    entries += [(checkpoint.path, checkpoint.created) for checkpoint in samplers]
    return [ModelEntry(id=name, created=int(at), owned_by=owner) for name, at in entries]


@router.post("/completions")
async def completions(request: Request) -> Response:
    """Continue texts."""
    wanted = await read_request(request, CompletionRequest)
    target = _target(request, wanted.model)
    prompts = await _prompts(wanted, target)
    params = _params(wanted)
    if wanted.stream:
        return stream(target, prompts, wanted, params)
    # An echo of nothing new is scored even if the log-probabilities are not wanted: a sampler is asked for something.
    scored = wanted.echo and (wanted.top is not None or wanted.max_tokens == 0)
    responses = await _sample(target, prompts, wanted, params, prompt_logprobs=scored)

    def choices() -> Iterator[TextChoice]:
        for number, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
            text = _text(wanted.prompt, number, prompt, target.tokenizer) if wanted.echo else ""
            for sequence in response.sequences:
                yield text_choice(0, sequence, prompt, text, response, wanted, target.tokenizer)

    return await _reply("text_completion", wanted, prompts, responses, choices)


@router.post("/chat/completions")
async def chat_completions(request: Request) -> Response:
    """Answer a conversation, with the model's own chat template."""
    wanted = await read_request(request, ChatRequest)
    target = _target(request, wanted.model)
    messages = [{"role": message.role, "content": message.text} for message in wanted.messages]
    _check_count(1, wanted, target)
    prompts = [await target.tokenizer.encode_chat(messages, target.max_length)]
    params = _params(wanted)
    if wanted.stream:
        return stream(target, prompts, wanted, params)
    responses = await _sample(target, prompts, wanted, params)

    def choices() -> Iterator[ChatChoice]:
        for response in responses:
            for sequence in response.sequences:
                yield chat_choice(0, sequence, wanted, target.tokenizer)

    return await _reply("chat.completion", wanted, prompts, responses, choices)


def _target(request: Request, model: str) -> Target:
    return find_target(state_of(request), request.app.state.tokenizers, owner_of(request), model)


async def _sample(
    target: Target,
    prompts: Sequence[list[int]],
    wanted: CompletionSettings,
    params: types.SamplingParams,
    *,
    prompt_logprobs: bool = False,
) -> list[types.SampleResponse]:
    """`n` answers to each prompt; whoever stops waiting ends the sampling."""
    requests: list[PendingRequest] = []
    try:
        for prompt in prompts:
            requests.append(target.submit(prompt, wanted.n, params, top=wanted.top, prompt_logprobs=prompt_logprobs))
        return list(await asyncio.gather(*map(target.answer, requests)))
    finally:
        target.give_up(requests)


async def _prompts(wanted: CompletionRequest, target: Target) -> list[list[int]]:
    """Token ids of each prompt, of whichever form (ApiError if there is none, or too many)."""
    sent = wanted.prompt
    if sent == []:
        raise ApiError(400, "There is no prompt.")
    # The first says what all are: the list may be long, and this is the event loop.
    if isinstance(sent, str) or isinstance(sent[0], str):
        texts = [sent] if isinstance(sent, str) else sent
        _check_count(len(texts), wanted, target)
        return await target.tokenizer.encode(texts, target.max_length)
    prompts = [sent] if isinstance(sent[0], int) else sent
    _check_count(len(prompts), wanted, target)
    return prompts


def _check_count(prompts: int, wanted: CompletionSettings, target: Target) -> None:
    """Refuse (ApiError) more samples than one request may ask for, before a prompt is looked at."""
    most = target.state.limits.samples_per_request
    if prompts * wanted.n > most:
        raise ApiError(400, f"{prompts * wanted.n} samples in one request; this server takes {most}.")


def _text(prompt: Prompt, number: int, ids: list[int], tokenizer: Tokenizer) -> str:
    """The text of one prompt, whose ids are known: as it was sent, or what the ids stand for."""
    sent = prompt if isinstance(prompt, str) else prompt[number]
    return sent if isinstance(sent, str) else tokenizer.decode(ids)


def _params(wanted: CompletionSettings) -> types.SamplingParams:
    return types.SamplingParams(
        max_tokens=wanted.length,
        seed=wanted.seed,
        stop=wanted.stops or None,
        temperature=wanted.temperature,
        top_p=wanted.top_p,
    )


async def _reply(
    kind: str,
    wanted: CompletionSettings,
    prompts: Sequence[list[int]],
    responses: Sequence[types.SampleResponse],
    choices: Callable[[], Iterator[TextChoice] | Iterator[ChatChoice]],
) -> Response:
    """The answer; it may be long, so that it is written on another thread than the event loop's."""

    def write() -> Response:
        numbered = [{**choice, "index": index} for index, choice in enumerate(choices())]
        return JSONResponse({**head(kind, wanted), "choices": numbered, "usage": usage(prompts, responses)})

    return await asyncio.to_thread(write)
