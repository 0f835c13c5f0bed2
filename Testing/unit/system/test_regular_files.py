"""Only regular files of sane size are read, and JSON says what is wrong with it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from activeseg.core.errors import InputError, ModelError
from activeseg.system.regular_files import open_regular, read_bytes, read_json

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs FIFOs and devices")


@posix
def test_a_fifo_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "plans.json")
    with pytest.raises(InputError, match=r"'plans\.json' is not a regular file"):
        open_regular(tmp_path / "plans.json")


@posix
def test_a_device_and_a_link_to_one_are_refused(tmp_path):
    (tmp_path / "plans.json").symlink_to("/dev/zero")
    for path in (Path("/dev/zero"), tmp_path / "plans.json"):
        with pytest.raises(ModelError, match="not a regular file"):
            read_json(path, ModelError)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a regular file"):
        open_regular(tmp_path)


def test_no_more_than_the_limit_is_read(tmp_path):
    file = tmp_path / "x.json"
    file.write_bytes(b" " * (2**20 + 1))
    with pytest.raises(InputError, match=r"larger than 1 MiB"):
        read_bytes(file, 2**20)
    assert len(read_bytes(file, 2**20 + 1)) == 2**20 + 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "damaged"),
        (b'{"a": ', "damaged"),
        (b"\xff\xfe", "damaged"),
        (b"[1, 2]", "a list, not an object"),
        (b"null", "a NoneType, not an object"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b'{"a": ' + b"1" * 5000 + b"}", "damaged"),
    ],
)
def test_what_is_no_object_is_an_error_that_names_the_file(tmp_path, text, why):
    (tmp_path / "dataset.json").write_bytes(text)
    with pytest.raises(ModelError, match=r"'dataset\.json'") as caught:
        read_json(tmp_path / "dataset.json", ModelError, "Restore it.")
    assert why in caught.value.message
    assert caught.value.action == "Restore it."


def test_a_missing_file_is_told_as_missing(tmp_path):
    with pytest.raises(ModelError, match="is missing"):
        read_json(tmp_path / "plans.json", ModelError)


def test_an_object_is_returned(tmp_path):
    (tmp_path / "ä.json").write_text('{"name": "Müller"}', "utf-8")
    assert read_json(tmp_path / "ä.json") == {"name": "Müller"}
