"""The loss functions of `forward_backward`: inputs, settings, scored positions and formula of each.

To add a loss, add a `Loss` to `LOSSES`; checks, messages and the configuration follow from it. Formulas use methods of
tensors only, so that names and inputs are known without importing torch.

Formulas are those of Tinker's documentation, or else of the papers named, with r = exp(lp - q), where lp is the current
log-probability of a target, q (`logprobs`) its log-probability when it was sampled, and A its advantage. A loss is
computed at each position; the loss of a call is the *sum*.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

TARGETS = "target_tokens"
CLIPS = ("clip_low_threshold", "clip_high_threshold")
# Input of every formula: index of the datum that each position belongs to.
SEQUENCE = "sequence"
RATIO_MASK = "sequence_ratio_mask"
# Characters of an unknown name that a message shows.
LONGEST_SHOWN = 80

Inputs = Mapping[str, "Tensor"]
Settings = Mapping[str, float]
Formula = Callable[["Tensor", Inputs, Settings], "Tensor"]


@dataclass(frozen=True)
class Loss:
    """One loss function.

    Attributes:
        name: Its name in `forward_backward`.
        formula: From the targets' log-probabilities ``[N, K]``, the inputs and the settings to the loss of each target
            ``[N, K]``. Inputs have the shape of the log-probabilities, except for `SEQUENCE` ``[N]``.
        required: Inputs of every datum, in addition to `target_tokens`.
        optional: Inputs that a datum may lack, with the default at all of its positions; None if the formula works
            without.
        scored_by: The input that is zero at positions without a gradient, whose logits are therefore not computed;
            None if every position has a gradient.
        settings: Keys of `loss_fn_config` with their defaults.
        hosted: Whether the Tinker API has this loss too.
    """

    name: str
    formula: Formula
    required: tuple[str, ...] = ()
    optional: Mapping[str, float | None] = field(default_factory=dict)
    scored_by: str | None = None
    settings: Settings = field(default_factory=dict)
    hosted: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the float inputs, required ones first; `target_tokens` are not among them."""
        return (*self.required, *self.optional)

    def check_inputs(self, names: Collection[str]) -> None:
        """Refuse a datum that lacks an input of this loss, or has one that no loss takes.

        Inputs of other losses are accepted and ignored: programs pass one list of data to several losses.

        Raises:
            ValueError: An input is missing, or no loss takes it, most likely because it is misspelt.
        """
        if missing := [name for name in (TARGETS, *self.required) if name not in names]:
            noun = "loss input" if len(missing) == 1 else "loss inputs"
            raise ValueError(f"lacks the {noun} {' and '.join(map(repr, missing))}, which {self.name} needs")
        known = known_inputs()
        for name in names:
            if name not in known:
                name = name[:LONGEST_SHOWN]
                near = difflib.get_close_matches(name, known, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                inputs = ", ".join((TARGETS, *self.inputs))
                raise ValueError(f"has the loss input {name!r}, which no loss takes.{hint} {self.name} takes {inputs}")

    def complete(self, settings: Mapping[str, float | str]) -> dict[str, float]:
        """The settings of a call as numbers, defaults included.

        Raises:
            ValueError: The loss has no such setting, a value is no finite number, or no ratio lies between the clips.
        """
        for key, value in settings.items():
            if key not in self.settings:
                known = ", ".join(self.settings) or "no settings"
                raise ValueError(f"loss_fn_config has {key[:LONGEST_SHOWN]!r}; {self.name} takes {known}.")
            if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
                raise ValueError(f"loss_fn_config has {key}={value!r}; it must be a finite number.")
        complete = {key: float(settings.get(key, default)) for key, default in self.settings.items()}
        low, high = (complete.get(name, 0.0) for name in CLIPS)
        if low > high:
            raise ValueError(f"loss_fn_config has {CLIPS[0]}={low:g} above {CLIPS[1]}={high:g}; nothing lies between.")
        return complete


def known_inputs() -> list[str]:
    """Names of the inputs of all losses."""
    return list(dict.fromkeys((TARGETS, *(n for loss in LOSSES.values() for n in loss.inputs))))


def find_loss(name: str) -> Loss:
    """The loss with this name.

    Raises:
        ValueError: There is none; the message names the others, and says why where the API has a loss of that name.
    """
    name = str(name)[:LONGEST_SHOWN]
    if name in LOSSES:
        return LOSSES[name]
    why = f": {UNPUBLISHED[name]}" if name in UNPUBLISHED else ""
    raise ValueError(f'Loss function "{name}" is not available here{why}. Available: {", ".join(LOSSES)}.')


def _cross_entropy(lp: Tensor, inputs: Inputs, settings: Settings) -> Tensor:
    """-w * lp."""
    return -inputs["weights"] * lp


def _importance_sampling(lp: Tensor, inputs: Inputs, settings: Settings) -> Tensor:
    """-r * A."""
    return -(lp - inputs["logprobs"]).exp() * inputs["advantages"]


def _ppo(lp: Tensor, inputs: Inputs, settings: Settings) -> Tensor:
    """-min(r * A, clamp(r, low, high) * A) (Schulman et al., 2017)."""
    ratio = (lp - inputs["logprobs"]).exp()
    clipped = _clip(ratio, inputs, settings)
    return -(ratio * inputs["advantages"]).minimum(clipped * inputs["advantages"])


def _cispo(lp: Tensor, inputs: Inputs, settings: Settings) -> Tensor:
    """-stop_gradient(clamp(r, low, high)) * lp * A (MiniMax-M1, 2025)."""
    ratio = (lp - inputs["logprobs"]).exp().detach()
    return -_clip(ratio, inputs, settings) * lp * inputs["advantages"]


def _dro(lp: Tensor, inputs: Inputs, settings: Settings) -> Tensor:
    """-(lp * A - beta / 2 * (lp - q)^2) (Richemond et al., 2024)."""
    return -(lp * inputs["advantages"] - 0.5 * settings["beta"] * (lp - inputs["logprobs"]) ** 2)


def _gspo(lp: Tensor, inputs: Inputs, settings: Settings) -> Tensor:
    """-min(s * A, clamp(s, low, high) * A), s = exp(mean of lp - q over the sequence) (Zheng et al., 2025, GSPO-token).

    The mean is over the positions of `sequence_ratio_mask`, or else over those with an advantage. Every position has
    the ratio of its sequence, so that the sum of a call is the published objective times each sequence's length.
    """
    advantages = inputs["advantages"]
    mask = inputs[RATIO_MASK] if RATIO_MASK in inputs else (advantages != 0).to(lp)
    sequence = inputs[SEQUENCE]  # [N]
    zeros = lp.new_zeros((int(sequence.max()) + 1, lp.shape[1]))  # [B, K]
    total = zeros.index_add(0, sequence, (lp - inputs["logprobs"]) * mask)
    count = zeros.index_add(0, sequence, mask.to(lp))
    ratio = (total / count.clamp(min=1)).exp()[sequence]  # [N, K]
    return -(ratio * advantages).minimum(_clip(ratio, inputs, settings) * advantages)


def _reinforce_kl(lp: Tensor, inputs: Inputs, settings: Settings) -> Tensor:
    """-lp * stop_gradient(A - kl_coeff * (lp - q)): REINFORCE with a KL penalty in the advantages."""
    distance = (lp - inputs["logprobs"]).detach()
    return -lp * (inputs["advantages"] - settings["kl_coeff"] * distance)


def _clip(ratio: Tensor, inputs: Inputs, settings: Settings) -> Tensor:
    """Clamp by the thresholds of the datum, or else of the call."""
    low, high = (inputs[name] if name in inputs else ratio.new_tensor(settings[name]) for name in CLIPS)
    return ratio.maximum(low.to(ratio)).minimum(high.to(ratio))


_SAMPLED = ("logprobs", "advantages")
_DATUM_CLIPS = dict.fromkeys(CLIPS)

LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("cross_entropy", _cross_entropy, optional={"weights": 1.0}, scored_by="weights", hosted=True),
        Loss("importance_sampling", _importance_sampling, required=_SAMPLED, scored_by="advantages", hosted=True),
        Loss(
            "ppo",
            _ppo,
            required=_SAMPLED,
            optional=_DATUM_CLIPS,
            scored_by="advantages",
            settings=dict(zip(CLIPS, (0.8, 1.2), strict=True)),
            hosted=True,
        ),
        Loss(
            "cispo",
            _cispo,
            required=_SAMPLED,
            optional=_DATUM_CLIPS,
            scored_by="advantages",
            settings=dict(zip(CLIPS, (0.0, 4.0), strict=True)),
            hosted=True,
        ),
        # The squared term has a gradient where the advantage is zero, too.
        Loss("dro", _dro, required=_SAMPLED, settings={"beta": 0.05}, hosted=True),
        # The API has a loss of this name, whose normalisation is not documented.
        Loss(
            "gspo",
            _gspo,
            required=_SAMPLED,
            optional={**_DATUM_CLIPS, RATIO_MASK: None},
            settings=dict(zip(CLIPS, (1 - 3e-4, 1 + 4e-4), strict=True)),
        ),
        Loss("reinforce_kl", _reinforce_kl, required=_SAMPLED, settings={"kl_coeff": 0.01}),
    )
}

UNPUBLISHED = {
    "stable_reinforce": "its formula is not public (it adds a sampler-KL term, default kl_coeff 0.01); "
    "importance_sampling, ppo and cispo are here, and a server started with "
    "server.stable_reinforce=reinforce_kl takes reinforce_kl in its place, and says so",
    "custom": "use forward_backward_custom, which takes a function",
}
