"""`text2sql data fetch`: known data sets from their official place into the cache."""

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
from text2sql.data.sources.layout import fetched
from text2sql.errors import UserError

# Seconds without a byte before a download is given up.
SILENCE = 60.0


def fetch(name: str) -> Path | None:
    """Download a data set to where its name finds it; what is there already is kept.

    Returns:
        The directory of an official archive; None for a data set that the Hub's client keeps in its own cache.

    Raises:
        UserError: There is no data set of this name, or it cannot be had.
    """
    source = NAMED.get(name)
    if source is None or (source.archive is None and source.hub_id is None):
        known = (name for name, source in NAMED.items() if source.archive or source.hub_id)
        raise UserError(f'There is no data set "{name}" to fetch; there are {", ".join(known)}.')
    if source.archive is None:
        _fetch_from_hub(str(source.hub_id), source.revision)
        return None
    archive, directory = source.archive, fetched(name)
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
    """Fetch a file, going on where an earlier start stopped."""
    if file.is_file():
        return file
    # Not a name of `backends.paths.written_aside`: what came of a large file must be found again by the next start.
    aside = file.with_name(f"{file.name}{PARTIAL}")
    try:
        if not _go_on(url, aside):
            # What is there is of another file: the server's has become shorter.
            aside.unlink()
            _go_on(url, aside)
    except httpx.HTTPStatusError as error:
        raise _unreachable(url, file, page, f"HTTP {error.response.status_code}") from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise _unreachable(url, file, page, str(error) or type(error).__name__) from error
    aside.replace(file)
    _tag(aside).unlink(missing_ok=True)
    return file


def _go_on(url: str, aside: Path) -> bool:
    """Fetch what is missing of a file; whether what is there was the beginning of the server's file."""
    start = aside.stat().st_size if aside.is_file() else 0
    # Without compression on the way, so that places in the file are places in the download.
    headers = {"User-Agent": "text2sql", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if _tag(aside).is_file():
            # Of a file that is another one by now the server sends all.
            headers["If-Range"] = _tag(aside).read_text(encoding="ascii")
    with httpx.stream("GET", url, headers=headers, timeout=SILENCE, follow_redirects=True) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            # Where the range begins at the end, all of the file is there.
            size = response.headers.get("Content-Range", "").rpartition("/")[2]
            return not size.isdigit() or int(size) == start
        response.raise_for_status()
        tag = response.headers.get("ETag", "")
        # A weak one promises no more than the same meaning.
        if tag.startswith('"') and tag.isascii():
            _tag(aside).write_text(tag, encoding="ascii")
        else:
            _tag(aside).unlink(missing_ok=True)
        _append(response, aside, start)
    return True


def _tag(aside: Path) -> Path:
    """Where it is noted which version of a file what has come is of."""
    return aside.with_name(f"{aside.name}.etag")


def _append(response: httpx.Response, aside: Path, start: int) -> None:
    """Write what comes behind the first `start` bytes of a file; from its beginning if the server sends all of it."""
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
    """Unpack an archive into its folder, and the archives of databases inside it; each is removed when it is done."""
    try:
        if file.suffix == ".zip":
            with zipfile.ZipFile(file) as packed:
                names = [name for name in packed.namelist() if not name.startswith("__MACOSX")]
                packed.extractall(file.parent, names)
        else:
            with tarfile.open(file) as packed_tar:
                names = packed_tar.getnames()
                packed_tar.extractall(file.parent, filter="data")
                # The checksum of all stands at the end, which nobody has read yet.
                while packed_tar.fileobj and packed_tar.fileobj.read(2**20):
                    pass
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        # A disk that is full has a number; a stream of bzip2 that is damaged has none.
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
