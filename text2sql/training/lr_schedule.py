"""Learning rates: the automatic peak, and its course over the steps."""

from __future__ import annotations

import math

from text2sql.config import TrainingConfig
from text2sql.errors import UserError

# Exponent of the rate's dependence on the model's width, by family; from the Tinker cookbook's hyperparam_utils.
WIDTH_EXPONENTS = {"llama": 0.781, "qwen": 0.0775}
# Ratio of LoRA's rate to that of full fine-tuning; same source.
LORA_FACTOR = 10.0
# Batch size that the rule is for; the course exercise scales the rate by sqrt(new / old).
REFERENCE_BATCH = 256


def auto_learning_rate(width: int, family: str, batch_size: int, *, adapter: bool = True) -> tuple[float, str]:
    """The Tinker cookbook's rate for a model, scaled to the batch.

    ``5e-5 * 10 * (2000 / width)^P * sqrt(batch / 256)``, P by model family; without the 10 for full fine-tuning.

    Args:
        width: Hidden size of the model.
        family: The model's ``model_type`` (Hugging Face), for example ``llama`` or ``qwen3``.
        batch_size: Examples in a step.
        adapter: Whether LoRA is trained; else every weight.

    Returns:
        The rate, and a sentence with its derivation.

    Raises:
        UserError: The rule says nothing about this family.
    """
    exponent = next((p for name, p in WIDTH_EXPONENTS.items() if family.startswith(name)), None)
    if exponent is None:
        raise UserError(
            f'training.learning_rate=auto: the rule covers {" and ".join(WIDTH_EXPONENTS)} models, not "{family}". '
            "Set a number; 1e-4 to 5e-4 is usual for LoRA."
        )
    factor, method = (LORA_FACTOR, "LoRA") if adapter else (1.0, "every weight")
    rate = 5e-5 * factor * (2000 / width) ** exponent * math.sqrt(batch_size / REFERENCE_BATCH)
    reason = (
        f"{rate:.3g} = 5e-5 x {factor:g} ({method}) x (2000/{width})^{exponent} x "
        f"sqrt({batch_size}/{REFERENCE_BATCH}), the Tinker cookbook's rule"
    )
    return rate, reason


def learning_rate(step: int, total: int, peak: float, training: TrainingConfig) -> float:
    """The rate of step `step` (from 0) of `total`: linear warm-up, then constant, linear or cosine decay towards 0."""
    if step < training.warmup_steps:
        return peak * (step + 1) / training.warmup_steps
    progress = (step - training.warmup_steps) / max(1, total - training.warmup_steps)
    if training.schedule == "linear":
        return peak * (1 - progress)
    if training.schedule == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * progress))
    return peak
