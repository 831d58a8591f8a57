"""Opens trained weights for export to other programs; `backends.local.checkpoints.export` does the work with tensors.

Runs of all backends are exported on this machine. The local backend's checkpoints are PEFT adapters already; those of
the Tinker API are downloaded first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from backends.checkpoint_paths import SHORTEST_TTL_SECONDS, CheckpointPath
from backends.interface import BackendError, ServiceClient
from backends.saved_weights import Probe, SavedWeights

if TYPE_CHECKING:
    import tinker
    from tinker import types

    from backends.options import BackendOptions


class Weights(Protocol):
    """Trained weights on disk, ready to be exported."""

    def save_adapter(self, target: Path) -> SavedWeights:
        """Write a PEFT adapter; returns what it is (BackendError after full fine-tuning)."""
        ...

    def save_checkpoint(self, checkpoints: Path, seed: int | None = None) -> str:
        """Write the weights under the local backend's directory, to be sampled from or trained further.

        Args:
            checkpoints: The directory.
            seed: Seed of the noise in the training to come; None: they are not to be trained.

        Returns:
            Their ``tinker://`` path.

        Raises:
            BackendError: The disk is full, or may not be written to.
        """
        ...

    def save_merged(self, target: Path, dtype: str, probes: Sequence[Probe]) -> SavedWeights:
        """Write the base model with the adapter merged in, or a fully trained model.

        Args:
            target: Directory for the Hugging Face model.
            dtype: Of the written weights: float32, bfloat16 or float16.
            probes: Where the logits before and after the merge are compared.

        Returns:
            What was written, with the gaps that were measured.

        Raises:
            BackendError: The base model cannot be loaded, or the merged weights are not finite.
        """
        ...


def open_weights(
    base_model: str,
    options: BackendOptions,
    *,
    checkpoints: Path | None = None,
    path: str = "",
    directory: Path | None = None,
) -> Weights:
    """Trained weights, to be exported.

    Args:
        base_model: The model that was trained, as its run names it.
        options: `LocalOptions` of the run: the quantisation that it trained under.
        checkpoints: Directory of the local backend's checkpoints, for `path`.
        path: ``tinker://`` path of a local checkpoint.
        directory: An adapter's directory, instead of `path`.

    Raises:
        BackendError: The weights are missing, damaged, or not an adapter.
    """
    from backends.local.checkpoints.export import LocalWeights

    return LocalWeights.open(base_model, options, checkpoints, path, directory)


def download_adapter(service: ServiceClient, path: str, target: Path) -> None:
    """Fetch a checkpoint of a Tinker server as a PEFT adapter.

    A training state is exported through a training client, and the export is deleted again. Sampling weights can be
    downloaded from `text2sql serve` directly, but not from the hosted API.

    Args:
        service: A `tinker.ServiceClient`, behind its interface.
        path: ``tinker://`` path.
        target: An existing directory for the files.

    Raises:
        BackendError: The download fails, or names files outside `target`.
    """
    # Exports are not part of the interface, since only the API has them.
    sdk = cast("tinker.ServiceClient", service)
    kind = CheckpointPath.parse(path).kind
    if kind == "sampler":
        sampler_links = cast("LinksToSamplers", service).sampler_links
        _fetch_files(lambda: sampler_links(path), path, target)
        return
    if kind == "external":
        rest = sdk.create_rest_client()
        _fetch_files(lambda: rest.get_external_weights_urls(path).result(), path, target)
        return
    client = sdk.create_training_client_from_state(path).result()
    exported = client.save_weights_external("export", ttl_seconds=SHORTEST_TTL_SECONDS).result().path
    rest = sdk.create_rest_client()
    try:
        _fetch_files(lambda: rest.get_external_weights_urls(exported).result(), exported, target)
    finally:
        rest.delete_checkpoint_from_tinker_path(exported).result()


class LinksToSamplers(Protocol):
    """A service client that offers the files of sampling weights."""

    def sampler_links(self, path: str) -> types.ExternalWeightsUrlsResponse:
        """A signed link to each file."""
        ...


def _fetch_files(sign: Callable[[], types.ExternalWeightsUrlsResponse], exported: str, target: Path) -> None:
    signed = sign()
    for name in sorted(signed.urls):
        file = (target / name).resolve()
        if not file.is_relative_to(target.resolve()):
            raise BackendError(f"The export {exported} names a file outside itself: {name}.")
        if datetime.now(UTC) > signed.expires - timedelta(minutes=5):
            signed = sign()
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            _download(signed.urls[name], file)
        except OSError as error:
            raise BackendError(f"Downloading {name} of {exported} failed: {error}.") from error


def _download(url: str, file: Path) -> None:
    """Write what is at an address to a file, without holding it in memory (OSError if that fails)."""
    # Imported here because it takes longer than the start of a command should.
    import httpx

    try:
        with httpx.stream("GET", url, timeout=60, follow_redirects=True) as response, file.open("wb") as copy:
            response.raise_for_status()
            for block in response.iter_bytes():
                copy.write(block)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise OSError(str(error)) from error
