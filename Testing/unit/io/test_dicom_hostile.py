"""Damaged and hostile DICOM: nothing is dropped without a word, and no more memory is taken than files can fill."""

from __future__ import annotations

import os
import struct
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from dicom_files import geometry_of, hu, write_series, write_slice, write_structure_set
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from activeseg.core.errors import InputError
from activeseg.core.volume import Volume
from activeseg.io.images import read_volume

AIR = -1024


def read(path: Path) -> tuple[Volume, list[str]]:
    heard: list[str] = []
    return read_volume(path, notice=heard.append), heard


def refused(path: Path) -> str:
    with pytest.raises(InputError) as raised:
        read_volume(path, notice=lambda text: None)
    assert "mistake" not in str(raised.value)
    return str(raised.value)


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


@pytest.mark.parametrize("which", [0, 5])
@pytest.mark.parametrize("name", ["IM{:04d}", "IM{:04d}.dcm", "1.2.840.113.{}"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: bytes(len(data)),
        lambda data: data[:100],
        lambda data: data[:132],
        lambda data: data[:140],
        lambda data: data[:300],
        lambda data: data[:500],
        lambda data: data[: data.index(b"\xe0\x7f\x10\x00")],
        lambda data: data[:-2],
        lambda data: b"overwritten with something else",
    ],
)
def test_a_slice_that_was_damaged_is_never_left_out(tmp_path, which, name, damage):
    write_series(tmp_path, name=name)
    rewrite(tmp_path / name.format(which), damage)
    assert name.format(which) in refused(tmp_path)


@pytest.mark.parametrize("end", range(132, 700, 37))
def test_a_last_slice_cut_anywhere_is_told(tmp_path, end):
    write_series(tmp_path)
    rewrite(tmp_path / "IM0005", lambda data: data[:end])
    assert "IM0005" in refused(tmp_path)


def test_what_lies_beside_slices_as_usual_is_no_damage(tmp_path):
    array, _ = write_series(tmp_path)
    write_structure_set(tmp_path / "RS")
    (tmp_path / "README").write_text("A viewer for Windows")
    (tmp_path / "IM0001.txt").write_text("")
    (tmp_path / ".DS_Store").write_bytes(bytes(8))
    (tmp_path / ".nomedia").write_bytes(b"")
    (tmp_path / "autorun.inf").write_text("[autorun]")
    (tmp_path / "DICOMDIR").write_bytes(b"cut")
    (tmp_path / "latest").symlink_to(tmp_path / "nothing")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "IM0009").write_text("not beside them")
    volume, heard = read(tmp_path)
    assert np.array_equal(volume.array, array)
    assert heard == ["Left out: 1 RTSTRUCT object."]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a FIFO")
