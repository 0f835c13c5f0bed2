"""Arrays on their way to the engine, without holding up the event loop."""

from __future__ import annotations

import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from activeseg.core.errors import ActiveSegError
from activeseg.core.geometry import Geometry
from activeseg.core.volume import Volume
from activeseg.io.npy import PART_BYTES, read_array
from ActiveSegModuleLib.engine.inbox import Inbox


class Turns:
    """An event loop that is turned by hand."""

    def __init__(self, folder: Path) -> None:
        self.engine = SimpleNamespace(engine={"inbox": str(folder)}, later=lambda f: self.due.append(f))
        self.due: list[Callable[[], None]] = []
        self.done = 0
        self.errors: list[ActiveSegError] = []
        self.inbox = Inbox(self.engine)

    def fill(self) -> None:
        self.inbox.fill(self._done, self.errors.append)

    def _done(self) -> None:
        self.done += 1

    def run(self) -> int:
        """To the end; the number of turns."""
        turns = 0
        while self.due:
            self.due.pop(0)()
            turns += 1
        return turns


@pytest.fixture
def turns(tmp_path: Path) -> Turns:
    return Turns(tmp_path)


def test_a_large_array_is_written_in_parts_with_turns_of_the_event_loop_between(turns: Turns) -> None:
    array = np.arange(2.5 * PART_BYTES / 4, dtype=np.int32).reshape(-1, 128, 128)
    path = turns.inbox.array(array)
    turns.fill()
    assert turns.done == 0
    assert Path(path).stat().st_size < 1.1 * PART_BYTES
    assert turns.run() == 3
    assert turns.done == 1
    np.testing.assert_array_equal(read_array(path), array)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int16, np.float64, ">i2"])
@pytest.mark.parametrize("shape", [(3, 4, 5), (0, 4, 5), (1, 1, 1)])
def test_what_is_read_is_what_was_given(turns: Turns, dtype: str, shape: tuple[int, ...]) -> None:
    array = (np.random.default_rng(1).random(shape) * 100).astype(dtype)[:, ::-1]
    path = turns.inbox.array(array)
    turns.fill()
    turns.run()
    found = read_array(path)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_several_volumes_and_bytes_are_one_request(turns: Turns) -> None:
    volume = Volume(np.full((2, 3, 4), 7, np.int16), Geometry.from_ijk_to_ras(np.diag([1.0, 2.0, 3.0, 1.0]), (2, 3, 4)))
    first, second = turns.inbox.volume(volume), turns.inbox.volume(volume)
    more = turns.inbox.bytes(b"zip", ".npz")
    turns.fill()
    turns.run()
    assert turns.done == 1
    assert Path(more).read_bytes() == b"zip"
    for message in (first, second):
        assert message.geometry == volume.geometry
        assert np.array_equal(read_array(message.array), volume.array)
    turns.inbox.remove()
    assert not list(Path(more).parent.iterdir())


def test_removed_while_it_is_filled_nothing_is_left_or_told(turns: Turns, tmp_path: Path) -> None:
    turns.inbox.array(np.zeros(3 * PART_BYTES, np.uint8))
    turns.inbox.array(np.zeros(3, np.uint8))
    turns.fill()
    turns.inbox.remove()
    turns.run()
    assert turns.done == 0
    assert not turns.errors
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_gone_is_told_once(turns: Turns, tmp_path: Path) -> None:
    turns.inbox.array(np.zeros(3, np.uint8))
    turns.inbox.array(np.zeros(3, np.uint8))
    tmp_path.rmdir()
    turns.fill()
    turns.run()
    (error,) = turns.errors
    assert "could not be written" in str(error)
    assert turns.done == 0


def test_an_empty_request_is_sent_too(turns: Turns) -> None:
    turns.fill()
    assert turns.done == 1


def test_a_disk_without_room_is_told_before_anything_is_written(turns: Turns, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage(10, 10, 1_000_000))
    path = turns.inbox.array(np.zeros((20, 300, 300), np.int16))
    turns.fill()
    turns.run()
    assert turns.done == 0
    (error,) = turns.errors
    assert "is full: 4 MB are needed there, 1 MB are free" in str(error)
    assert not Path(path).exists()
