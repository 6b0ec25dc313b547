"""The store of compiled code: whole entries or none, bounded, and never an error."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from thalweg.core import flags
from thalweg.runtime.store import Store, digest, store


def only_entry(folder: Path) -> Path:
    (path,) = folder.glob("??/*")
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    place = Store(tmp_path / "new" / "folder")
    name = digest("a", "b")
    assert place.read(name) is None
    place.write(name, b"content")
    assert Store(place.folder).read(name) == b"content"
    assert (place.hits, place.misses) == (0, 1)


def test_names_tell_parts_apart() -> None:
    assert len({digest("ab", "c"), digest("a", "bc"), digest("abc"), digest("ab", "c", "")}) == 4


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.data())
def test_damage_is_noticed(tmp_path: Path, content: bytes, data: st.DataObject) -> None:
    place = Store(tmp_path)
    name = digest("x")
    place.write(name, content)
    path = only_entry(tmp_path)
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        path.write_bytes(whole[:at])
    else:
        path.write_bytes(
            whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
        )
    assert place.read(name) is None
    assert not list(tmp_path.glob("??/*"))
    place.write(name, content)
    assert place.read(name) == content


def test_least_recently_used_entries_go_first(tmp_path: Path) -> None:
    place = Store(tmp_path, limit=20_000)
    for i in range(40):
        place.write(digest(str(i)), os.urandom(1000))
        path = place._path(digest(str(i)))
        os.utime(path, (i, i))
    place.evict()
    kept = [i for i in range(40) if place.read(digest(str(i))) is not None]
    assert kept == list(range(40 - len(kept), 40)) and 8 <= len(kept) <= 20


def test_a_growing_store_makes_room(tmp_path: Path) -> None:
    place = Store(tmp_path, limit=50_000)
    for i in range(200):
        place.write(digest(str(i)), os.urandom(1000))
    assert sum(p.stat().st_size for p in tmp_path.glob("??/*")) <= 50_000 * 9 // 8 + 2000


def test_a_folder_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file stands where the folder should be: that also stops an administrator."""
    (tmp_path / "file").write_text("")
    place = Store(tmp_path / "file")
    for i in range(3):
        place.write(digest(str(i)), b"x")
        assert place.read(digest(str(i))) is None
    assert capsys.readouterr().err.count("thalweg: cache:") == 1


def test_a_full_disk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    place = Store(tmp_path)
    monkeypatch.setattr(os, "replace", full)
    for i in range(2):
        place.write(digest(str(i)), b"x")
    assert capsys.readouterr().err.count("No space left") == 1
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def _hammer(folder: str, seed: int) -> None:
    place = Store(Path(folder), limit=30_000)
    for i in range(300):
        name = digest(str((i * 7 + seed) % 60))
        content = place.read(name)
        assert content is None or content == name.encode() * 20
        place.write(name, name.encode() * 20)


def test_many_processes_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_hammer, args=(str(tmp_path), k)) for k in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0, 0]


def test_the_flag_names_the_folder(tmp_path: Path) -> None:
    with flags.override(cache_dir=str(tmp_path)):
        assert store().folder == tmp_path
        assert store() is store()