def test_a_pipe_beside_slices_is_not_waited_for(tmp_path):
    array, _ = write_series(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert np.array_equal(read(tmp_path)[0].array, array)
    assert np.array_equal(read(tmp_path / "IM0000")[0].array, array)
    os.mkfifo(tmp_path / "IM0006")
    assert "IM0006" in refused(tmp_path)


def test_linked_folders_are_followed_once_and_never_in_a_circle(tmp_path):
    array, _ = write_series(tmp_path / "store" / "series")
    patient = tmp_path / "patient"
    patient.mkdir()
    (patient / "CT").symlink_to(tmp_path / "store" / "series")
    (patient / "again").symlink_to(tmp_path / "store" / "series")
    (patient / "self").symlink_to(patient)
    (patient / "up").symlink_to("/")
    (tmp_path / "store" / "series" / "back").symlink_to(patient)
    volume, heard = read(patient)
    assert np.array_equal(volume.array, array)
    assert heard == []


def test_a_series_in_a_folder_whose_name_is_not_utf8_is_read(tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller"))
    array, _ = write_series(folder)
    assert np.array_equal(read(folder)[0].array, array)


def write_padded(folder: Path, stored: np.ndarray, value: int, *, signed: bool = False, **tags) -> None:
    """One file a slice of stored 16-bit voxels with PixelPaddingValue ``value``."""
    folder.mkdir(exist_ok=True)
    for k, plane in enumerate(stored):
        image = write_slice(folder / f"{k}", np.zeros(plane.shape), geometry_of(stored.shape), k, **tags)
        image.PixelData = plane.astype("<i2" if signed else "<u2").tobytes()
        image.PixelRepresentation = int(signed)
        if "BitsStored" not in tags:
            image.BitsStored, image.HighBit = 16, 15
        vr = "SS" if signed else "US"
        image.add_new(0x00280120, vr, value)
        image.save_as(folder / f"{k}", enforce_file_format=True)


@pytest.mark.parametrize(
    ("value", "signed", "intercept"), [(63536, False, -1024), (-2000, True, 0), (-2000, True, -1024), (-32768, True, 0)]
)
def test_padding_becomes_air_and_is_told(tmp_path, value, signed, intercept):
    expected = hu((4, 8, 10))
    stored = expected.astype(int) - intercept
    stored[:, :2] = stored[1, 5, 5] = value
    write_padded(tmp_path / "s", stored, value, signed=signed, RescaleIntercept=intercept)
    expected[:, :2] = expected[1, 5, 5] = AIR
    volume, heard = read(tmp_path / "s")
    assert np.array_equal(volume.array, expected)
    assert heard == ["81 voxels are padding (PixelPaddingValue), not measured; they are taken for air (-1024 HU)."]


def test_padding_of_other_bits_and_of_a_range_becomes_air(tmp_path):
    expected = hu((4, 8, 10))
    stored = expected.astype(int) + 1024
    stored[:, :2] = 63536  # of which 12 bits are stored
    write_padded(tmp_path / "bits", stored, 63536, BitsStored=12)
    expected[:, :2] = AIR
    assert np.array_equal(read(tmp_path / "bits")[0].array, expected)
    stored = hu((4, 8, 10)).astype(int)
    stored[:, 0], stored[:, 1] = -2000, -1950
    write_padded(tmp_path / "range", stored, -2000, signed=True, RescaleIntercept=0)
    for path in (tmp_path / "range").iterdir():
        image = pydicom.dcmread(path)
        image.add_new(0x00280121, "SS", -1900)
        image.save_as(path)
    assert np.array_equal(read(tmp_path / "range")[0].array, expected)


def test_a_padding_value_that_tissue_has_is_padding_at_the_edge_only(tmp_path):
    expected = hu((4, 8, 10)) | 1
    expected[:, 3:5, 3:5] = 0
    stored = expected.astype(int)
    stored[:, :2] = 0
    write_padded(tmp_path, stored, 0, signed=True, RescaleIntercept=0)
    expected[:, :2] = AIR
    assert np.array_equal(read(tmp_path)[0].array, expected)


def test_each_slice_has_its_own_padding_and_other_modalities_keep_theirs(tmp_path):
    stored = hu((4, 8, 10)).astype(int) + 1024
    stored[:, 0] = 5000
    write_padded(tmp_path / "ct", stored, 5000)
    image = pydicom.dcmread(tmp_path / "ct" / "2")
    image.PixelPaddingValue = 6000
    image.save_as(tmp_path / "ct" / "2")
    array = read(tmp_path / "ct")[0].array
    assert (array[[0, 1, 3], 0] == AIR).all()
    assert (array[2, 0] == 5000 - 1024).all()
    write_padded(tmp_path / "mr", stored, 5000, Modality="MR", SOPClassUID="1.2.840.10008.5.1.4.1.1.4")
    volume, heard = read(tmp_path / "mr")
    assert np.array_equal(volume.array, stored - 1024)
    assert heard == []


def deep(path: Path) -> None:
    """2,000 sequences of undefined length, each in an item of the one before."""
    begin = b"\xe1\x7f\x10\x10SQ\0\0" + b"\xff" * 4 + b"\xfe\xff\x00\xe0" + b"\xff" * 4
    at = path.read_bytes().index(b"\xe0\x7f\x10\x00")
    rewrite(path, lambda data: data[:at] + begin * 2000 + data[at:])


def sizes(path: Path, rows: int, columns: int, syntax: str | None) -> None:
    image = pydicom.dcmread(path)
    if syntax:
        image.compress(syntax)
    image.Rows, image.Columns = rows, columns
    image.save_as(path)


def deflated(path: Path, count: int, behind: bool) -> None:
    image = pydicom.dcmread(path)
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    image.save_as(path)
    data = path.read_bytes()
    length = 132 + 12 + struct.unpack("<I", data[140:144])[0]
    plain = zlib.decompress(data[length:], -15)
    blob = b"\x09\x00\x10\x00OB\0\0" + struct.pack("<I", count) + bytes(count)
    at = plain.index(b"\x10\x00\x10\x00")
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    plain = plain + b"\xfc\xff\xfc\xffOB\0\0" + blob[8:] if behind else plain[:at] + blob + plain[at:]
    path.write_bytes(data[:length] + packer.compress(plain) + packer.flush())


def coded(path: Path, codec: str, rows: int) -> None:
    """A slice in JPEG or JPEG 2000 whose own header announces other sizes than the DICOM header."""
    image = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 1000, (1, 8, 10)).astype(np.int16))
    source = pydicom.dcmread(path)
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.UseCompressionOn()
    writer.SetCompressor(codec)
    writer.SetFileName(str(path))
    writer.Execute(image)
    written = pydicom.dcmread(path)
    source.file_meta.TransferSyntaxUID = written.file_meta.TransferSyntaxUID
    source.PixelData = written.PixelData
    source["PixelData"].VR = "OB"
    source["PixelData"].is_undefined_length = True
    source.save_as(path)
    data = path.read_bytes()
    if codec == "JPEG":
        at = data.index(b"\xff\xc3") + 5
        data = data[:at] + struct.pack(">H", rows) + data[at + 2 :]
    else:
        at = data.index(b"\xff\x4f\xff\x51") + 12
        data = data[:at] + struct.pack(">I", rows) + data[at + 4 :]
    path.write_bytes(data)


