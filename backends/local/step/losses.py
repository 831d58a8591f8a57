"""Tinker's loss functions over the log-probabilities of the targets.

Each takes the current log-probabilities ``lp`` ``[N]`` and the datum's inputs, flattened over the scored positions of
a micro-batch, and returns the loss of each position ``[N]``; the loss of a call is their *sum*. Formulas: Tinker's
documentation of its losses, restated in the docstrings with r = exp(lp - q), q the sampler's log-probability and A
the advantage.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Inputs = Mapping[str, Tensor]
Config = Mapping[str, float]


def cross_entropy(lp: Tensor, inputs: Inputs, config: Config) -> Tensor:
    """-w * lp."""
    return -inputs["weights"] * lp


def importance_sampling(lp: Tensor, inputs: Inputs, config: Config) -> Tensor:
    """-r * A."""
    return -torch.exp(lp - inputs["logprobs"]) * inputs["advantages"]


def ppo(lp: Tensor, inputs: Inputs, config: Config) -> Tensor:
    """-min(r * A, clamp(r, low, high) * A), with low 0.8 and high 1.2 (Schulman et al., 2017)."""
    ratio = torch.exp(lp - inputs["logprobs"])
    clipped = _clip(ratio, inputs, config, low=0.8, high=1.2)
    return -torch.minimum(ratio * inputs["advantages"], clipped * inputs["advantages"])


def cispo(lp: Tensor, inputs: Inputs, config: Config) -> Tensor:
    """-stop_gradient(clamp(r, low, high)) * lp * A, with low 0 and high 4 (MiniMax-M1, 2025)."""
    ratio = torch.exp(lp - inputs["logprobs"]).detach()
    return -_clip(ratio, inputs, config, low=0.0, high=4.0) * lp * inputs["advantages"]


def dro(lp: Tensor, inputs: Inputs, config: Config) -> Tensor:
    """-(lp * A - beta / 2 * (lp - q)^2), with beta 0.05 (Richemond et al., 2024)."""
    beta = config.get("beta", 0.05)
    return -(lp * inputs["advantages"] - 0.5 * beta * (lp - inputs["logprobs"]) ** 2)


def _clip(ratio: Tensor, inputs: Inputs, config: Config, low: float, high: float) -> Tensor:
    """Clamp by the datum's own thresholds where it has them, else by the call's, else by the defaults."""
    lower = inputs.get("clip_low_threshold", torch.as_tensor(config.get("clip_low_threshold", low)))
    upper = inputs.get("clip_high_threshold", torch.as_tensor(config.get("clip_high_threshold", high)))
    return torch.minimum(torch.maximum(ratio, lower.to(ratio)), upper.to(ratio))


LOSSES: dict[str, Callable[[Tensor, Inputs, Config], Tensor]] = {
    "cross_entropy": cross_entropy,
    "importance_sampling": importance_sampling,
    "ppo": ppo,
    "cispo": cispo,
    "dro": dro,
}

REQUIRED_INPUTS: dict[str, tuple[str, ...]] = {
    "cross_entropy": ("target_tokens",),
    "importance_sampling": ("target_tokens", "logprobs", "advantages"),
    "ppo": ("target_tokens", "logprobs", "advantages"),
    "cispo": ("target_tokens", "logprobs", "advantages"),
    "dro": ("target_tokens", "logprobs", "advantages"),
}

SETTINGS: dict[str, tuple[str, ...]] = {
    "ppo": ("clip_low_threshold", "clip_high_threshold"),
    "cispo": ("clip_low_threshold", "clip_high_threshold"),
    "dro": ("beta",),
}

UNPUBLISHED = {
    "gspo": "the paper (Zheng et al., 2025) clips a length-normalised sequence ratio, but how the API normalises and "
    "clips it under sequence_ratio_mask is not public; forward_backward_custom can state your own",
    "stable_reinforce": "its formula is not public (it adds a sampler-KL term, default kl_coeff 0.01); "
    "importance_sampling, ppo and cispo are here",
    "custom": "use forward_backward_custom, which takes a function",
}


def check_loss(name: str) -> None:
    """Raise ValueError unless `name` is a loss that this backend computes."""
    if name in LOSSES:
        return
    known = ", ".join(LOSSES)
    why = f": {UNPUBLISHED[name]}" if name in UNPUBLISHED else ""
    raise ValueError(f'Loss function "{name}" is not available on the local backend{why}. Available: {known}.')


def check_config(name: str, config: Mapping[str, float | str]) -> dict[str, float]:
    """The settings of a call's loss as numbers (ValueError if the loss has no such setting, or it is no number)."""
    known = SETTINGS.get(name, ())
    for key, value in config.items():
        if key not in known:
            raise ValueError(f"loss_fn_config has {key!r}; {name} takes {', '.join(known) or 'no settings'}.")
        if isinstance(value, str) or not math.isfinite(value):
            raise ValueError(f"loss_fn_config has {key}={value!r}; it must be a finite number.")
    return {key: float(value) for key, value in config.items()}
