"""Datasets and projects as nobody should get them: each would read, write or remove outside of itself, or never end.

``DATASETS`` and ``PROJECTS`` are name -> change of a good folder; ``outside`` is a folder with files that must stay.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

Change = Callable[[Path, Path], None]
DEEP = "[" * 5000 + "]" * 5000


def outside(folder: Path) -> Path:
    """Files of the user's, which no name or link in a dataset may reach."""
    for name in ("imagesTr", "labelsTr", "provenance/labels", "sub"):
        (folder / name).mkdir(parents=True)
    for name in (
        "thesis.docx",
        "imagesTr/CT_0001_0000.nii.gz",
        "imagesTr/CT_0099_0000.nii.gz",
        "labelsTr/CT_0001.nii.gz",
        "labelsTr/CT_0099.nii.gz",
        "provenance/CT_0099.json",
        "provenance/labels/CT_0001.nii.gz",
        "sub/x.key",
    ):
        (folder / name).write_text(f"{name} of the user")
    return folder


def edited(path: Path, *keys: str | int, to: Any) -> None:
    """Set one value of a JSON file."""
    content = json.loads(path.read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = to
    path.write_text(json.dumps(content))


def listing(*keys: str | int, to: Any) -> Change:
    return lambda folder, _: edited(folder / "dataset.json", *keys, to=to)


def record(*keys: str | int, to: Any) -> Change:
    def change(folder: Path, outside: Path) -> None:
        value = str(outside / to[1:]) if isinstance(to, str) and to.startswith("@") else to
        edited(folder / "provenance/CT_0001.json", *keys, to=value)

    return change


def renamed_case(name: str) -> Change:
    def change(folder: Path, _: Path) -> None:
        content = json.loads((folder / "dataset.json").read_text())
        cases = content["activeseg"]["cases"]
        cases[name] = cases["CT_0001"]
        (folder / "dataset.json").write_text(json.dumps(content))

    return change


def linked(part: str) -> Change:
    """A folder or file of the dataset leads to the user's."""

    def change(folder: Path, outside: Path) -> None:
        path = folder / part
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        target = outside / part if (outside / part).exists() else outside / "thesis.docx"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target, target_is_directory=target.is_dir())

    return change


def text(part: str, content: str) -> Change:
    def change(folder: Path, _: Path) -> None:
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        (folder / part).write_text(content)

    return change


def fifo(part: str) -> Change:
    def change(folder: Path, _: Path) -> None:
        (folder / part).unlink(missing_ok=True)
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(folder / part)

    return change


def false_journal(folder: Path, outside: Path) -> None:
    """What looks like the change of a dead writer names files elsewhere."""
    import hashlib

    staging = folder / f".staging-{'0' * 32}"
    staging.mkdir()
    (staging / ".lock").touch()
    now = hashlib.sha256((folder / "dataset.json").read_bytes()).hexdigest()
    files = [f"../{outside.name}/thesis.docx", str(outside / "thesis.docx"), "imagesTr/../../x"]
    journal = {"before": now, "after": now, "places": files, "obsolete": files, "forgotten": "../x"}
    (staging / "journal.json").write_text(json.dumps(journal))


def linked_staging(folder: Path, outside: Path) -> None:
    (outside / ".lock").touch()
    (folder / f".staging-{'1' * 32}").symlink_to(outside, target_is_directory=True)
    (folder / f".activeseg-{'1' * 32}.json").symlink_to(outside / "thesis.docx")


