"""The routes: models, completions of texts, completions of conversations."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from tinker import types

from backends.server.api.errors import OPENAI_PREFIX
from backends.server.api.openai.replies import chat_choice, head, text_choice, usage
from backends.server.api.openai.requests import (
    ChatRequest,
    CompletionRequest,
    CompletionSettings,
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
async def models(request: Request) -> Any:
    """Base models, and the user's sampler checkpoints."""
    return {"object": "list", "data": _models(state_of(request), owner_of(request))}


@router.get("/models/{name:path}")
async def model(request: Request, name: str) -> Any:
    """One of them."""
    for entry in _models(state_of(request), owner_of(request)):
        if entry["id"] == name:
            return entry
    raise ApiError(404, f'There is no model "{name}"; GET /v1/models lists those that there are.')


def _models(state: ServerState, owner: str) -> list[dict[str, Any]]:
    samplers = [checkpoint for checkpoint in state.checkpoints.of_owner(owner) if checkpoint.kind == "sampler"]
    entries = [(name, state.metrics.started) for name in model_names(state)]
    entries += [(checkpoint.path, checkpoint.created) for checkpoint in samplers]
    return [{"id": name, "object": "model", "created": int(at), "owned_by": owner} for name, at in entries]


@router.post("/completions")
async def completions(request: Request) -> Response:
    """Continue texts."""
    wanted = await read_request(request, CompletionRequest)
    target = _target(request, wanted.model)
    prompts, texts = await _prompts(wanted.prompt, target.tokenizer)
    params = _params(target, wanted, len(prompts))
    if wanted.stream:
        return stream(target, prompts, wanted, params)
    responses = await _sample(target, prompts, wanted, params, prompt_logprobs=wanted.echo and wanted.top is not None)
    choices = [
        text_choice(0, sequence, prompt, text, response, wanted, target.tokenizer)
        for prompt, text, response in zip(prompts, texts, responses, strict=True)
        for sequence in response.sequences
    ]
    return _reply("text_completion", wanted, prompts, responses, choices)


@router.post("/chat/completions")
async def chat_completions(request: Request) -> Response:
    """Answer a conversation, with the model's own chat template."""
    wanted = await read_request(request, ChatRequest)
    target = _target(request, wanted.model)
    messages = [{"role": message.role, "content": message.text} for message in wanted.messages]
    prompts = [await target.tokenizer.encode_chat(messages)]
    params = _params(target, wanted, 1)
    if wanted.stream:
        return stream(target, prompts, wanted, params)
    responses = await _sample(target, prompts, wanted, params)
    choices = [
        chat_choice(0, sequence, wanted, target.tokenizer) for response in responses for sequence in response.sequences
    ]
    return _reply("chat.completion", wanted, prompts, responses, choices)


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


async def _prompts(prompt: Any, tokenizer: Tokenizer) -> tuple[list[list[int]], list[str]]:
    """Token ids and text of each prompt, of whichever form."""
    if isinstance(prompt, str):
        prompt = [prompt]
    if not prompt:
        raise ApiError(400, "The prompt is empty.")
    if isinstance(prompt[0], str):
        return await tokenizer.encode(prompt), prompt
    if isinstance(prompt[0], int):
        prompt = [prompt]
    return prompt, [tokenizer.decode(ids) for ids in prompt]


def _params(target: Target, wanted: CompletionSettings, prompts: int) -> types.SamplingParams:
    most = target.state.limits.samples_per_request
    if prompts * wanted.n > most:
        raise ApiError(400, f"{prompts * wanted.n} samples in one request; this server takes {most}.")
    return types.SamplingParams(
        max_tokens=wanted.length,
        seed=wanted.seed,
        stop=wanted.stops or None,
        temperature=wanted.temperature,
        top_p=wanted.top_p,
    )


def _reply(
    kind: str,
    wanted: CompletionSettings,
    prompts: Sequence[list[int]],
    responses: Sequence[types.SampleResponse],
    choices: list[dict[str, Any]],
) -> Response:
    numbered = [{**choice, "index": index} for index, choice in enumerate(choices)]
    return JSONResponse({**head(kind, wanted), "choices": numbered, "usage": usage(prompts, responses)})
