"""NRRD and MetaImage files are read as ITK reads them, but nothing of them that it should not see."""

from __future__ import annotations

import gzip
import itertools
import os
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from sitk_volumes import volume_of

from activeseg.core.errors import InputError
from activeseg.core.geometry import Geometry
from activeseg.core.volume import Volume
from activeseg.io import itk
from activeseg.io.images import read_volume, write_volume

SHAPE = (3, 4, 5)
RIGHT = (
    "space: right-anterior-superior\nspace directions: (0.7,0,0) (0,0.6,0.8) (0,-1.6,1.2)\nspace origin: (1,-2,3.5)\n"
)
PLACES = {
    "RAS": RIGHT,
    "LAS": RIGHT.replace("right-anterior", "left-anterior"),
    "LPS by letters": RIGHT.replace("right-anterior-superior", "LPS"),
    "no anatomy": RIGHT.replace("right-anterior-superior", "3D-right-handed"),
    "space dimension": RIGHT.replace("space: right-anterior-superior", "space dimension: 3"),
    "spacings": "spacings: 0.7 0.8 2.5\n",
    "spacings in capitals": "SPACINGS: 0.7 0.8 2.5\n",
    "tabs": "spacings: 0.7\t0.8\t2.5\n",
    "axis mins": "spacings: 0.7 0.8 2.5\naxis mins: -3 4 5\ncenterings: cell cell cell\n",
    "nothing": "",
}
TRANSFORM = "TransformMatrix = 1 0 0 0 0.6 0.8 0 -0.8 0.6\nOffset = 1 -2 3.5\nElementSpacing = 0.7 0.8 2.5\n"
META_PLACES = {
    "transform": TRANSFORM,
    "older words": TRANSFORM.replace("TransformMatrix", "Rotation").replace("Offset", "Position"),
    "oldest words": TRANSFORM.replace("TransformMatrix", "Orientation").replace("Offset", "Origin"),
    "image position": TRANSFORM.replace("Offset", "ImagePosition"),
    "image position and offset": TRANSFORM + "ImagePosition = 7 8 9\n",
    "tabs": TRANSFORM.replace(" ", "\t"),
    "colons": TRANSFORM.replace(" =", ":"),
    "centre": TRANSFORM + "CenterOfRotation = 5 6 7\n",
    "element size": TRANSFORM.replace("ElementSpacing", "ElementSize"),
    "both": TRANSFORM + "ElementSize = 1 1 1\n",
    "units": TRANSFORM + "DistanceUnits = cm\nAnatomicalOrientation = RAI\n",
    "nothing": "",
}


def voxels(dtype: str = "i2") -> np.ndarray:
    return np.random.default_rng(0).integers(0, 100, SHAPE).astype(dtype)


def nrrd(
    place: str = RIGHT, kind: str = "short", encoding: str = "raw", more: str = "", endian: str = "little"
) -> bytes:
    return (
        f"NRRD0004\n# a comment\ntype: {kind}\ndimension: 3\nsizes: 5 4 3\nencoding: {encoding}\nendian: {endian}\n"
        f"{place}{more}"
    ).encode()


def meta(place: str = TRANSFORM, kind: str = "MET_SHORT", more: str = "", data: str = "LOCAL") -> bytes:
    return (
        f"ObjectType = Image\nNDims = 3\nBinaryData = True\n{place}DimSize = 5 4 3\n{more}"
        f"ElementType = {kind}\nElementDataFile = {data}\n"
    ).encode()


def read(path: Path) -> Volume:
    return read_volume(path, notice=lambda text: None)


def assert_as_itk(path: Path) -> None:
    ours, theirs = read(path), volume_of(sitk.ReadImage(str(path)))
    assert ours.geometry == theirs.geometry
    assert ours.array.dtype == theirs.array.dtype
    assert np.array_equal(ours.array, theirs.array)
    assert np.unique(ours.array).size > 5