DATASETS: dict[str, Change] = {
    "label is a document": record("current", "label", "file", to="@thesis.docx"),
    "label is above": record("current", "label", "file", to="../../outside/thesis.docx"),
    "image is a document": record("images", 0, "file", to="@thesis.docx"),
    "image is a number": record("images", 0, "file", to=7),
    "label of another case": record("current", "label", "file", to="labelsTr/CT_0002.nii.gz"),
    "fingerprint is an object": record("current", "label", "sha256", to={}),
    "history names a document": record(
        "history", to=[{"revision": 1, "schema": 1, "label": {"file": "/etc/passwd", "sha256": "0" * 64}}]
    ),
    "record of another case": record("case", to="../../x"),
    "schema of a record is huge": record("current", "schema", to=10**12),
    "geometry of texts": record("geometry", "spacing_xyz_mm", to=["a", "b", "c"]),
    "geometry not finite": record("geometry", "origin_lps_mm", to=[float("nan")] * 3),
    "geometry without end": record("geometry", "shape_kji", to=[10**30, 1, 1]),
    "origin unknown": record("current", "provenance", "origin", to="stolen"),
    "provenance is a list": record("current", "provenance", to=[]),
    "corrections of texts": record("current", "provenance", "correction", to={"structures": "x", "regions": [5]}),
    "record is a fifo": fifo("provenance/CT_0001.json"),
    "record is nested": text("provenance/CT_0001.json", DEEP),
    "record is a link": linked("provenance/CT_0001.json"),
    "case above": renamed_case("../../x"),
    "case absolute": lambda folder, outside: renamed_case(str(outside / "x"))(folder, outside),
    "case with a surrogate": renamed_case("\ud800"),
    "case empty": renamed_case(""),
    "case twice by capitals": renamed_case("ct_0001"),
    "id above": listing("activeseg", "id", to="../../x"),
    "id of 32 letters": listing("activeseg", "id", to="z" * 32),
    "id is a number": listing("activeseg", "id", to=5),
    "revision without end": listing("activeseg", "cases", "CT_0001", "revision", to=10**9),
    "revision negative": listing("activeseg", "cases", "CT_0001", "revision", to=-1),
    "revision is a text": listing("activeseg", "cases", "CT_0001", "revision", to="1"),
    "revision is infinite": listing("activeseg", "cases", "CT_0001", "revision", to=float("inf")),
    "revision that is not there": listing("activeseg", "cases", "CT_0001", "revision", to=2),
    "waiting is a number": listing("activeseg", "cases", "CT_0001", "waiting", to=5),
    "waits for nothing known": listing("activeseg", "cases", "CT_0001", "waiting", to=["x"]),
    "cases are a list": listing("activeseg", "cases", to=[]),
    "schema number huge": listing("activeseg", "schema", to=10**9),
    "schema number is a path": listing("activeseg", "schema", to="../../x"),
    "next case is a text": listing("activeseg", "next_case", to="1"),
    "channels are a list": listing("channel_names", to=["CT"]),
    "channels without numbers": listing("channel_names", to={"x": "CT"}),
    "channels equal": listing("channel_names", to={"0": "CT", "1": "CT"}),
    "format is an object": listing("activeseg", "format", to={}),
    "ours is a text": listing("activeseg", to="x"),
    "listing is nested": text("dataset.json", DEEP),
    "listing with a deep key": lambda folder, _: edited(
        folder / "dataset.json", "deep", to=json.loads("[" * 400 + "]" * 400)
    ),
    "listing is no UTF-8": lambda folder, _: (folder / "dataset.json").write_bytes(b"\xff\xfe{}"),
    "listing is a link": linked("dataset.json"),
    "schema is a list": text("provenance/schema.1.json", "[]"),
    "schema with odd colours": text("provenance/schema.1.json", '{"labels": [{"value": 1, "name": [], "color": 5}]}'),
    "schema is a fifo": fifo("provenance/schema.1.json"),
    "schema is a link": linked("provenance/schema.1.json"),
    "images are a link": linked("imagesTr"),
    "labels are a link": linked("labelsTr"),
    "provenance is a link": linked("provenance"),
    "history is a link": linked("provenance/labels"),
    "one image is a link": linked("imagesTr/CT_0001_0000.nii.gz"),
    "one label is a link": linked("labelsTr/CT_0001.nii.gz"),
    "one label is a fifo": fifo("labelsTr/CT_0001.nii.gz"),
    "a journal names files elsewhere": false_journal,
    "staging is a link": linked_staging,
    "lock is a link": linked(".lock"),
    "writer is a link": linked(".writer.json"),
}
HARMLESS = {"a journal names files elsewhere", "staging is a link", "writer is a link"}
"""With these the dataset can be used; nothing outside of it changes."""


