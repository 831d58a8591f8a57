"""How the sequences of one call are cut into micro-batches: lengths in, groups of indices out, no tensors.

The local backend trains by this plan and the estimate computes with it, so the memory predicted is the memory used.
"""

from __future__ import annotations

from collections.abc import Sequence

from backends.options import LocalOptions

# What the rows of a micro-batch must have in common: number of targets at a position, names of the loss inputs, and
# whether the row is longer than a long-rope model's short context.
Kind = tuple[int, tuple[str, ...], bool]


def plan_batches(
    lengths: Sequence[int], budget: int, *, packing: bool, kinds: Sequence[Kind] | None = None
) -> list[list[int]]:
    """Cut sequences into micro-batches of at most `budget` tokens, the longest first.

    The longest come first, so that running out of memory happens at once; and sorted by length, rows need little
    padding. Sequences of one length keep their order.

    Args:
        lengths: Tokens of each sequence.
        budget: Tokens in a micro-batch, padding included; a longer sequence gets a micro-batch to itself.
        packing: Whether sequences are packed end to end; else they are padded to the longest of their micro-batch.
        kinds: Sequences of different kinds never share a micro-batch, and kinds follow each other in sorted order;
            None if all are alike.

    Returns:
        The indices of the sequences of each micro-batch. Each index occurs once.
    """
    by_kind: dict[Kind, list[int]] = {}
    for index, kind in enumerate([(0, (), False)] * len(lengths) if kinds is None else kinds):
        by_kind.setdefault(kind, []).append(index)
    batches: list[list[int]] = []
    for kind in sorted(by_kind):
        longest_first = sorted(by_kind[kind], key=lambda i: -lengths[i])
        batches += _fill(longest_first, lengths, budget, packing)
    return batches


def _fill(longest_first: Sequence[int], lengths: Sequence[int], budget: int, packing: bool) -> list[list[int]]:
    """Fill one micro-batch after the other, each until the next sequence would exceed the budget."""
    batches: list[list[int]] = []
    tokens = 0
    for index in longest_first:
        batch = batches[-1] if batches else []
        joined = tokens + lengths[index] if packing or not batch else lengths[batch[0]] * (len(batch) + 1)
        if batch and joined <= budget:
            batch.append(index)
            tokens = joined
        else:
            batches.append([index])
            tokens = lengths[index]
    return batches


def padded_tokens(lengths: Sequence[int], *, packing: bool) -> int:
    """Tokens that one micro-batch of these sequences computes, padding included."""
    return sum(lengths) if packing else max(lengths) * len(lengths)


def tokens_at_once(options: LocalOptions, *, on_gpu: bool, threads: int) -> int:
    """Most tokens of a micro-batch, padding included, by `micro_batch_tokens`; `threads` are the CPU threads."""
    if options.micro_batch_tokens != "auto":
        return options.micro_batch_tokens
    return 8192 if on_gpu else max(1024, 512 * threads)


def may_pack(options: LocalOptions, *, on_gpu: bool) -> bool:
    """Whether rows are packed end to end, if the model's attention allows it."""
    if on_gpu:
        return options.packing is True
    return options.packing is not False and options.attention in ("auto", "sdpa") and not options.compile


def may_share_prefixes(options: LocalOptions, *, on_gpu: bool) -> bool:
    """Whether common prefixes of rows are computed once, if the model's attention allows it."""
    if options.share_prefixes != "auto":
        return options.share_prefixes
    noise = options.neftune_alpha is not None or options.lora_dropout > 0
    return not on_gpu and may_pack(options, on_gpu=on_gpu) and not noise
