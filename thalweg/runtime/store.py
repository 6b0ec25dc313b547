"""Compiled code on disk, shared by all processes of a user.

A store is a folder of entries named by the digest of their key. Entries are written aside and
renamed into place, so a reader sees all of one or nothing; each begins with the digest of its
content, so one that was cut short or altered is noticed, removed and made again. Two processes
that make the same entry write the same bytes. Nothing that goes wrong here is an error: a store
that cannot be read or written costs time, and says so once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path

from ..core import flags

_MAGIC = b"thalweg1"
_DIGEST = 32
LIMIT = 1 << 30  # bytes kept on disk
_TOUCH_AFTER = 3600.0  # seconds between notes that an entry is in use


def default_folder() -> Path:
    """The flag ``cache_dir``, or 'thalweg' in the user's cache folder."""
    if flags.cache_dir:
        return Path(flags.cache_dir)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "thalweg"
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "thalweg"


def digest(*parts: str) -> str:
    """The name of an entry: equal for equal parts only."""
    made = hashlib.sha256()
    for part in parts:
        data = part.encode()
        made.update(len(data).to_bytes(8, "little"))
        made.update(data)
    return made.hexdigest()


class Store:
    """Entries in ``folder``; at most ``limit`` bytes, of which the least recently used go first."""

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        self.folder = folder
        self.limit = limit
        self.hits = self.misses = 0
        self._written: int | None = None  # bytes since the folder was last measured
        self._complained = False
        self._lock = threading.Lock()

    def _path(self, name: str) -> Path:
        return self.folder / name[:2] / name[2:]

    def read(self, name: str) -> bytes | None:
        """The entry's content, or None if there is none that is whole."""
        path = self._path(name)
        try:
            data = path.read_bytes()
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                self._complain(f"cannot read {path}: {error}")
            self.misses += 1
            return None
        content = _unpack(data)
        if content is None:
            self.misses += 1
            self._complain(f"{path} is damaged and is made again")
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        self.hits += 1
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _TOUCH_AFTER:
                os.utime(path)
        return content

    def write(self, name: str, content: bytes) -> None:
        """Keep an entry, if the folder lets us."""
        path = self._path(name)
        data = _pack(content)
        temporary = ""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix="new-")
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(temporary, path)
        except OSError as error:
            self._complain(f"cannot write to {self.folder}: {error}; compiled code is not kept")
            if temporary:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
            return
        self._note(len(data))

    def _note(self, nbytes: int) -> None:
        """Measure the folder now and then, and make room if it has grown too large."""
        with self._lock:
            if self._written is not None:
                self._written += nbytes
                if self._written < self.limit // 8:
                    return
            self._written = 0
        self.evict()

    def evict(self) -> None:
        """Remove entries, those used longest ago first, until three quarters of the limit hold."""
        found: list[tuple[float, int, Path]] = []
        for path in self.folder.glob("??/*"):
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in found)
        if total <= self.limit:
            return
        for _, size, path in sorted(found):
            if total <= self.limit * 3 // 4:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                total -= size

    def _complain(self, what: str) -> None:
        if not self._complained:
            self._complained = True
            print(f"thalweg: cache: {what}", file=sys.stderr)


def _pack(content: bytes) -> bytes:
    packed = zlib.compress(content, 1)
    return _MAGIC + hashlib.sha256(packed).digest() + packed


def _unpack(data: bytes) -> bytes | None:
    head = len(_MAGIC) + _DIGEST
    packed = data[head:]
    if data[: len(_MAGIC)] != _MAGIC or hashlib.sha256(packed).digest() != data[len(_MAGIC) : head]:
        return None
    return zlib.decompress(packed)


_stores: dict[Path, Store] = {}


def store() -> Store:
    """The store that the flag ``cache_dir`` names now."""
    folder = default_folder()
    found = _stores.get(folder)
    if found is None:
        found = _stores[folder] = Store(folder)
    return found