def project_file(*keys: str | int, to: Any) -> Change:
    def change(folder: Path, outside: Path) -> None:
        value = str(outside) if to == "@" else to
        edited(folder / "project.json", *keys, to=value)

    return change


def version_file(*keys: str | int, to: Any) -> Change:
    return lambda folder, _: edited(folder / "versions/v0001/version.json", *keys, to=to)


def run_file(name: str, *keys: str | int, to: Any) -> Change:
    return lambda folder, _: edited(folder / f"runs/20260101-000000-000001/{name}", *keys, to=to)


RUN = "runs/20260101-000000-000001"
PROJECTS: dict[str, Change] = {
    "id above": project_file("id", to="../../x"),
    "id empty": project_file("id", to=""),
    "dataset above": project_file("dataset", to="../outside"),
    "dataset elsewhere": project_file("dataset", to="@"),
    "dataset is the project": project_file("dataset", to="."),
    "dataset is a number": project_file("dataset", to=5),
    "dataset is a link": linked("Dataset501_livers"),
    "current above": project_file("current", to="../../../outside"),
    "current with a slash": project_file("current", to="v0001/"),
    "current is a list": project_file("current", to=["v0001"]),
    "promotions of numbers": project_file("promotions", to=[5]),
    "promotions with more": project_file(
        "promotions", to=[{"time": "", "version": "", "by": "", "reason": "", "x": 1}]
    ),
    "hold-out is a list": project_file("hold_out", to=[]),
    "hold-out of nobody": project_file("hold_out", to={"patients": {}, "cases": {"CT_0001": "x"}}),
    "hold-out of paths": project_file("hold_out", to={"patients": {"a": "train"}, "cases": {"../x": "a"}}),
    "hold-out with an odd side": project_file("hold_out", to={"patients": {"a": "both"}, "cases": {}}),
    "margin not finite": project_file("margin", to=float("nan")),
    "reviewed are paths": project_file("reviewed", to=["../../x"]),
    "matching of numbers": project_file("matching", to={"organ": 5}),
    "base model is an object": project_file("base_model", to={}),
    "base model nowhere": project_file("base_model", to="nnunet:/dev/zero"),
    "file is nested": text("project.json", DEEP),
    "file is a fifo": fifo("project.json"),
    "file is a link": linked("project.json"),
    "versions are a link": linked("versions"),
    "runs are a link": linked("runs"),
    "replay is a link": linked("replay"),
    "replay holds a link": linked("replay/Dataset998_Replay"),
    "one version is a link": linked("versions/v0001"),
    "version with another id": version_file("id", to="v0007"),
    "version's id above": version_file("id", to="../../x"),
    "version's parent above": version_file("parent", to="../../../x"),
    "version's task is a path": version_file("task", to="../../x"),
    "version's schema is odd": version_file("schema", to={"labels": [5]}),
    "version's seeds are texts": version_file("seeds", to=["x"]),
    "version's verdict is odd": version_file("verdict", to={"promoted": 1}),
    "version's record is a fifo": fifo("versions/v0001/version.json"),
    "version's measurements are a link": linked("versions/v0001/measured.json"),
    "run's state is odd": run_file("state.json", "stage", to="won"),
    "run's state is a list": text(f"{RUN}/state.json", "[]"),
    "run's state is a link": linked(f"{RUN}/state.json"),
    "run names a case above": run_file("run.json", "cases", "corrected", to={"../x": "0" * 64}),
    "run's parent above": run_file("run.json", "parent", to="../../x"),
    "run's plan is a text": run_file("run.json", "plan", to="x"),
    "run's log is a link": linked(f"{RUN}/log.txt"),
    "run's events are a link": linked(f"{RUN}/events.jsonl"),
    "run's events are odd": text(f"{RUN}/events.jsonl", '5\n{"event": 7}\n[[\n{}\n'),
    "run's control is a fifo": fifo(f"{RUN}/control"),
    "run's members are a link": linked(f"{RUN}/members"),
    "run names another project": run_file("run.json", "project", to="/"),
}