@pytest.mark.parametrize("place", PLACES)
def test_a_nrrd_lies_where_itk_puts_it(tmp_path, place):
    (tmp_path / "image.nrrd").write_bytes(nrrd(PLACES[place]) + b"\n" + voxels("<i2").tobytes())
    assert_as_itk(tmp_path / "image.nrrd")


@pytest.mark.parametrize("place", META_PLACES)
def test_a_metaimage_lies_where_itk_puts_it(tmp_path, place):
    (tmp_path / "image.mha").write_bytes(meta(META_PLACES[place]) + voxels("<i2").tobytes())
    assert_as_itk(tmp_path / "image.mha")


@pytest.mark.parametrize(
    ("name", "header", "dtype"),
    [
        *[
            ("image.nrrd", nrrd(kind=kind, endian=endian), order + code)
            for kind, code in {
                "signed char": "i1",
                "uchar": "u1",
                "short": "i2",
                "unsigned short": "u2",
                "int32": "i4",
                "uint": "u4",
                "longlong": "i8",
                "uint64": "u8",
                "float": "f4",
                "double": "f8",
            }.items()
            for endian, order in (("little", "<"), ("big", ">"))
        ],
        *[
            ("image.mha", meta(kind=f"MET_{kind}", more=f"BinaryDataByteOrderMSB = {order == '>'}\n"), order + code)
            for kind, code in {
                "CHAR": "i1",
                "UCHAR": "u1",
                "SHORT": "i2",
                "USHORT": "u2",
                "INT": "i4",
                "UINT": "u4",
                "LONG": "i4",
                "ULONG": "u4",
                "LONG_LONG": "i8",
                "FLOAT": "f4",
                "DOUBLE": "f8",
            }.items()
            for order in "<>"
        ],
        ("image.mha", meta(more="ElementByteOrderMSB = True\n"), ">i2"),
    ],
)
def test_every_type_and_byte_order_is_read_as_itk_does(tmp_path, name, header, dtype):
    blank = b"\n" if name.endswith("nrrd") else b""
    (tmp_path / name).write_bytes(header + blank + voxels(dtype).tobytes())
    assert_as_itk(tmp_path / name)


