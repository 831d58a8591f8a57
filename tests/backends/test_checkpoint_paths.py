"""``tinker://`` paths: the same reading as the SDK's, and the lifetimes that the API documents."""

from __future__ import annotations

import pytest
from tinker import types

from backends.checkpoint_paths import (
    LONGEST_TTL_SECONDS,
    SEGMENTS,
    SHORTEST_TTL_SECONDS,
    CheckpointPath,
    Kind,
    check_ttl,
)


@pytest.mark.parametrize("kind", SEGMENTS)
def test_a_path_is_read_as_the_sdk_reads_it(kind: Kind) -> None:
    path = CheckpointPath("5f3a:train:0", kind, "step-000020")
    theirs = types.ParsedCheckpointTinkerPath.from_tinker_path(str(path))
    assert CheckpointPath.parse(str(path)) == path
    assert (theirs.training_run_id, theirs.checkpoint_type) == (path.run, path.kind)
    assert theirs.checkpoint_id == path.checkpoint_id


@pytest.mark.parametrize(
    "text", ["", "run/weights/a", "tinker://run/weights", "tinker://run/x/a", "tinker://a/weights/b/c"]
)
def test_what_is_no_path_is_refused_by_name_as_by_the_sdk(text: str) -> None:
    with pytest.raises(ValueError, match="Invalid tinker path"):
        types.ParsedCheckpointTinkerPath.from_tinker_path(text)
    with pytest.raises(ValueError, match=r"Invalid tinker path: .*tinker://RUN/"):
        CheckpointPath.parse(text)


def test_a_checkpoint_lives_an_hour_to_ten_years_or_for_ever() -> None:
    for seconds in (None, SHORTEST_TTL_SECONDS, LONGEST_TTL_SECONDS):
        check_ttl(seconds)
    for seconds in (0, SHORTEST_TTL_SECONDS - 1, LONGEST_TTL_SECONDS + 1):
        with pytest.raises(ValueError, match=f"ttl_seconds is {seconds}"):
            check_ttl(seconds)