def raw_tag(path: Path, name: bytes, vr: bytes, value: bytes) -> None:
    """Replace a text element's value in a file, whatever it is."""
    data = path.read_bytes()
    at = data.index(name + vr)
    length = struct.unpack("<H", data[at + 6 : at + 8])[0]
    value += b" " * (len(value) % 2)
    path.write_bytes(data[: at + 6] + struct.pack("<H", len(value)) + value + data[at + 8 + length :])


def items(path: Path, count: int) -> None:
    data = path.read_bytes()
    at = data.index(b"\xe0\x7f\x10\x00")
    body = b"\xfe\xff\x00\xe0\0\0\0\0" * count
    head = b"\x00\x52\x30\x92SQ\0\0" + struct.pack("<I", len(body))
    path.write_bytes(data[:at] + head + body + data[at:])


HOSTILE: dict[str, Callable[[Path], None]] = {
    "a JPEG of other sizes": lambda path: coded(path, "JPEG", 20000),
    "a JPEG 2000 of other sizes": lambda path: coded(path, "JPEG2000", 20000),
    "zeros packed in its header": lambda path: deflated(path, 60_000_000, behind=False),
    "zeros packed behind its voxels": lambda path: deflated(path, 60_000_000, behind=True),
    "2,000 sequences in each other": deep,
    "a million items": lambda path: items(path, 1_000_000),
    "a length beyond the file": lambda path: rewrite(
        path, lambda data: data.replace(b"\xe0\x7f\x10\x00OW\0\0\xa0\0\0\0", b"\xe0\x7f\x10\x00OW\0\0\xf0\xff\xff\x7f")
    ),
    "slope not a number": lambda path: raw_tag(path, b"\x28\x00\x53\x10", b"DS", b"nan"),
    "slope 0": lambda path: raw_tag(path, b"\x28\x00\x53\x10", b"DS", b"0"),
    "slope in words": lambda path: raw_tag(path, b"\x28\x00\x53\x10", b"DS", b"one"),
    "intercept infinite": lambda path: raw_tag(path, b"\x28\x00\x52\x10", b"DS", b"-inf"),
    "intercept huge": lambda path: raw_tag(path, b"\x28\x00\x52\x10", b"DS", b"1e300"),
    "no bits": lambda path: rewrite(path, lambda d: d.replace(b"\x28\0\0\x01US\2\0\x10\0", b"\x28\0\0\x01US\2\0\0\0")),
}


