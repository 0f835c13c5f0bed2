"""A draft survives whatever happens while it is written: it is the one before or the one after."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import signal
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_cases import SCHEMA, ct, labels, oblique
from forked import in_child
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activeseg.client.kept_drafts import remove_draft
from activeseg.core.errors import EngineError, InputError
from activeseg.core.records import to_json
from activeseg.core.volume import Volume
from activeseg.corrections.drafts import Draft, Edits, discard, drafts_in, save_edits, store_base
from activeseg.corrections.opened import CaseOfDataset, OpenedLabels
from activeseg.predictions.make_prediction import segment
from activeseg.predictions.prediction import Prediction
from activeseg.samples.phantom import Domain, make_phantom, phantom_geometry
from activeseg.segmenters import open_segmenter

resource = pytest.importorskip("resource", reason="kills forked processes at every step, which needs POSIX")

Step = Callable[[str], None]


@pytest.fixture(scope="module")
def image() -> Volume:
    return make_phantom(Domain.NATIVE, seed=1, geometry=phantom_geometry(spacing_xyz=(10.0, 10.0, 10.0))).ct


@pytest.fixture(scope="module")
def prediction(image: Volume) -> Prediction:
    return segment({"CT": image}, open_segmenter("hounsfield"), regions=3)


@pytest.fixture
def patches(prediction: Prediction, tmp_path: Path) -> bytes:
    from activeseg.predictions.region_files import write_regions

    folder = tmp_path / "regions"
    folder.mkdir()
    write_regions(folder, prediction.regions)
    return (folder / "alternatives.npz").read_bytes()


def edits(seed: int = 0, **more: Any) -> Edits:
    rng = np.random.default_rng(seed)
    arrays = rng.integers(0, 5, (3, 4, 5)).astype(np.uint8), np.zeros((0, 0, 0), np.int16)
    return Edits({"layers": [{"first_ijk": [1, 2, seed]}]}, arrays, **more)


def saved(folder: Path) -> Any:
    """What the draft says that the user did, with every voxel; None when there is no draft."""
    draft = Draft.find(folder)
    if draft is None:
        return None
    base, found, images = draft.read_base(), draft.read_edits(), draft.read_images()
    kept = None if found is None else (found.layers, [array.tolist() for array in found.arrays])
    return (
        draft.state,
        kept,
        base.labels.sha256(),
        {channel: volume.sha256() for channel, volume in images.items()},
    )


def assert_no_waste(folder: Path) -> None:
    draft = Draft.open(folder)
    named = {"draft.json", draft.base, draft.edits, *(stored.file for stored in draft.images.values())} - {""}
    assert {path.name for path in folder.iterdir()} == named


def test_a_draft_gives_back_what_it_was_given(
    prediction: Prediction, image: Volume, patches: bytes, tmp_path: Path
) -> None:
    folder = tmp_path / "drafts" / "a1"
    store_base(folder, prediction, {"CT": image})
    first = Draft.open(folder)
    assert (first.id, first.has_edits, first.read_edits()) == ("a1", False, None)
    entries = tuple({**to_json(region), "state": "accepted"} for region in prediction.regions)
    save_edits(folder, edits(1, regions=entries, patches=patches), {"name": "Case 1"})
    draft = Draft.open(folder)
    assert draft.state == {"name": "Case 1"}
    assert draft.has_edits
    found = draft.read_edits()
    assert found is not None
    assert found.layers == edits(1).layers
    assert found.regions == entries
    assert found.patches == patches
    for read, written in zip(found.arrays, edits(1).arrays, strict=True):
        assert read.dtype == written.dtype
        assert np.array_equal(read, written)
    (channel,) = draft.read_images()
    assert draft.read_images()[channel].array.dtype == image.array.dtype
    assert draft.read_images()[channel].sha256() == image.sha256()
    base = draft.read_base()
    assert isinstance(base, Prediction)
    assert np.array_equal(base.labels.array, prediction.labels.array)
    assert [str(region.state) for region in base.regions] == ["accepted"] * len(entries)
    assert draft.size() > image.array.nbytes
    assert [stat.st_mode & 0o777 for stat in (folder.stat(), folder.parent.stat())] == [0o700, 0o700]
    assert_no_waste(folder)


def test_a_case_of_a_dataset_is_a_base_too(tmp_path: Path) -> None:
    opened = OpenedLabels(
        Volume(labels(), oblique()), SCHEMA, ("liver", "spleen"), CaseOfDataset("/data/Dataset501_A", "CT_0001")
    )
    save_edits(tmp_path / "d" / "a1", edits(), {}, base=(opened, {"CT": ct()}))
    base = Draft.open(tmp_path / "d" / "a1").read_base()
    assert isinstance(base, OpenedLabels)
    assert (base.schema, base.decided, base.origin.dataset, base.origin.case) == (
        SCHEMA,
        ("liver", "spleen"),
        "/data/Dataset501_A",
        "CT_0001",
    )
    assert np.array_equal(base.labels.array, labels())
    assert base.labels.geometry.same_grid(oblique())


def test_a_better_prediction_takes_the_place_of_the_first_and_keeps_what_the_user_did(
    prediction: Prediction, image: Volume, tmp_path: Path
) -> None:
    folder = tmp_path / "d" / "a1"
    store_base(folder, prediction, {"CT": image})
    save_edits(folder, edits(2), {"notes": "n"})
    before = Draft.open(folder)
    store_base(folder, replace(prediction, agreement=0.5), {"CT": image})
    after = Draft.open(folder)
    assert after.images == before.images, "a large file is not written twice"
    base = after.read_base()
    assert isinstance(base, Prediction)
    assert base.agreement == 0.5
    assert (after.state, after.edits) == ({"notes": "n"}, before.edits)
    assert_no_waste(folder)


def test_edits_alone_make_no_draft(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no draft") as caught:
        save_edits(tmp_path / "d" / "a1", edits(), {})
    assert caught.value.details == {"missing": "base"}
    assert not (tmp_path / "d" / "a1").exists()


def test_regions_that_are_none_change_nothing(prediction: Prediction, image: Volume, tmp_path: Path) -> None:
    folder = tmp_path / "d" / "a1"
    store_base(folder, prediction, {"CT": image})
    before = saved(folder)
    entries = tuple(to_json(prediction.regions))
    with pytest.raises(InputError, match="regions"):
        save_edits(folder, edits(regions=entries, patches=b"nothing"), {})
    assert saved(folder) == before
    assert_no_waste(folder)


def test_drafts_are_listed_last_saved_first_and_damaged_ones_are_left_alone(tmp_path: Path) -> None:
    opened = OpenedLabels(Volume(labels(), oblique()), SCHEMA, SCHEMA.names, CaseOfDataset("D", "C"))
    for name in ("a", "b", "c"):
        save_edits(tmp_path / name, edits(), {}, base=(opened, {"CT": ct()}))
    record = tmp_path / "a" / "draft.json"
    record.write_text(record.read_text().replace('"saved": "2', '"saved": "3'))
    (tmp_path / "c" / "draft.json").write_text("{")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert [draft.id for draft in drafts_in(tmp_path)] == ["a", "b"]
    assert discard(tmp_path / "a")
    assert not discard(tmp_path / "a")
    assert [draft.id for draft in drafts_in(tmp_path)] == ["b"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "b", "c", "mine"]
    assert list((tmp_path / "c").glob("base-*")), "what cannot be read may be worth reading by hand"
    assert (tmp_path / "mine" / "thesis.txt").exists()
    assert drafts_in(tmp_path / "nowhere") == []


Change = Callable[[Path, Prediction, Volume, Step], object]


def first_base(folder: Path, prediction: Prediction, image: Volume, step: Step) -> None:
    store_base(folder, prediction, {"CT": image}, step)


def other_base(folder: Path, prediction: Prediction, image: Volume, step: Step) -> None:
    other = Volume(image.array + np.int16(1), image.geometry)
    moved = replace(prediction, labels=Volume(np.zeros_like(prediction.labels.array), image.geometry))
    store_base(folder, moved, {"CT": other}, step)


def later_edits(folder: Path, prediction: Prediction, image: Volume, step: Step) -> None:
    save_edits(folder, edits(5), {"n": 5}, step=step)


CHANGES = pytest.mark.parametrize("change", [first_base, other_base, later_edits], ids=lambda f: f.__name__)


def prepare(folder: Path, change: Change, prediction: Prediction, image: Volume) -> Any:
    if change is not first_base:
        store_base(folder, prediction, {"CT": image})
        save_edits(folder, edits(1), {"n": 1})
    return saved(folder)


@CHANGES
def test_killed_at_any_step_leaves_the_draft_before_or_the_one_after(
    change: Change, prediction: Prediction, image: Volume, tmp_path: Path
) -> None:
    number = 0
    while True:
        number += 1
        folder = tmp_path / str(number) / "drafts" / "a1"
        old = prepare(folder, change, prediction, image)
        log = tmp_path / f"steps{number}"
        log.write_text("")

        def kill_at(step: str, last: int = number, log: Path = log) -> None:
            with open(log, "a") as file:
                file.write(step + "\n")
            if len(log.read_text().splitlines()) == last:
                os.kill(os.getpid(), signal.SIGKILL)

        status = in_child(lambda f=folder, k=kill_at: change(f, prediction, image, k))
        crashed = saved(folder)
        assert (crashed != old) == ("committed" in log.read_text().splitlines()), "the one commit point"
        assert [draft.id for draft in drafts_in(folder.parent)] == ([] if crashed is None else ["a1"])
        if crashed is None:
            assert not folder.exists(), "what was begun is removed"
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        change(folder, prediction, image, lambda step: None)
        assert saved(folder) != old
        assert_no_waste(folder)
    assert number > 5, "a real number of steps was tried"


@CHANGES
def test_a_full_disk_at_any_step_changes_nothing_and_is_told(
    change: Change, prediction: Prediction, image: Volume, tmp_path: Path
) -> None:
    taken: list[str] = []
    folder = tmp_path / "0" / "a1"
    prepare(folder, change, prediction, image)
    change(folder, prediction, image, taken.append)
    for last in range(1, taken.index("committed") + 1):
        folder = tmp_path / str(last) / "a1"
        old = prepare(folder, change, prediction, image)
        seen: list[str] = []

        def fail_at(step: str, last: int = last, seen: list[str] = seen) -> None:
            seen.append(step)
            if len(seen) == last:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with pytest.raises(EngineError, match="could not be saved: No space left on device"):
            change(folder, prediction, image, fail_at)
        assert saved(folder) == old
        if old is None:
            assert not folder.exists()
        else:
            assert_no_waste(folder)


@pytest.mark.parametrize("room", [2_000, 20_000, 100_000])
def test_a_disk_that_is_really_too_small_changes_nothing_and_is_told(
    room: int, prediction: Prediction, image: Volume, tmp_path: Path
) -> None:
    folder, told = tmp_path / "d" / "a1", tmp_path / "told"
    old = prepare(folder, other_base, prediction, image)
    noise = np.random.default_rng(0).integers(0, 255, (60, 60, 60)).astype(np.uint8)

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        try:
            save_edits(folder, Edits({}, (noise,)), {})
        except EngineError as error:
            told.write_text(str(error))

    assert in_child(work) == 0
    assert "The draft could not be saved: File too large" in told.read_text()
    assert "What was saved before is kept" in told.read_text()
    assert saved(folder) == old
    assert_no_waste(folder)


def test_two_programs_that_save_at_once_leave_a_whole_draft(
    prediction: Prediction, image: Volume, tmp_path: Path
) -> None:
    folder = tmp_path / "d" / "a1"
    prepare(folder, later_edits, prediction, image)

    def work(seed: int) -> None:
        for n in range(5):
            save_edits(folder, edits(seed + n), {"n": seed + n})

    children = []
    for seed in (10, 20, 30):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                work(seed)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    draft = Draft.open(folder)
    found = draft.read_edits()
    assert found is not None
    assert np.array_equal(found.arrays[0], edits(draft.state["n"]).arrays[0])
    assert_no_waste(folder)


# Folders that somebody else has made.


def everything(folder: Path) -> dict[str, bytes | str]:
    """Every entry below a folder: what a file holds, where a link leads."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        found[name] = (
            f"-> {path.readlink()}" if path.is_symlink() else path.read_bytes() if path.is_file() else "folder"
        )
    return found


