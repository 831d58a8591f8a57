"""`text2sql data fetch`: downloads known data sets from their official place into the cache."""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from pathlib import Path

import httpx

from backends.paths import PARTIAL
from text2sql.console import console
from text2sql.data.sources import NAMED
from text2sql.data.sources.layout import fetch_directory
from text2sql.errors import UserError

# Seconds without a byte after which a download is aborted.
TIMEOUT_SECONDS = 60.0


def fetch(name: str) -> Path | None:
    """Downloads a data set to where `data.source` finds it; complete downloads are kept.

    Returns:
        The directory of the unpacked archive; None for a data set in the Hub client's own cache.

    Raises:
        UserError: There is no data set of this name, or it cannot be downloaded.
    """
    source = NAMED.get(name)
    if source is None or (source.archive is None and source.hub_id is None):
        known = (name for name, source in NAMED.items() if source.archive or source.hub_id)
        raise UserError(f'There is no data set "{name}" to fetch; there are {", ".join(known)}.')
    if source.archive is None:
        _fetch_from_hub(str(source.hub_id), source.revision)
        return None
    archive, directory = source.archive, fetch_directory(name)
    marker = directory / ".complete"
    if marker.is_file():
        console.print(f"{directory} is there already.")
        return directory
    directory.mkdir(parents=True, exist_ok=True)
    for file, url in archive.files.items():
        _unpack(_download(url, directory / file, archive.page), archive.page)
    marker.touch()
    console.print(f"{name} is in {directory}: data.source={name} finds it there.")
    return directory


def _fetch_from_hub(hub_id: str, revision: str | None) -> None:
    from text2sql.data.sources.hub import load_all

    for split, count in load_all(hub_id, revision).items():
        console.print(f"{hub_id}: {count:,} rows of split {split}, in the Hub's own cache")


def _download(url: str, file: Path, page: str) -> Path:
    """Downloads a file, resuming an earlier download."""
    if file.is_file():
        return file
    # Not `backends.paths.written_aside`, because the next start must find the part of a large file again.
    aside = file.with_name(f"{file.name}{PARTIAL}")
    try:
        if not _resume(url, aside):
            # The part belongs to another file: the server's is shorter now.
            aside.unlink()
            _resume(url, aside)
    except httpx.HTTPStatusError as error:
        raise _unreachable(url, file, page, f"HTTP {error.response.status_code}") from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise _unreachable(url, file, page, str(error) or type(error).__name__) from error
    aside.replace(file)
    _etag_file(aside).unlink(missing_ok=True)
    return file


def _resume(url: str, aside: Path) -> bool:
    """Downloads the rest of a file; returns whether the existing part is the beginning of the server's file."""
    start = aside.stat().st_size if aside.is_file() else 0
    # Without compression, so that offsets in the file are offsets in the download.
    headers = {"User-Agent": "text2sql", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if _etag_file(aside).is_file():
            # If the file has changed, the server sends all of it.
            headers["If-Range"] = _etag_file(aside).read_text(encoding="ascii")
    with httpx.stream("GET", url, headers=headers, timeout=TIMEOUT_SECONDS, follow_redirects=True) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            # A range that starts at the end means that the file is complete.
            size = response.headers.get("Content-Range", "").rpartition("/")[2]
            return not size.isdigit() or int(size) == start
        response.raise_for_status()
        tag = response.headers.get("ETag", "")
        # A weak ETag does not guarantee the same bytes.
        if tag.startswith('"') and tag.isascii():
            _etag_file(aside).write_text(tag, encoding="ascii")
        else:
            _etag_file(aside).unlink(missing_ok=True)
        _append(response, aside, start)
    return True


def _etag_file(aside: Path) -> Path:
    """The file with the ETag of the version that the part belongs to."""
    return aside.with_name(f"{aside.name}.etag")


def _append(response: httpx.Response, aside: Path, start: int) -> None:
    """Appends the response to the first `start` bytes; overwrites them if the server sends the whole file."""
    resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
    length = int(response.headers.get("Content-Length") or 0) + (start if resumed else 0)
    console.print(f"{aside.stem}: {length / 1e6:,.0f} MB" if length else aside.stem)
    with aside.open("ab" if resumed else "wb") as out:
        for piece in response.iter_bytes():
            out.write(piece)


def _unreachable(url: str, file: Path, page: str, reason: str) -> UserError:
    return UserError(
        f"{url} cannot be fetched ({reason}). What came is kept, and the same command goes on from there. Without "
        f"network: download {file.name} from {page} on another machine and put it into {file.parent}."
    )


def _unpack(file: Path, page: str) -> None:
    """Unpacks an archive and the archives inside it into its folder; each is deleted afterwards."""
    try:
        if file.suffix == ".zip":
            with zipfile.ZipFile(file) as packed:
                names = [name for name in packed.namelist() if not name.startswith("__MACOSX")]
                packed.extractall(file.parent, names)
        else:
            with tarfile.open(file) as packed_tar:
                names = packed_tar.getnames()
                packed_tar.extractall(file.parent, filter="data")
                # Reading to the end verifies the checksum there.
                while packed_tar.fileobj and packed_tar.fileobj.read(2**20):
                    pass
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        # A full disk has an errno; a damaged bzip2 stream has none.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        file.unlink()
        reason = str(error).partition("\n")[0].rstrip(":") or type(error).__name__
        raise UserError(
            f"{file.name} is not the archive that it should be ({reason}); perhaps a page that asks to confirm. "
            f"Download it from {page} and put it into {file.parent}."
        ) from error
    file.unlink()
    for name in names:
        inner = file.parent / name
        if inner.suffix == ".zip" and inner.is_file():
            _unpack(inner, page)