def pieces(count: int) -> list[bytes]:
    whole = voxels("<i2").tobytes()
    return [whole[n * len(whole) // count : (n + 1) * len(whole) // count] for n in range(count)]


RAW = voxels("<i2").tobytes()
STORED: dict[str, tuple[str, bytes, dict[str, bytes]]] = {
    "gzip": ("a.nrrd", nrrd(encoding="gzip") + b"\n" + gzip.compress(RAW), {}),
    "gzip in two members": (
        "a.nrrd",
        nrrd(encoding="gz") + b"\n" + gzip.compress(RAW[:50]) + gzip.compress(RAW[50:]),
        {},
    ),
    "lines of Windows": ("a.nrrd", nrrd().replace(b"\n", b"\r\n") + b"\r\n" + RAW, {}),
    "text": ("a.nrrd", nrrd(encoding="ascii") + b"\n" + " ".join(map(str, voxels().ravel())).encode(), {}),
    "detached": ("a.nhdr", nrrd(more="data file: a.raw\n"), {"a.raw": RAW}),
    "detached below": ("a.nhdr", nrrd(more="datafile: ./sub/a.raw\n"), {"sub/a.raw": RAW}),
    "detached gzip": ("a.nhdr", nrrd(encoding="gzip", more="data file: a.raw.gz\n"), {"a.raw.gz": gzip.compress(RAW)}),
    "bytes skipped": ("a.nhdr", nrrd(more="byte skip: 7\ndata file: a.raw\n"), {"a.raw": b"x" * 7 + RAW}),
    "lines skipped": ("a.nhdr", nrrd(more="line skip: 2\ndata file: a.raw\n"), {"a.raw": b"x\nyy\n" + RAW}),
    "at the end": ("a.nhdr", nrrd(more="byte skip: -1\ndata file: a.raw\n"), {"a.raw": b"xyz" + RAW}),
    "a list of slices": (
        "a.nhdr",
        nrrd(more="data file: LIST\nz.raw\nb.raw\ny.raw\n"),
        dict(zip(("z.raw", "b.raw", "y.raw"), pieces(3), strict=True)),
    ),
    "numbered slices": (
        "a.nhdr",
        nrrd(more="data file: s%03d.raw 1 5 2\n"),
        {f"s{2 * n + 1:03d}.raw": piece for n, piece in enumerate(pieces(3))},
    ),
    "zlib": (
        "a.mha",
        meta(more=f"CompressedData = True\nCompressedDataSize = {len(zlib.compress(RAW))}\n") + zlib.compress(RAW),
        {},
    ),
    "gzip in MetaImage": (
        "a.mha",
        meta(more=f"CompressedData = True\nCompressedDataSize = {len(gzip.compress(RAW))}\n") + gzip.compress(RAW),
        {},
    ),
    "detached MetaImage": ("a.mhd", meta(data="a.raw"), {"a.raw": RAW}),
    "detached zlib": ("a.mhd", meta(more="CompressedData = True\n", data="a.zraw"), {"a.zraw": zlib.compress(RAW)}),
    "header skipped from the start": (
        "a.mha",
        meta(more="HeaderSize = 248\n") + b"x" * (248 - len(meta(more="HeaderSize = 248\n"))) + RAW,
        {},
    ),
    "nothing said of text or binary": (
        "a.mhd",
        meta(data="a.raw").replace(b"BinaryData = True", b"ElementByteOrderMSB = False"),
        {"a.raw": RAW},
    ),
    "header skipped": ("a.mhd", meta(more="HeaderSize = 7\n", data="a.raw"), {"a.raw": b"x" * 7 + RAW}),
    "header of unknown size": ("a.mhd", meta(more="HeaderSize = -1\n", data="a.raw"), {"a.raw": b"x" * 7 + RAW}),
    "a list of slices in MetaImage": (
        "a.mhd",
        meta(data="LIST") + b"z.raw\nb.raw\ny.raw\n",
        dict(zip(("z.raw", "b.raw", "y.raw"), pieces(3), strict=True)),
    ),
    "numbered slices in MetaImage": (
        "a.mhd",
        meta(data="s%02d.raw 1 3 1"),
        {f"s{n + 1:02d}.raw": piece for n, piece in enumerate(pieces(3))},
    ),
}


@pytest.mark.parametrize("case", STORED)
def test_voxels_are_found_where_itk_finds_them(tmp_path, case):
    name, header, files = STORED[case]
    (tmp_path / "sub").mkdir()
    (tmp_path / name).write_bytes(header)
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)
    assert np.array_equal(read(tmp_path / name).array, voxels())
    assert_as_itk(tmp_path / name)


def test_text_as_voxels_of_a_metaimage_is_read(tmp_path):
    text = " ".join(map(str, voxels().ravel())).encode()
    (tmp_path / "a.mha").write_bytes(meta().replace(b"BinaryData = True", b"BinaryData = False") + text)
    assert np.array_equal(read(tmp_path / "a.mha").array, voxels())
    (tmp_path / "a.mha").write_bytes(meta().replace(b"BinaryData = True", b"BinaryData = False") + text[:-20] + b" x")
    with pytest.raises(InputError, match=r"not 60 numbers"):
        read(tmp_path / "a.mha")


@pytest.mark.parametrize("named", ["../outside.raw", "/etc/passwd", "{outside}", "link.raw", "folder/outside.raw", "."])
@pytest.mark.parametrize("form", ["nhdr", "nhdr list", "mhd", "mhd list", "numbered"])
def test_voxels_are_never_taken_from_elsewhere(tmp_path, named, form):
    (tmp_path / "outside.raw").write_bytes(RAW)
    place = tmp_path / "images"
    place.mkdir()
    (place / "link.raw").symlink_to(tmp_path / "outside.raw")
    (place / "folder").symlink_to(tmp_path)
    named = named.format(outside=tmp_path / "outside.raw")
    contents = {
        "nhdr": ("a.nhdr", nrrd(more=f"data file: {named}\n")),
        "nhdr list": ("a.nhdr", nrrd(more=f"data file: LIST 3\n{named}\n")),
        "mhd": ("a.mhd", meta(data=named)),
        "mhd list": ("a.mhd", meta(data="LIST 3D") + f"{named}\n".encode()),
        "numbered": ("a.nhdr", nrrd(more=f"data file: ../%d{named} 1 3 1\n")),
    }
    name, content = contents[form]
    (place / name).write_bytes(content)
    with pytest.raises(InputError, match=r"not in its own folder|not a regular file") as raised:
        read(place / name)
    assert name in str(raised.value)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a FIFO")
@pytest.mark.parametrize(("name", "header"), [("a.nhdr", nrrd(more="data file: pipe\n")), ("a.mhd", meta(data="pipe"))])
def test_a_pipe_of_voxels_is_refused_and_not_waited_for(tmp_path, name, header):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / name).write_bytes(header)
    with pytest.raises(InputError, match=r"regular file|fewer are there"):
        read(tmp_path / name)