@pytest.mark.parametrize("which", [0, 2])
@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_slice_is_refused_by_name(tmp_path, case, which):
    write_series(tmp_path, hu((3, 8, 10)), geometry_of((3, 8, 10)))
    path = tmp_path / f"IM{which:04d}"
    before = path.read_bytes()
    HOSTILE[case](path)
    assert path.read_bytes() != before
    assert path.name in refused(tmp_path)


@pytest.mark.parametrize("syntax", [None, RLELossless])
@pytest.mark.parametrize(("rows", "columns"), [(9, 10), (8000, 8000), (65535, 65535)])
def test_slices_that_announce_more_than_they_hold_are_refused(tmp_path, rows, columns, syntax):
    write_series(tmp_path)
    for path in tmp_path.iterdir():
        sizes(path, rows, columns, syntax=syntax)
    assert "IM000" in refused(tmp_path)


def test_frames_that_are_not_there_are_told(tmp_path):
    write_series(tmp_path, slices=[0, 1])
    for frames in ("300000", "7", "-1", "1e9"):
        for path in tmp_path.iterdir():
            image = pydicom.dcmread(path)
            image.add_new(0x00280008, "LO", frames)
            image.save_as(path)
        assert "frame" in refused(tmp_path)


def test_a_deflated_series_and_one_with_icons_are_read(tmp_path):
    icon = Dataset()
    icon.Rows = icon.Columns = 2
    icon.PixelData = b"abcd"
    icon["PixelData"].VR = "OB"
    for syntax in (DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian):
        folder = tmp_path / syntax
        array, _ = write_series(folder, syntax=syntax, IconImageSequence=Sequence([icon]))
        assert np.array_equal(read(folder)[0].array, array)


def test_what_is_not_needed_is_skipped_whatever_it_is(tmp_path, caplog):
    """Of undefined length, long, in an unknown character set: pydicom tells nothing of it."""
    array, _ = write_series(tmp_path)
    items = b"\xfe\xff\x00\xe0\0\0\0\0" * 100_000
    sequence = b"\x09\x00\x10\x10SQ\0\0" + b"\xff" * 4 + items + b"\xfe\xff\xdd\xe0\0\0\0\0"
    unknown = b"\x09\x00\x11\x10UN\0\0" + b"\xff" * 4 + b"\xfe\xff\xdd\xe0\0\0\0\0"
    blob = b"\x09\x00\x12\x10OB\0\0" + struct.pack("<I", 1 << 22) + bytes(1 << 22)
    for path in tmp_path.iterdir():
        data = path.read_bytes()
        start, at = data.index(b"\x08\x00\x08\x00CS"), data.index(b"\x10\x00\x10\x00PN")
        charset = b"\x08\x00\x05\x00CS\x0a\x00NO_SUCH_ONE"[:18]
        path.write_bytes(data[:start] + charset + data[start:at] + sequence + unknown + blob + data[at:])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        volume, heard = read(tmp_path)
    assert np.array_equal(volume.array, array)
    assert heard == []
    assert caplog.records == []


def test_zeros_behind_the_voxels_do_no_harm(tmp_path):
    array, _ = write_series(tmp_path)
    for path in tmp_path.iterdir():
        rewrite(path, lambda data: data + bytes(512))
    assert np.array_equal(read(tmp_path)[0].array, array)


def test_a_file_that_vanishes_is_named(tmp_path, monkeypatch):
    from activeseg.io.dicom import series

    write_series(tmp_path)
    headers = series.read_tags

    def vanishing(path: Path):
        tags = headers(path)
        if path.name == "IM0005":
            path.unlink()
        return tags

    monkeypatch.setattr(series, "read_tags", vanishing)
    assert "IM0005" in refused(tmp_path)
