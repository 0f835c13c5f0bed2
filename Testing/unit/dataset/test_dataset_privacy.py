"""No byte of a dataset tells who the patient is; what links the two is a private file outside of it."""

from __future__ import annotations

import gzip
import os
import stat
from pathlib import Path

import nibabel
import numpy as np
import pytest
from dataset_cases import SCHEMA, correction, ct, labels, oblique

from activeseg.core.errors import DatasetError
from activeseg.dataset import Dataset, NewCase, Origin, Provenance
from activeseg.dataset.migration import migrate_dataset
from activeseg.dataset.verification import verify_dataset
from activeseg.io.images import read_volume

PLANTED = {
    "name": "Mustermann^Erika",
    "plain name": "Mustermann",
    "id": "PID-4711-0815",
    "date": "19640812",
    "study uid": "1.2.840.113619.2.55.3.604688119.971.1234567890.123",
}


def planted_ct(folder: Path) -> Path:
    """A CT whose path and header tell everything about the patient."""
    place = folder / "Mustermann^Erika" / "PID-4711-0815_19640812"
    place.mkdir(parents=True)
    image = nibabel.Nifti1Image(ct().array.transpose(2, 1, 0), np.diag([1.0, 1.0, 2.0, 1.0]))
    image.header["descrip"] = b"Mustermann^Erika 19640812"
    image.header["db_name"] = b"PID-4711-0815"
    image.header["intent_name"] = b"Mustermann"
    image.header["aux_file"] = b"PID-4711-0815"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", PLANTED["study uid"].encode()))
    path = place / f"{PLANTED['study uid']}.nii.gz"
    nibabel.save(image, path)
    return path


