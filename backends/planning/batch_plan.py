"""How the sequences of one call are cut into micro-batches: lengths in, groups of places out, no tensors.

The local backend trains by this plan and the estimate reckons with it, so that the memory foretold is the memory used.
"""

from __future__ import annotations

from collections.abc import Sequence

from backends.options import LocalOptions

# Targets at a position, names of the inputs, and whether the row is beyond a long-rope model's first context.
Kind = tuple[int, tuple[str, ...], bool]


def plan_batches(
    lengths: Sequence[int], budget: int, *, packing: bool, kinds: Sequence[Kind] | None = None
) -> list[list[int]]:
    """Cut sequences into micro-batches of at most `budget` tokens, the longest first.

    The longest come first so that what does not fit in memory fails at once; and sorted by length, padded rows need
    little padding. Sequences of one length keep their order.

    Args:
        lengths: Tokens of each sequence.
        budget: Tokens in a micro-batch, padding included; a longer sequence gets a micro-batch to itself.
        packing: Sequences lie end to end; else all of a micro-batch are padded to its longest.
        kinds: Sequences of different kinds never share a micro-batch, and kinds follow each other in sorted order;
            None if all are alike.

    Returns:
        The places in `lengths` that make up each micro-batch. Each place occurs once.
    """
    by_kind: dict[Kind, list[int]] = {}
    for place, kind in enumerate([(0, (), False)] * len(lengths) if kinds is None else kinds):
        by_kind.setdefault(kind, []).append(place)
    batches: list[list[int]] = []
    for kind in sorted(by_kind):
        longest_first = sorted(by_kind[kind], key=lambda place: -lengths[place])
        batches += _fill(longest_first, lengths, budget, packing)
    return batches


def _fill(longest_first: Sequence[int], lengths: Sequence[int], budget: int, packing: bool) -> list[list[int]]:
    """One micro-batch after the other, each until the next sequence would exceed the budget."""
    batches: list[list[int]] = []
    held = 0
    for place in longest_first:
        batch = batches[-1] if batches else []
        joined = held + lengths[place] if packing or not batch else lengths[batch[0]] * (len(batch) + 1)
        if batch and joined <= budget:
            batch.append(place)
            held = joined
        else:
            batches.append([place])
            held = lengths[place]
    return batches


def padded_tokens(lengths: Sequence[int], *, packing: bool) -> int:
    """Tokens that one micro-batch of these sequences computes, padding included."""
    return sum(lengths) if packing else max(lengths) * len(lengths)


def tokens_at_once(options: LocalOptions, *, on_gpu: bool, threads: int) -> int:
    """Tokens of a micro-batch, padding included, by `micro_batch_tokens`; `threads` are those of a CPU."""
    if options.micro_batch_tokens != "auto":
        return options.micro_batch_tokens
    return 8192 if on_gpu else max(1024, 512 * threads)


def may_pack(options: LocalOptions, *, on_gpu: bool) -> bool:
    """Whether rows lie end to end, if the model's attention allows it."""
    if on_gpu:
        return options.packing is True
    return options.packing is not False and options.attention in ("auto", "sdpa") and not options.compile


def may_share_prefixes(options: LocalOptions, *, on_gpu: bool) -> bool:
    """Whether what rows begin with alike is computed once, if the model's attention allows it."""
    if options.share_prefixes != "auto":
        return options.share_prefixes
    noise = options.neftune_alpha is not None or options.lora_dropout > 0
    return not on_gpu and may_pack(options, on_gpu=on_gpu) and not noise