def test_looking_for_drafts_in_any_folder_changes_nothing_there(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for name in ("empty", f"edits-{'0' * 32}", "project/base-" + "1" * 32, f"photos/edits-{'a' * 32}"):
        (home / name).mkdir(parents=True)
    (home / "project" / f"image0-{'2' * 32}.npy").write_text("mine")
    (home / "photos" / f"edits-{'a' * 32}" / "thesis.txt").write_text("mine")
    (home / "linked").symlink_to(home / "photos")
    before = everything(home)
    assert drafts_in(home) == []
    for folder in (home, home / "empty", home / "project", home / "photos", home / "linked", home / "nowhere"):
        assert discard(folder) is False
        assert drafts_in(folder) == []
    assert everything(home) == before


def test_a_draft_is_not_written_into_a_folder_of_somebody_else(
    prediction: Prediction, image: Volume, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    (folder / f"edits-{'a' * 32}").mkdir(parents=True)
    (folder / "cat.jpg").write_text("mine")
    (tmp_path / "linked").symlink_to(folder)
    (tmp_path / "file").write_text("mine")
    before = everything(folder)
    for target in (folder, tmp_path / "linked", tmp_path / "file"):
        with pytest.raises(InputError, match=r"other things|not a folder"):
            store_base(target, prediction, {"CT": image})
    assert everything(folder) == before
    assert (tmp_path / "file").read_text() == "mine"


@pytest.fixture
def stored(prediction: Prediction, image: Volume, patches: bytes, tmp_path: Path) -> Draft:
    """A draft with edits, in a folder of drafts."""
    store_base(tmp_path / "drafts" / "a1", prediction, {"CT": image})
    with_regions = edits(regions=tuple(to_json(prediction.regions)), patches=patches)
    return save_edits(tmp_path / "drafts" / "a1", with_regions, {"name": "x"})


def change_record(draft: Draft, **changes: object) -> None:
    record = json.loads((draft.folder / "draft.json").read_text())
    (draft.folder / "draft.json").write_text(json.dumps({**record, **changes}))


HOSTILE_RECORDS: dict[str, object] = {
    "base above": {"base": "../../thesis"},
    "base absolute": {"base": "/etc"},
    "edits above": {"edits": "../a2/edits-" + "0" * 32},
    "edits a list": {"edits": ["a"]},
    "base a number": {"base": 7},
    "state a list": {"state": [1, 2]},
    "images a list": {"images": [1]},
    "image above": {"images": {"CT": {"file": "../../x.npy", "geometry": {}, "sha256": ""}}},
    "image without a file": {"images": {"CT": {"geometry": {}}}},
    "image a text": {"images": {"CT": "x"}},
    "geometry a number": {"images": {"CT": {"file": f"image0-{'0' * 32}.npy", "geometry": 0, "sha256": ""}}},
    "geometry a text": {"images": {"CT": {"file": f"image0-{'0' * 32}.npy", "geometry": "..", "sha256": ""}}},
    "geometry a list": {"images": {"CT": {"file": f"image0-{'0' * 32}.npy", "geometry": [[]], "sha256": ""}}},
}


@pytest.mark.parametrize("name", HOSTILE_RECORDS)
def test_a_hostile_record_is_refused_in_words_and_nothing_outside_is_touched(
    stored: Draft, tmp_path: Path, name: str
) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("mine")
    changes = HOSTILE_RECORDS[name]
    assert isinstance(changes, dict)
    change_record(stored, **changes)
    with pytest.raises(InputError, match="is damaged"):
        Draft.open(stored.folder)
    assert drafts_in(stored.folder.parent) == []
    discard(stored.folder)
    assert not (stored.folder / "draft.json").exists()
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "mine"


@pytest.mark.parametrize("content", [b"[" * 100_000, b"[]", b"\xff", b"{", b'{"format": 1e999}', b'{"format": 2}'])
def test_a_record_that_is_no_record_is_an_error_in_words(stored: Draft, content: bytes) -> None:
    (stored.folder / "draft.json").write_bytes(content)
    with pytest.raises(InputError, match=r"draft"):
        Draft.open(stored.folder)
    assert drafts_in(stored.folder.parent) == []


@pytest.mark.parametrize("remove", [discard, remove_draft], ids=lambda remove: remove.__name__)
def test_removing_a_draft_makes_nothing_where_a_link_in_it_leads(
    stored: Draft, tmp_path: Path, remove: Callable[[Path], object]
) -> None:
    (stored.folder / ".activeseg-draft").symlink_to(tmp_path / "outside")
    remove(stored.folder)
    assert not stored.folder.exists()
    assert not (tmp_path / "outside").exists()


@pytest.mark.skipif(os.name != "posix", reason="pipes and links of POSIX")
@pytest.mark.parametrize("instead", ["pipe", "link", "zero"])
@pytest.mark.parametrize("name", ["draft.json", "layers.json", "layers.npz", "alternatives.npz"])
def test_a_file_that_is_none_is_neither_waited_for_nor_followed(
    stored: Draft, tmp_path: Path, name: str, instead: str
) -> None:
    path = stored.folder / name if name == "draft.json" else stored.folder / stored.edits / name
    path.unlink(missing_ok=True)
    if instead == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if instead == "zero" else tmp_path / "nowhere")
    with pytest.raises(InputError):
        _ = Draft.open(stored.folder).read_edits()


def test_a_bomb_of_layers_is_refused_before_memory_is_taken(stored: Draft) -> None:
    path = stored.folder / stored.edits / "layers.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"shape": (1 << 40,), "fortran_order": False, "descr": "|u1"})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0.npy", header.getvalue() + bytes(1 << 20))
    with pytest.raises(InputError, match="announces 1099511627776 bytes"):
        stored.read_edits()


@given(st.binary(max_size=200), st.integers(0, 10_000), st.booleans())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_layers_are_an_error_in_words_or_are_read(stored: Draft, data: bytes, at: int, whole: bool) -> None:
    path = stored.folder / stored.edits / "layers.npz"
    kept = path.read_bytes()
    place = at % len(kept)
    try:
        path.write_bytes(data if whole else kept[:place] + data + kept[place + len(data) :])
        with contextlib.suppress(InputError):
            stored.read_edits()
    finally:
        path.write_bytes(kept)