def everything(folder: Path) -> dict[str, bytes]:
    """Every byte of every file, unpacked, and every path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        raw = path.read_bytes() if path.is_file() else b""
        found[name] = name.encode() + raw + (gzip.decompress(raw) if path.suffix == ".gz" else b"")
    return found


def test_no_byte_of_an_exported_case_names_the_patient(tmp_path: Path) -> None:
    path = planted_ct(tmp_path / "in")
    image = read_volume(path)
    dataset = Dataset.create(tmp_path / "Dataset501_A", SCHEMA, private_dir=tmp_path / "private")
    given = correction()
    source = {"path": str(path), "patient_id": PLANTED["id"], "patient_name": PLANTED["name"]}
    of_model = Provenance(
        given.origin, f"nnunet:{path.parent}/model", "v1", decided=SCHEMA.names, correction=given.correction
    )
    dataset.add_case(NewCase(image, labels(), image.geometry, of_model, source=source))
    dataset.add_case(NewCase(image, labels(4), image.geometry, of_model, source=source))
    dataset.add_case(NewCase(ct(5), labels(5), oblique(), given, source=source))
    migrate_dataset(Dataset.open(dataset.folder, private_dir=tmp_path / "private"), tmp_path / "Dataset502_B", SCHEMA)
    planted = everything(tmp_path / "in")
    for what, text in PLANTED.items():
        assert any(text.encode() in content for content in planted.values()), f"{what} was planted"
        for folder in (dataset.folder, tmp_path / "Dataset502_B"):
            for name, content in everything(folder).items():
                assert text.encode() not in content, f"{what} is in {name}"
    assert str(tmp_path).encode() not in b"".join(everything(dataset.folder).values())


def test_headers_are_empty_but_for_type_size_and_place_and_gzip_has_no_name_or_time(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "Dataset501_A", SCHEMA, private_dir=tmp_path / "private")
    dataset.add_case(NewCase(ct(), labels(), oblique(), correction()))
    for path in (dataset.folder / "imagesTr/CT_0001_0000.nii.gz", dataset.folder / "labelsTr/CT_0001.nii.gz"):
        header = nibabel.load(path).header
        for key in ("descrip", "db_name", "intent_name", "aux_file", "data_type"):
            assert not bytes(header[key]).strip(b"\0"), key
        assert not header.extensions
        start = path.read_bytes()[:10]
        assert start[3] == 0, "no file name, comment or extra field"
        assert start[4:8] == b"\0\0\0\0", "no time"


@pytest.mark.parametrize(
    "leak",
    [
        {"settings": {"weights": "/home/mustermann/weights"}},
        {"settings": {"weights": "C:\\Users\\Mustermann"}},
        {"settings": {"nested": [{"series": PLANTED["study uid"]}]}},
        {"version": "~/models/mine"},
        {"correction": {"/data/Mustermann": 1}},
    ],
)
def test_paths_and_dicom_identifiers_are_refused_in_the_provenance(tmp_path: Path, leak: dict) -> None:
    dataset = Dataset.create(tmp_path / "Dataset501_A", SCHEMA, private_dir=tmp_path / "private")
    with pytest.raises(DatasetError, match="looks like a path or a DICOM identifier"):
        dataset.add_case(NewCase(ct(), labels(), oblique(), Provenance(Origin.CORRECTED, **leak)))
    assert dataset.cases() == {}


def test_numbers_versions_and_the_users_own_words_are_no_leak(tmp_path: Path) -> None:
    dataset = Dataset.create(tmp_path / "Dataset501_A", SCHEMA, private_dir=tmp_path / "private")
    fine = Provenance(
        Origin.CORRECTED,
        "totalsegmentator:total",
        "2.18.0.1",
        {"spacing": "1.5 1.5 3.0", "torch": "2.13.0+cpu"},
        correction={"notes": "/ see 1.2.3.4.5.6", "annotator": "/rm"},
    )
    dataset.add_case(NewCase(ct(), labels(), oblique(), fine))
    assert dataset.record("CT_0001").current.provenance == fine


class TestPrivateFile:
    def test_it_says_where_each_case_comes_from_and_only_its_owner_may_read_it(self, tmp_path: Path) -> None:
        dataset = Dataset.create(tmp_path / "Dataset501_A", SCHEMA, private_dir=tmp_path / "private")
        dataset.add_case(NewCase(ct(0), labels(0), oblique(), correction(0), source={"path": "/in/a"}))
        dataset.add_case(NewCase(ct(1), labels(1), oblique(), correction(1), source={"path": "/in/b"}))
        dataset.add_case(NewCase(ct(0), labels(2), oblique(), correction(0), source={"path": "/in/a again"}))
        assert dataset.private.sources() == {"CT_0001": {"path": "/in/a again"}, "CT_0002": {"path": "/in/b"}}
        if os.name == "posix":
            assert stat.S_IMODE(dataset.private.path.stat().st_mode) == 0o600
            assert stat.S_IMODE(dataset.private.path.parent.stat().st_mode) == 0o700
            dataset.private.path.chmod(0o644)
            dataset.remove_case("CT_0001")
            assert stat.S_IMODE(dataset.private.path.stat().st_mode) == 0o600
        assert dataset.private.sources() == {"CT_0002": {"path": "/in/b"}}
        assert b"/in/a" not in dataset.private.path.read_bytes()

    def test_it_lies_where_the_user_or_the_environment_says_but_never_inside(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dataset = Dataset.create(tmp_path / "Dataset501_A", SCHEMA, private_dir=tmp_path / "given")
        assert dataset.private.path.parent == tmp_path / "given"
        monkeypatch.setenv("ACTIVESEG_PRIVATE_DIR", str(tmp_path / "env"))
        assert Dataset.open(dataset.folder).private.path.parent == tmp_path / "env"
        monkeypatch.delenv("ACTIVESEG_PRIVATE_DIR")
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        monkeypatch.setenv("APPDATA", str(tmp_path / "config"))
        monkeypatch.setenv("HOME", str(tmp_path / "config"))
        assert Dataset.open(dataset.folder).private.path.is_relative_to(tmp_path / "config")
        with pytest.raises(DatasetError, match="inside the dataset"):
            Dataset.open(dataset.folder, private_dir=dataset.folder / "private")

    def test_a_line_that_a_crash_tore_hurts_nobody(self, tmp_path: Path) -> None:
        dataset = Dataset.create(tmp_path / "Dataset501_A", SCHEMA, private_dir=tmp_path / "private")
        dataset.add_case(NewCase(ct(0), labels(0), oblique(), correction(0), source={"path": "/in/a"}))
        with open(dataset.private.path, "ab") as file:
            file.write(b'{"case": "CT_00')
        dataset.add_case(NewCase(ct(1), labels(1), oblique(), correction(1), source={"path": "/in/b"}))
        assert dataset.private.sources() == {"CT_0001": {"path": "/in/a"}, "CT_0002": {"path": "/in/b"}}
        assert [bool(line) for line in dataset.private.path.read_text().splitlines()] == [True] * 3

    def test_when_it_cannot_be_written_nothing_is_stored(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        dataset = Dataset.create(tmp_path / "Dataset501_A", SCHEMA, private_dir=tmp_path / "file" / "below")
        with pytest.raises(DatasetError, match=r"private file .* cannot be used"):
            dataset.add_case(NewCase(ct(), labels(), oblique(), correction()))
        assert dataset.cases() == {}
        assert verify_dataset(dataset) == []
