"""A request for samples as a call of the local backend, refused before it waits if it can never be carried out."""

from __future__ import annotations

import math
from collections.abc import Callable

from tinker import types

from backends.local.decode.batcher import SampleCall
from backends.local.decode.prompt_logprobs import PromptLogprobsRequest
from backends.local.sampling import LocalSamplingClient
from backends.server.settings import Limits


def sample_call(
    sampler: LocalSamplingClient, request: types.SampleRequest, on_token: Callable[[int], None] | None = None
) -> SampleCall:
    """The call (ValueError says what is wrong with the request)."""
    prompt_request = PromptLogprobsRequest(
        logprobs=bool(request.prompt_logprobs),
        topk=request.topk_prompt_logprobs,
        last_n=request.prompt_logprobs_last_n or None,
        targets=_targets(request),
        alternatives=request.prompt_alt_tokens_k,
    )
    return sampler.call(
        request.prompt,
        request.num_samples,
        request.sampling_params,
        prompt_request,
        request.topk_sample_logprobs,
        on_token,
    )


def _targets(request: types.SampleRequest) -> types.TensorData | None:
    if (sent := request.target_prompt_logprobs) is None:
        return None
    try:
        return types.TensorData(**sent.model_dump())
    except (ValueError, OverflowError) as error:
        raise ValueError(f"target_prompt_logprobs is no tensor: {error}.") from error


def check_request(request: types.SampleRequest, sampler: LocalSamplingClient, limits: Limits) -> None:
    """Refuse what would be too much to answer, before anything of it is made, and what cannot be answered.

    Args:
        request: The request.
        sampler: One of the same base model.
        limits: Of the server.

    Raises:
        ValueError: The sentence says what is wrong.
    """
    _check_amount(request, sampler._engine.base.max_length, limits)
    sample_call(sampler, request)


def _check_amount(request: types.SampleRequest, longest: int, limits: Limits) -> None:
    params, most = request.sampling_params, limits.samples_per_request
    if request.num_samples > most:
        raise ValueError(f"{request.num_samples} samples in one request; this server takes {most}.")
    stops = 1 if isinstance(params.stop, str) else len(params.stop or ())
    if stops > limits.stops_per_request:
        raise ValueError(f"{stops} stops in one request; this server takes {limits.stops_per_request}.")
    sampled = longest if params.max_tokens is None else min(longest, params.max_tokens)
    # An image may not know its length; it is refused with the call.
    length = sum(chunk.length for chunk in request.prompt.chunks if isinstance(chunk, types.EncodedTextChunk))
    of_prompt = (request.topk_prompt_logprobs + request.prompt_alt_tokens_k) * length
    targets = request.target_prompt_logprobs
    of_targets = math.prod(targets.shape or ()) if targets else 0
    alternatives = request.topk_sample_logprobs * sampled * request.num_samples + of_prompt + of_targets
    if alternatives > limits.topk_per_request:
        raise ValueError(
            f"The request asks for up to {alternatives} log-probabilities of alternatives; this server gives "
            f"{limits.topk_per_request}. Ask for fewer per token, fewer tokens or fewer samples."
        )
