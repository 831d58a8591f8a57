"""What a completion samples from, and its way through the queue."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tinker import types
from tinker.proto.response_conv import deserialize_sample_response

from backends.checkpoint_paths import SCHEME
from backends.server.api.openai.text import Tokenizer
from backends.server.errors import ApiError
from backends.server.futures import Failure, PendingRequest, Result
from backends.server.queues import SamplerQueue
from backends.server.scheduler import GOING_DOWN
from backends.server.state import ServerState

_numbers = itertools.count()


@dataclass(frozen=True)
class Target:
    """A base model or a checkpoint, to sample from for one user."""

    state: ServerState
    owner: str
    queue: SamplerQueue
    base_model: str
    tokenizer: Tokenizer
    max_length: int

    def submit(
        self,
        prompt: list[int],
        count: int,
        params: types.SamplingParams,
        *,
        on_token: Callable[[int], None] | None = None,
        top: int | None = None,
        prompt_logprobs: bool = False,
    ) -> PendingRequest:
        """Queue a request for `count` samples of one prompt.

        Args:
            prompt: Token ids.
            count: How many samples.
            params: How to sample.
            on_token: Called with each token of a single sample, on the device's thread.
            top: How many of the most probable tokens are wanted at each sampled position.
            prompt_logprobs: Whether log-probabilities of the prompt are wanted too.

        Raises:
            Busy: The queue is full.
            ApiError: The model cannot answer it: the prompt or a parameter is out of range.
        """
        request = types.SampleRequest(
            prompt=types.ModelInput.from_ints(prompt),
            num_samples=count,
            sampling_params=params,
            prompt_logprobs=prompt_logprobs or None,
            topk_prompt_logprobs=(top or 0) if prompt_logprobs else 0,
            topk_sample_logprobs=(top or 0) if params.max_tokens != 0 else 0,
        )
        self.state.check_sample(self.base_model, request)
        pending, _ = self.state.futures.add(self.queue.name, next(_numbers), self.owner)
        self.state.add_sample(self.queue, pending, request, 4 * len(prompt), on_token)
        return pending

    async def answer(self, pending: PendingRequest) -> types.SampleResponse:
        """The response, when it is there (ApiError with what went wrong)."""
        return await asyncio.to_thread(self.read, await asyncio.wrap_future(pending.future))

    def read(self, answer: Result | Failure) -> types.SampleResponse:
        """The response that an answer holds (ApiError with what went wrong)."""
        if answer is GOING_DOWN:
            raise ApiError(503, GOING_DOWN.message)
        if isinstance(answer, Failure):
            raise ApiError(400 if answer.category == "user" else 500, answer.message)
        return deserialize_sample_response(answer.body)

    def give_up(self, requests: list[PendingRequest]) -> None:
        """Nobody waits for these any more; without effect on those that are answered."""
        for pending in requests:
            self.state.cancel(pending)
            self.state.futures.forget(pending)


def find_target(state: ServerState, tokenizers: Mapping[str, Tokenizer], owner: str, model: str) -> Target:
    """The model of a request (ApiError with 404 if there is none of that name for the user)."""
    path = model if model.startswith(SCHEME) else None
    try:
        base_model = state.served(state.source_of(model, owner).base_model if path else model)
    except ValueError as error:
        raise ApiError(404, str(error)) from error

    def weights() -> tuple[str, str | None]:
        if path:
            state.checkpoints.readable(path, owner)
        return base_model, path

    queue = state.sampler_queue(owner, f"openai:sample:{owner}:{model}", weights)
    return Target(
        state, owner, queue, base_model, tokenizers[base_model], state.residency.loaded(base_model).max_length
    )


def model_names(state: ServerState) -> list[str]:
    """The base models, less the directories under which packaged models are served to Tinker's SDK too."""
    locations = state.settings.base_models
    named = {location for name, location in locations.items() if not os.path.isabs(name)}
    return [name for name, location in locations.items() if not (os.path.isabs(name) and location in named)]