@pytest.mark.parametrize("encoding", ["hex", "bzip2", "zrl", "unheard of"])
def test_other_encodings_are_named(tmp_path, encoding):
    (tmp_path / "a.nrrd").write_bytes(nrrd(encoding=encoding) + b"\n" + RAW)
    with pytest.raises(InputError, match=f"'{encoding}'"):
        read(tmp_path / "a.nrrd")


def test_a_nrrd_keeps_its_texts_and_decodes_names_of_other_days(tmp_path):
    texts = "Segment0_Name:=Müller\nline:=one\\ntwo \\\\ three\n".encode() + b"Segment1_Name:=M\xfcller\n"
    (tmp_path / "a.nrrd").write_bytes(nrrd() + texts + b"\n" + RAW)
    read, _, kept = itk.read_layers(tmp_path / "a.nrrd", lambda text: None)
    assert read.shape == (1, *SHAPE)
    assert kept["Segment0_Name"] == kept["Segment1_Name"] == "Müller"
    assert kept["line"] == "one\ntwo \\ three"


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are UTF-8 there")
@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz", ".nii"])
def test_names_that_are_not_utf8_are_read_and_written(tmp_path, suffix):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller"))
    folder.mkdir()
    path = Path(os.fsdecode(os.fsencode(folder) + b"/im\xe4ge")).with_suffix(suffix)
    volume = Volume(voxels(), Geometry.from_ijk_to_ras(np.diag([0.5, 1, 2, 1]), SHAPE))
    write_volume(volume, path)
    assert os.listdir(folder) == [path.name]
    assert np.array_equal(read(path).array, volume.array)


def test_a_metaimage_without_a_type_is_told_and_itk_prints_nothing(tmp_path, capfd):
    (tmp_path / "a.mha").write_bytes(meta().replace(b"ElementType = MET_SHORT\n", b"") + RAW)
    with pytest.raises(InputError, match=r"a\.mha.*does not say of which type"):
        read(tmp_path / "a.mha")
    assert capfd.readouterr() == ("", "")


def test_damaged_headers_are_errors_in_words(tmp_path):
    """Every byte of a header changed, and every line left out or doubled: read, or one InputError."""
    rng = np.random.default_rng(0)
    said = []
    for name, header in (("a.nrrd", nrrd() + b"\n"), ("a.mha", meta())):
        changed = [bytearray(header) for _ in range(len(header))]
        for at, content in enumerate(changed):
            content[at] = rng.integers(0, 256)
        lines = header.split(b"\n")
        changed += [bytearray(b"\n".join(lines[:n] + lines[n + 1 :])) for n in range(len(lines))]
        changed += [bytearray(b"\n".join(lines[:n] + lines[n - 1 :])) for n in range(1, len(lines))]
        for content in changed:
            (tmp_path / name).write_bytes(bytes(content) + RAW)
            try:
                read(tmp_path / name)
                said.append("")
            except InputError as error:
                said.append(str(error))
    assert said.count("") > 50
    assert all("'a.nrrd'" in text or "'a.mha'" in text for text in said if text)


