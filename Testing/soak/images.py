"""Reads images with something changed in them, and looks whether each is read or refused in one sentence.

Bytes, words and lengths are changed in NIfTI, NRRD, MetaImage and DICOM files and in arrays of the engine. A batch is
read in a process of its own, whose end, memory and errors are looked at.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "ActiveSegExtension"), str(ROOT / "Testing" / "unit")]

import image_bombs as whole  # noqa: E402
import numpy as np  # noqa: E402
from dicom_files import write_series  # noqa: E402

BATCH = 200
MOST_MB = 400
"""The most physical memory that a process may have had; the libraries take about 150."""
VOXELS = bytes(range(120))
WORDS = [b"0", b"-1", b"nan", b"inf", b"1e308", b"99999999999", b"3", b"LIST", b"LOCAL", b"/dev/zero", b"%d", b"none"]


def seeds(folder: Path) -> list[tuple[str, bytes]]:
    """Small valid files by name."""
    write_series(folder / "series", np.zeros((2, 8, 10), np.int16))
    write_series(folder / "deflated", np.zeros((2, 8, 10), np.int16), syntax="1.2.840.10008.1.2.1.99")
    array = folder / "a.npy"
    np.save(array, np.arange(60).reshape(3, 4, 5))
    return [
        ("a.nii", whole.nifti() + VOXELS),
        ("a.nii.gz", gzip.compress(whole.nifti() + VOXELS)),
        ("a.nrrd", whole.nrrd() + gzip.compress(VOXELS)),
        ("a.nrrd", whole.nrrd(encoding="raw") + VOXELS),
        ("a.nrrd", whole.nrrd(encoding="ascii") + b" ".join(str(n).encode() for n in range(60))),
        ("a.nhdr", whole.nrrd(encoding="raw", more=f"{whole.SPACE}data file: voxels.raw\n")),
        ("a.seg.nrrd", whole.segmentation("2") + gzip.compress(VOXELS)),
        ("a.mha", whole.meta() + zlib.compress(VOXELS)),
        ("a.mha", whole.meta(more="") + VOXELS),
        ("a.mhd", whole.meta(more="", data="voxels.raw")),
        ("a.npy", array.read_bytes()),
        ("a.dcm", (folder / "series" / "IM0000").read_bytes()),
        ("a.dcm", (folder / "deflated" / "IM0000").read_bytes()),
    ]


def changed(content: bytes, rng: random.Random) -> bytes:
    """The content with one to three changes."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(max(len(data), 1))
        kind = rng.randrange(7)
        if kind == 0:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            data[at : at + rng.choice([2, 4, 8])] = rng.choice([b"\xff", b"\0", b"\x7f"]) * rng.choice([2, 4, 8])
        elif kind == 2:
            del data[at : at + rng.randint(1, 40)]
        elif kind == 3:
            del data[at:]
        elif kind == 4:
            data[at:at] = data[max(at - rng.randint(1, 60), 0) : at]
        elif kind == 5:
            words = data[:400].split(b" ")
            words[rng.randrange(len(words))] = rng.choice(WORDS)
            data[:400] = b" ".join(words)
        else:
            data[at:at] = rng.choice(WORDS)
    return bytes(data)


def read_all(folder: Path) -> None:
    """Read each file of a batch; prints a JSON line for each, and at last the most memory (MB)."""
    import resource

    from activeseg.core.errors import InputError
    from activeseg.io.images import read_label_map, read_volume
    from activeseg.io.npy import read_array
    from activeseg.io.seg_nrrd import SegmentationFile

    for path in sorted(folder.iterdir()):
        (file,) = [child for child in path.iterdir() if child.name != "voxels.raw" and not child.name.startswith("IM")]
        print(json.dumps({"begun": path.name}), flush=True)
        try:
            if file.name.endswith(".seg.nrrd"):
                SegmentationFile.read(file, notice=lambda text: None)
            elif file.suffix == ".npy":
                read_array(file)
            elif file.suffix == ".dcm":
                read_volume(path, notice=lambda text: None)
            else:
                read_volume(file, notice=lambda text: None)
                read_label_map(file, notice=lambda text: None)
            said = ""
        except InputError as error:
            said = str(error)
        except BaseException as error:
            said = f"FAULT {type(error).__name__}: {error}"
        print(json.dumps({"name": path.name, "kind": file.name, "said": said}), flush=True)
    print(json.dumps({"mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="files to read (default: 20,000)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the changes (default: the time)")
    parser.add_argument("--batch-folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.batch_folder:
        read_all(given.batch_folder)
        return 0
    print(f"seed {given.seed}", flush=True)
    rng = random.Random(given.seed)
    ends: Counter[str] = Counter()
    faults, peak, done = [], 0, 0
    with tempfile.TemporaryDirectory() as place:
        originals = seeds(Path(place))
        second_slice = (Path(place) / "series" / "IM0001").read_bytes()
        while done < given.count:
            batch = Path(place) / "batch"
            batch.mkdir()
            for number in range(min(BATCH, given.count - done)):
                name, content = rng.choice(originals)
                folder = batch / f"{number:04d}"
                folder.mkdir()
                (folder / name).write_bytes(changed(content, rng))
                if name == "a.dcm":
                    (folder / "IM0001").write_bytes(second_slice)
                (folder / "voxels.raw").write_bytes(VOXELS) if name in ("a.nhdr", "a.mhd") else None
            ended = subprocess.run(
                [sys.executable, __file__, "--batch-folder", batch],
                capture_output=True,
                text=True,
                env={**os.environ, "PYTHONWARNINGS": "ignore"},
                check=False,
            )
            lines = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]
            for line in lines:
                if "said" in line:
                    done += 1
                    ends["read" if not line["said"] else "refused"] += 1
                    if line["said"].startswith("FAULT") or len(line["said"]) > 2000:
                        faults.append((line["kind"], line["said"]))
                peak = max(peak, line.get("mb", 0))
            if ended.returncode:
                begun = [line["begun"] for line in lines if "begun" in line][-1:]
                kept = Path(tempfile.mkdtemp(prefix="activeseg-image-")) if begun else None
                if kept:
                    (batch / begun[0]).rename(kept / begun[0])
                faults.append((str(kept), f"ended with {ended.returncode}: {ended.stderr[-300:]}"))
                done += 1
            for folder in batch.iterdir():
                for file in folder.iterdir():
                    file.unlink()
                folder.rmdir()
            batch.rmdir()
    if peak > MOST_MB:
        faults.append(("memory", f"{peak} MB"))
    for kind, said in faults:
        print(f"{kind}: {said}")
    print(
        f"{'FAULT' if faults else 'RIGHT'}: {done} files, seed {given.seed}: {ends['read']} read, "
        f"{ends['refused']} refused, {len(faults)} faults; at most {peak} MB."
    )
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
