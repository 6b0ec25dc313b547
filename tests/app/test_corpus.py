"""The text: the same every time, held-out files apart, clear errors."""

import numpy as np
import pytest

from thalweg.app import corpus


def tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
    return root


def test_the_standard_library_is_read_the_same_way_twice():
    one, two = corpus.load(cap=300_000), corpus.load(cap=300_000)
    assert one.digest == two.digest
    assert np.array_equal(one.train, two.train)
    assert np.array_equal(one.validation, two.validation)
    assert 200_000 < len(one.train) + len(one.validation) <= 300_000 + one.train_files * 2
    assert corpus.load(cap=200_000).digest != one.digest


def test_every_tenth_file_is_held_out_whole(tmp_path):
    files = {f"part{i % 3}/m{i}.py": f"<{i}>".encode() * 5 for i in range(40)}
    found = corpus.load(tree(tmp_path, files))
    assert (found.train_files, found.validation_files) == (36, 4)
    train = set(found.train.tobytes().split(b"\0"))
    held_out = set(found.validation.tobytes().split(b"\0"))
    assert train | held_out == set(files.values())
    assert not train & held_out


def test_the_digest_follows_names_and_content(tmp_path):
    files = {f"m{i}.py": b"text" for i in range(12)}
    before = corpus.load(tree(tmp_path, files)).digest
    (tmp_path / "m3.py").write_bytes(b"next")
    changed = corpus.load(tmp_path).digest
    (tmp_path / "m3.py").rename(tmp_path / "other.py")
    assert len({before, changed, corpus.load(tmp_path).digest}) == 3


def test_third_party_code_tests_and_tables_are_left_out(tmp_path):
    files = {f"m{i}.py": b"kept" for i in range(4)}
    skipped = ["site-packages/a.py", "json/tests/b.py", "test/c.py", "encodings/d.py"]
    skipped += ["_sysconfigdata_x.py", "notes.txt"]
    files |= dict.fromkeys(skipped, b"skipped")
    files["large.py"] = b"#" * (corpus.LARGEST_FILE + 1)
    found = corpus.load(tree(tmp_path, files))
    text = found.train.tobytes() + found.validation.tobytes()
    assert text.count(b"kept") == 4
    assert b"skipped" not in text and b"###" not in text


def test_too_little_text_is_an_error_that_says_where(tmp_path):
    tree(tmp_path, {"only.py": b"x = 1\n"})
    with pytest.raises(corpus.CorpusError, match=f"at least two.*{tmp_path}.*found 1"):
        corpus.load(tmp_path)


def test_windows_tile_the_text_and_overlap_by_the_target():
    text = np.arange(100, dtype=np.uint8)
    windows = corpus.Windows(text, 10)
    assert len(windows) == 9
    assert windows[0].dtype == np.int64
    for index in range(len(windows)):
        assert windows[index].tolist() == list(range(10 * index, 10 * index + 11))
    with pytest.raises(IndexError, match=r"window 9 .* 9 windows"):
        windows[9]


def test_a_window_may_be_as_long_as_the_text_allows():
    text = np.arange(11, dtype=np.uint8)
    assert corpus.Windows(text, 10)[0].tolist() == list(range(11))
    with pytest.raises(corpus.CorpusError, match="only 11"):
        corpus.Windows(text, 11)


def test_validation_windows_are_spread_over_the_held_out_text():
    text = (np.arange(1001) % 251).astype(np.uint8)
    found = corpus.Corpus(text, text, 1, 1, "")
    windows = corpus.validation_windows(found, 10, 5)
    assert windows.shape == (5, 11)
    assert windows[0, 0] == text[0] and windows[-1, -1] == text[1000]
    assert corpus.validation_windows(found, 10, 1000).shape == (100, 11)
