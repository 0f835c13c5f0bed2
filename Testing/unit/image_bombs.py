"""Images that announce or unpack to far more than they hold: files of some MB at most, made without unpacking them.

``python image_bombs.py FOLDER`` reads each file of a folder, and prints a JSON line with the error that it gave and the
most memory that this process has had until then.
"""

from __future__ import annotations

import gzip
import json
import os
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

BLOCK = 1 << 24
BLOCKS = 48
"""A bomb unpacks to 768 MiB."""
SPACE = "space: left-posterior-superior\nspace origin: (0,0,0)\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n"


def gzipped(blocks: int = BLOCKS) -> bytes:
    """Zeros as gzip: one member after the other."""
    return gzip.compress(bytes(BLOCK), mtime=0) * blocks


def deflated(blocks: int = BLOCKS) -> bytes:
    """Zeros as one raw deflate stream, of blocks that know nothing of each other."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (packer.compress(bytes(BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)) * blocks + b"\x03\x00"


def zlibbed(blocks: int = BLOCKS) -> bytes:
    return b"\x78\x9c" + deflated(blocks) + b"\x00\x00\x00\x01"


def nifti(dim: tuple[int, ...] = (3, 5, 4, 3), datatype: int = 4, offset: float = 352.0, **more: float) -> bytes:
    head = bytearray(352)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into(f"<{len(dim)}h", head, 40, *dim)
    struct.pack_into("<hh", head, 70, datatype, 16)
    struct.pack_into("<8f", head, 76, *[1.0] * 8)
    struct.pack_into("<fff", head, 108, offset, more.get("slope", 1.0), more.get("inter", 0.0))
    struct.pack_into("<hh", head, 252, 0, 1)
    struct.pack_into("<12f", head, 280, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)
    head[344:348] = b"n+1\0"
    return bytes(head)


def nrrd(sizes: str = "5 4 3", kind: str = "short", encoding: str = "gzip", more: str = "") -> bytes:
    return (
        f"NRRD0004\ntype: {kind}\ndimension: {len(sizes.split())}\nsizes: {sizes}\n{SPACE if not more else ''}"
        f"endian: little\nencoding: {encoding}\n{more}\n"
    ).encode()


def segmentation(layers: str, more: str = "") -> bytes:
    return (
        f"NRRD0004\ntype: unsigned char\ndimension: 4\nsizes: {layers} 5 4 3\nkinds: list domain domain domain\n"
        f"{SPACE.replace('directions:', 'directions: none')}endian: little\nencoding: gzip\n"
        f"Segment0_ID:=a\nSegment0_Name:=a\nSegment0_LabelValue:=1\n{more}\n"
    ).encode()


def meta(
    sizes: str = "5 4 3", kind: str = "MET_SHORT", more: str = "CompressedData = True\n", data: str = "LOCAL"
) -> bytes:
    return (
        f"ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = {sizes}\nElementSpacing = 1 1 1\n{more}"
        f"ElementType = {kind}\nElementDataFile = {data}\n"
    ).encode()


BOMBS: dict[str, Callable[[], bytes]] = {
    "more_than_announced.nii.gz": lambda: gzip.compress(nifti()) + gzipped(),
    "offset_3e9.nii.gz": lambda: gzip.compress(nifti(offset=3e9)) + gzipped(),
    "offset_2e8.nii.gz": lambda: gzip.compress(nifti(offset=2e8)) + gzipped(4),
    "offset_nan.nii": lambda: nifti(offset=float("nan")) + bytes(120),
    "offset_inf.nii": lambda: nifti(offset=float("inf")) + bytes(120),
    "offset_negative.nii": lambda: nifti(offset=-1e9) + bytes(120),
    "sizes.nii.gz": lambda: gzip.compress(nifti((3, 32767, 32767, 32767), 64)) + gzipped(1),
    "sizes_7d.nii.gz": lambda: gzip.compress(nifti((7, *[32767] * 7), 64)) + gzipped(1),
    "sizes_negative.nii.gz": lambda: gzip.compress(nifti((3, -32768, -32768, 4))) + gzipped(1),
    "sizes_and_few_bytes.nii": lambda: nifti((3, 30000, 30000, 4)) + bytes(120),
    "type_unknown.nii": lambda: nifti(datatype=4096) + bytes(120),
    "intercept_nan.nii": lambda: nifti(inter=float("nan")) + bytes(120),
    "slope_huge.nii": lambda: nifti(slope=3e38, datatype=64) + b"\x7f" * 480,
    "gzip_in_gzip.nii.gz": lambda: gzip.compress(gzip.compress(nifti()) + gzipped()),
    "header_cut.nii.gz": lambda: gzip.compress(nifti()[:200]),
    "more_than_announced.nrrd": lambda: nrrd() + gzipped(),
    "one_member.nrrd": lambda: nrrd() + b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + deflated(),
    "sizes.nrrd": lambda: nrrd("100000 100000 100000", "double") + gzipped(1),
    "sizes_overflow.nrrd": lambda: nrrd("4294967296 4294967296 4294967297") + gzipped(1),
    "sizes_raw.nrrd": lambda: nrrd("30000 30000 4", encoding="raw") + bytes(120),
    "sizes_text.nrrd": lambda: nrrd("30000 30000 4", encoding="ascii") + b"0 " * 100_000,
    "bytes_skipped.nrrd": lambda: nrrd(more=f"{SPACE}byte skip: 99999999999\n") + gzipped(4),
    "lines_skipped.nrrd": lambda: nrrd(more=f"{SPACE}line skip: 99999999999\n") + gzipped(1),
    "dimensions.nrrd": lambda: nrrd("2 " * 15 + "2") + gzipped(1),
    "packed_elsewhere.nhdr": lambda: nrrd(more=f"{SPACE}data file: bomb.gz\n"),
    "packed_in_a_list.nhdr": lambda: nrrd(more=f"{SPACE}data file: LIST\nbomb.gz\nbomb.gz\nbomb.gz\n"),
    "endless.nhdr": lambda: nrrd(encoding="raw", more=f"{SPACE}data file: /dev/zero\n"),
    "password.nhdr": lambda: nrrd("5 4 3", "uchar", "raw", f"{SPACE}data file: /etc/passwd\n"),
    "many_files.nhdr": lambda: nrrd(encoding="raw", more=f"{SPACE}data file: %d.raw 0 999999999 1\n"),
    "layers.seg.nrrd": lambda: segmentation("4000000000") + gzipped(1),
    "more_than_its_layers.seg.nrrd": lambda: segmentation("2") + gzipped(),
    "no_end.nrrd": lambda: b"NRRD0004\n" + b"a:=b\n" * 4_000_000,
    "more_than_announced.mha": lambda: meta() + zlibbed(),
    "gzip.mha": lambda: meta() + gzipped(),
    "sizes.mha": lambda: meta("100000 100000 100000", "MET_DOUBLE") + zlibbed(1),
    "sizes_overflow.mha": lambda: meta("4294967296 4294967296 4294967297") + zlibbed(1),
    "dimensions.mha": lambda: meta().replace(b"NDims = 3", b"NDims = 100000") + zlibbed(1),
    "channels.mha": lambda: meta(more="CompressedData = True\nElementNumberOfChannels = 1000000000\n") + zlibbed(1),
    "header_skipped.mha": lambda: meta(more="CompressedData = True\nHeaderSize = 99999999999\n") + zlibbed(4),
    "packed_elsewhere.mhd": lambda: meta(data="bomb.zlib"),
    "endless.mhd": lambda: meta(more="", data="/dev/zero"),
    "endless_list.mhd": lambda: meta(more="", data="LIST") + b"/dev/zero\n/dev/zero\n/dev/zero\n",
}


DICOM_BOMBS = ("dicom_rows", "dicom_run_lengths", "dicom_frames", "dicom_deflated")


def write_dicom_bombs(folder: Path) -> None:
    """Folders of two slices each, whose headers announce what is not there, and one whose slices unpack to zeros."""
    import numpy as np
    import pydicom
    from dicom_files import write_series

    for name in DICOM_BOMBS:
        write_series(folder / name, np.zeros((2, 8, 10), np.int16))
        for path in (folder / name).iterdir():
            image = pydicom.dcmread(path)
            if name == "dicom_run_lengths":
                image.compress(pydicom.uid.RLELossless)
            if name == "dicom_frames":
                image.NumberOfFrames = 300000
            elif name == "dicom_deflated":
                image.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
            else:
                image.Rows = image.Columns = 30000 if name == "dicom_rows" else 8000
            image.save_as(path)
            if name == "dicom_deflated":
                content = path.read_bytes()
                start = 144 + int.from_bytes(content[140:144], "little")
                packer = zlib.compressobj(9, zlib.DEFLATED, -15)
                plain = packer.compress(zlib.decompress(content[start:], -15)) + packer.flush(zlib.Z_FULL_FLUSH)
                path.write_bytes(content[:start] + plain + deflated())


def write_bombs(folder: Path) -> None:
    """All of them, and what they lead to."""
    write_dicom_bombs(folder)
    for name, make in BOMBS.items():
        (folder / name).write_bytes(make())
    (folder / "bomb.gz").write_bytes(gzipped())
    (folder / "bomb.zlib").write_bytes(zlibbed())
    sparse = folder / "sparse.nii"
    sparse.write_bytes(nifti((3, 32767, 32767, 32767)))
    os.truncate(sparse, 1 << 40)


def tried(path: Path) -> dict[str, Any]:
    """What reading gave (``read_volume``, ``read_label_map``, for a segmentation its own reader)."""
    import resource

    from activeseg.core.errors import InputError
    from activeseg.io.images import read_label_map, read_volume
    from activeseg.io.seg_nrrd import SegmentationFile, is_segmentation_file

    said = []
    readers: list[Callable[..., Any]] = [read_volume] if path.is_dir() else [read_volume, read_label_map]
    for read in [SegmentationFile.read] if is_segmentation_file(path) else readers:
        try:
            read(path, notice=lambda text: None)
            said.append("")
        except InputError as error:
            said.append(str(error))
    return {"name": path.name, "said": said, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}


if __name__ == "__main__":
    small = Path(sys.argv[1]) / "small.nrrd"
    small.write_bytes(nrrd(encoding="raw") + bytes(120))
    print(json.dumps(tried(small)), flush=True)
    small.unlink()
    for file in sorted(Path(sys.argv[1]).iterdir()):
        if file.suffix not in (".gz", ".zlib") or file.name.endswith(".nii.gz"):
            print(json.dumps(tried(file)), flush=True)
