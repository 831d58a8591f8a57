"""Arguments of the SDK's verbs that are whole numbers."""

from __future__ import annotations

from numbers import Integral

# What PyTorch's generators take, and the protocol's type of a seed holds.
LARGEST_SEED = 2**64 - 1


def check_whole(name: str, value: object, least: int, most: int | None = None) -> None:
    """Refuse what is no whole number within bounds; what is found out later may harm the calls beside it.

    Raises:
        ValueError: The message names the argument, its value and the bounds.
    """
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or value < least or (most is not None and value > most):  # type: ignore[operator]
        bounds = f"{least} or more" if most is None else f"{least} to {most}"
        raise ValueError(f"{name} is {value!r}; it must be a whole number, {bounds}.")


def check_seed(seed: object) -> None:
    """Refuse what seeds no generator; None draws a seed (ValueError names the value)."""
    if seed is not None:
        check_whole("seed", seed, 0, LARGEST_SEED)