HOSTILE_FIELDS = [
    *[
        ("a.mha", meta().replace(b"NDims = 3", b"NDims = " + n))
        for n in (b"100000", b"-1", b"3e5", b"", b"99999999999")
    ],
    *[("a.nrrd", nrrd().replace(b"dimension: 3", b"dimension: " + n) + b"\n") for n in (b"99", b"-3", b"x", b"")],
    *itertools.chain.from_iterable(
        [
            ("a.mha", meta().replace(b"5 4 3", sizes)),
            ("a.nrrd", nrrd().replace(b"5 4 3", sizes) + b"\n"),
        ]
        for sizes in (
            b"-5 4 3",
            b"0 4 3",
            b"9" * 30 + b" 4 3",
            b"999999999 999999999 999999999",
            b"5 4 3 " * 5000,
            b"5 4",
        )
    ),
    ("a.mha", meta(more="ElementNumberOfChannels = 1000000000\n")),
    ("a.mha", meta(more="ElementNumberOfChannels = -1\n")),
    ("a.mha", meta(kind="MET_STRING")),
    ("a.mha", meta(kind="MET_" + "X" * 100_000)),
    ("a.nrrd", nrrd(kind="block") + b"\n"),
    ("a.nrrd", nrrd(RIGHT.replace("(0.7,0,0)", "(" + "7" * 5000 + ",0,0)")) + b"\n"),
    ("a.nrrd", nrrd(RIGHT.replace("(0.7,0,0)", "(nan,0,0)")) + b"\n"),
    ("a.nrrd", nrrd(RIGHT.replace("(0.7,0,0)", "(1e308,1e308,0)")) + b"\n"),
    ("a.mha", meta(TRANSFORM.replace("0.7 0.8 2.5", "nan 1 1"))),
    ("a.mha", meta(TRANSFORM.replace("1 -2 3.5", "inf 1 1"))),
    ("a.nhdr", nrrd(more="data file: s%d.raw 1 999999999 1\n")),
    ("a.nhdr", nrrd(more="data file: s%d.raw 1 9 0\n")),
    ("a.nhdr", nrrd(more="data file: s%99999999d.raw 1 9 1\n")),
    ("a.nhdr", nrrd(more="data file: LIST\n")),
    ("a.nhdr", nrrd(more="data file: a\x00b\n")),
    ("a.mha", meta(TRANSFORM.replace("1 -2 3.5", "1 -2"))),
    ("a.mha", meta(TRANSFORM.replace("0.6 0.8 0 -0.8 0.6", "0.6 0.8"))),
    ("a.mhd", meta(data="%s%s%n")),
    ("a.mhd", meta(data="")),
    ("a.nrrd", nrrd(more="line skip: 99999999999\n") + b"\n"),
    ("a.nrrd", nrrd(more="byte skip: 99999999999\n") + b"\n"),
    ("a.nrrd", nrrd(more="byte skip: -7\n") + b"\n"),
    ("a.nrrd", b"NRRD0004\n" + b"x: y\n" * 4_000_000),
]


@pytest.mark.parametrize("number", range(len(HOSTILE_FIELDS)))
def test_hostile_headers_are_errors_in_words(tmp_path, number):
    name, content = HOSTILE_FIELDS[number]
    (tmp_path / name).write_bytes(content + RAW)
    with pytest.raises(InputError) as raised:
        read(tmp_path / name)
    assert name in str(raised.value) or "a\x00b" in str(raised.value)
    assert len(str(raised.value)) < 600
