"""The error for a training whose numbers are no longer finite."""

from __future__ import annotations

from text2sql.errors import UserError


def training_diverged(step: int, reason: object) -> UserError:
    """The error for a training that diverged, with what to do.

    Args:
        step: Counted from 1.
        reason: What is not finite, as a clause or several sentences without a full stop at the end.
    """
    return UserError(
        f"Training diverged at step {step}: {reason}. The checkpoints before it are kept. Lower "
        "training.learning_rate, or set training.grad_clip_norm=1, and say on_existing=new: what was learnt depends on "
        "them."
    )
