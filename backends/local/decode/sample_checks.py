"""What `sample` may be asked for: the SDK's meanings of its parameters, with the bounds of a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tinker import types

from backends.local.arguments import check_seed, check_whole

if TYPE_CHECKING:
    from backends.local.decode.batcher import SampleCall


def check_call(call: SampleCall, vocabulary: int, max_length: int) -> None:
    """Refuse a call that a model cannot carry out as the SDK describes it.

    Args:
        call: The call.
        vocabulary: Size of the model's vocabulary.
        max_length: Most tokens that the model takes.

    Raises:
        ValueError: A parameter is out of range; the message names it, its value, and what it may be.
    """
    # At least one sampled token must fit, if any is asked for.
    longest = max_length - (call.params.max_tokens != 0)
    if not 0 < len(call.prompt) <= longest:
        raise ValueError(f"The prompt has {len(call.prompt)} tokens; the model takes 1 to {longest}.")
    if not (min(call.prompt) >= 0 and max(call.prompt) < vocabulary):
        raise ValueError(f"The prompt has a token id outside 0..{vocabulary - 1}.")
    check_whole("num_samples", call.num_samples, 1)
    check_whole("topk_sample_logprobs", call.topk, 0, vocabulary)
    call.prompt_request.check(call.prompt, vocabulary)
    _check_params(call.params, vocabulary)
    if call.params.max_tokens == 0 and not call.prompt_request:
        raise ValueError("max_tokens is 0, which asks for nothing unless log-probabilities of the prompt are wanted.")


def _check_params(params: types.SamplingParams, vocabulary: int) -> None:
    if params.max_tokens is not None:
        check_whole("max_tokens", params.max_tokens, 0)
    if not 0 <= params.temperature < math.inf:
        raise ValueError(f"temperature is {params.temperature}; it must be a finite number, 0 (greedy) or more.")
    if not 0 < params.top_p <= 1:
        raise ValueError(f"top_p is {params.top_p}; it must be in (0, 1], and 1 is no limit.")
    # The SDK documents -1 alone; 0 means the same in engines that scripts are also written for.
    if params.top_k < -1:
        raise ValueError(f"top_k is {params.top_k}; it must be 1 or more, or -1 for no limit.")
    check_seed(params.seed)
    _check_stops([params.stop] if isinstance(params.stop, str) else params.stop or (), vocabulary)


def _check_stops(stops: Sequence[str] | Sequence[int], vocabulary: int) -> None:
    for stop in stops:
        if stop == "":
            raise ValueError("A stop text is empty; every text would end there.")
        if isinstance(stop, int) and not 0 <= stop < vocabulary:
            raise ValueError(f"stop has the token id {stop}; the model's are 0 to {vocabulary - 1}.")
