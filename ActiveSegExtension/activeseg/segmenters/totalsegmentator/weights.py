"""Are the trained models there and whole? If not: fetch them the package's way, or say how to put them there by hand.

TotalSegmentator itself only asks whether a dataset's folder exists, so that an interrupted unzip looks installed.
Nothing here imports torch, except the download itself (the package's own module does).
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from activeseg.core.errors import Cancelled, ModelError, Remedy
from activeseg.core.progress import Progress
from activeseg.core.sizes import size_text
from activeseg.segmenters.totalsegmentator.sandbox import UserHome, replaced, sandbox
from activeseg.segmenters.totalsegmentator.tasks import LICENCE_PAGE, TaskModel
from activeseg.system.file_lock import acquire
from activeseg.system.regular_files import read_json

CHECKPOINT = "checkpoint_final.pth"
CONNECT_SECONDS, READ_SECONDS = 6.0, 60.0
SMALLEST_CHECKPOINT = 10_000
"""Bytes; the smallest network that can be told from a cut-off file. The package's real ones have 60 to 250 MB."""


class Weights(StrEnum):
    """The state of a model folder, or of a task: ``licence`` where the user would first have to enter one."""

    READY = "ready"
    MISSING = "missing"
    DAMAGED = "damaged"
    OTHER_VERSION = "other version"
    LICENCE = "licence"


@dataclass(frozen=True)
class InspectedWeights:
    """What is wrong with a model folder: its state, one sentence, and the file or folder that it is about."""

    state: Weights
    problem: str = ""
    path: Path | None = None


def inspect_weights(model: TaskModel, root: Path) -> InspectedWeights:
    """Look at one model folder below the weights' root, without loading anything."""
    dataset, folder = root / model.dataset, model.folder(root)
    if not dataset.is_dir():
        return InspectedWeights(Weights.MISSING, f"{dataset} does not exist.", dataset)
    if not folder.is_dir():
        if (dataset / model.dataset).is_dir():
            return InspectedWeights(Weights.DAMAGED, f"{dataset} was unzipped one folder too deep.", dataset)
        others = sorted(path.name for path in dataset.glob("*__*__*"))
        if others:
            problem = f"{dataset} holds {', '.join(others)}, but the installed TotalSegmentator needs {model.trained}."
            return InspectedWeights(Weights.OTHER_VERSION, problem, folder)
        return InspectedWeights(Weights.DAMAGED, f"{folder} does not exist (was an unzip interrupted?).", folder)
    try:
        plans, description = _json(folder / "plans.json"), _json(folder / "dataset.json")
        configurations = plans.get("configurations")
        if not isinstance(configurations, dict) or model.configuration not in configurations:
            problem = f"{folder / 'plans.json'} has no configuration '{model.configuration}'."
            return InspectedWeights(Weights.OTHER_VERSION, problem, folder / "plans.json")
        labels = _labels_problem(description, model)
        if labels:
            return InspectedWeights(
                Weights.OTHER_VERSION, f"{folder / 'dataset.json'} {labels}.", folder / "dataset.json"
            )
        for path in _checkpoints(folder, model):
            _check_checkpoint(path)
    except _DamagedError as error:
        return InspectedWeights(Weights.DAMAGED, error.problem, error.path)
    return InspectedWeights(Weights.READY)


def require_weights(models: Iterable[TaskModel], root: Path) -> tuple[TaskModel, ...]:
    """Raise ModelError for the first folder that is damaged or of another version; return what is missing."""
    missing: list[TaskModel] = []
    for model in {model.dataset_id: model for model in models}.values():
        finding = inspect_weights(model, root)
        if finding.state is Weights.MISSING:
            missing.append(model)
        elif finding.state is not Weights.READY:
            raise ModelError(
                f"The weights of TotalSegmentator's model {model.dataset_id} cannot be used: {finding.problem}",
                f"Delete the folder {root / model.dataset} and run again to download it, or {_by_hand(model, root)}",
                state=str(finding.state),
                file=str(finding.path),
                folder=str(root),
                url=model.url,
            )
    return tuple(missing)


def download_weights(models: Sequence[TaskModel], user: UserHome, progress: Progress) -> None:
    """Fetch these models with the package's own downloader; each appears under its name only when it is complete.

    Raises
    ------
    ModelError : no connection, a refusal, a zip that is not what it should be; says how to do it by hand. Cancelled.
    """
    root = user.weights
    try:
        root.mkdir(parents=True, exist_ok=True)
        with download_lock(root, progress):
            for number, model in enumerate(models):
                if inspect_weights(model, root).state is Weights.MISSING:  # another process may just have fetched it
                    part = progress.part(number / len(models), (number + 1) / len(models))
                    _download(model, user, part)
    except OSError as error:
        raise ModelError(
            f"TotalSegmentator's weights could not be written to {root}: {error}.",
            "Free some space, or set TOTALSEG_WEIGHTS_PATH to a folder that you may write to.",
            folder=str(root),
        ) from error


class _DamagedError(Exception):
    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(problem)
        self.path, self.problem = path, problem


def _json(path: Path) -> dict[str, Any]:
    """What it says is checked when the network is built (``model_folder_check``)."""
    if not path.exists():
        raise _DamagedError(path, f"{path} is missing.")
    try:
        return read_json(path, ModelError)
    except ModelError as error:
        raise _DamagedError(path, f"{path} cannot be read as JSON: {error.message}") from error


def _labels_problem(description: dict[str, Any], model: TaskModel) -> str:
    """Why the folder's labels are not those of the installed package; empty when they fit.

    The package goes by values alone. Networks may know more values (auxiliary ones), and some folders of the
    package name theirs differently, so the test is: all values are there, and most known names have their own value.
    """
    labels = description.get("labels")
    if not isinstance(labels, dict):
        return "has no labels"
    values = {name: value for name, value in labels.items() if isinstance(value, int)}
    lacking = set(model.classes) - set(values.values())
    if lacking and len(values) == len(labels):
        return f"knows {max(len(values) - 1, 0)} structures, but the installed package expects {len(model.classes)}"
    ours = {name: value for value, name in model.classes.items()}
    known = [name for name in values if name in ours]
    moved = [name for name in known if values[name] != ours[name]]
    if 2 * len(moved) > len(known):
        return f"orders its labels differently ('{moved[0]}' is {values[moved[0]]}, expected {ours[moved[0]]})"
    return ""


def _checkpoints(folder: Path, model: TaskModel) -> list[Path]:
    if model.folds is not None:
        return [folder / f"fold_{fold}" / CHECKPOINT for fold in model.folds]
    found = sorted(folder.glob(f"fold_*/{CHECKPOINT}"))
    return found or [folder / "fold_0" / CHECKPOINT]


def _check_checkpoint(path: Path) -> None:
    """A torch checkpoint is a zip whose directory stands at its end, so a cut-off one has none."""
    if not path.is_file():  # a FIFO, too
        raise _DamagedError(path, f"{path} is missing or not a regular file.")
    size = path.stat().st_size
    if size < SMALLEST_CHECKPOINT:
        raise _DamagedError(path, f"{path} has only {size} bytes.")
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.rsplit("/", 1)[-1] for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError) as error:
        raise _DamagedError(path, f"{path} ({size} bytes) is cut off or is no checkpoint.") from error
    if "data.pkl" not in names:
        raise _DamagedError(path, f"{path} is a zip, but not a checkpoint.")


def _by_hand(model: TaskModel, root: Path) -> str:
    if model.url:
        there = root / model.dataset
        return f"put it there by hand: download {model.url} and unzip it into {root}, so that {there} exists."
    return (
        "put it there by hand: run 'totalseg_download_weights' for that task on a computer with internet access and "
        f"the licence, and copy the folder {model.dataset} into {root}."
    )


@contextmanager
def download_lock(root: Path, progress: Progress) -> Iterator[None]:
    """One download at a time for this folder; its holder may sweep what interrupted ones left."""
    while (lock := acquire(root / ".activeseg-download.lock", 0.5)) is None:
        progress("download", 0.0, "waiting for another download")
    try:
        for leftover in root.glob(".activeseg-download-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield
    finally:
        lock.release()


def _download(model: TaskModel, user: UserHome, progress: Progress) -> None:
    import requests
    from totalsegmentator import libs

    root = user.weights
    progress("download", 0.0, model.dataset)
    with tempfile.TemporaryDirectory(prefix=".activeseg-download-", dir=root, ignore_cleanup_errors=True) as place:
        try:
            with (
                sandbox(user, Path(place)) as printed,
                replaced(libs, requests=_with_timeouts(), tqdm=_reporting(model, printed.outside(progress))),
            ):
                libs.download_pretrained_weights(model.dataset_id)
        except Cancelled:
            raise
        except requests.RequestException as error:
            raise ModelError(
                f"TotalSegmentator's model {model.dataset_id} is not installed and could not be downloaded: "
                f"{_reason(error)}.",
                f"Try again with internet access, or {_by_hand(model, root)}",
                file=f"{model.dataset}.zip",
                folder=str(root),
                url=model.url,
            ) from error
        except (zipfile.BadZipFile, KeyError) as error:
            raise ModelError(
                f"The download of TotalSegmentator's model {model.dataset_id} was not a complete zip.",
                f"Try again, or {_by_hand(model, root)}",
                file=f"{model.dataset}.zip",
                folder=str(root),
                url=model.url,
            ) from error
        # zipfile itself strips '..' and roots from names; and only this one folder leaves the temporary place
        finding = inspect_weights(model, Path(place))
        if finding.state is not Weights.READY:
            raise ModelError(
                f"What was downloaded for TotalSegmentator's model {model.dataset_id} cannot be used: "
                f"{finding.problem.replace(place, str(root))}",
                f"Try again later, or {_by_hand(model, root)}",
                url=model.url,
            )
        progress("download", 1.0, model.dataset)
        (Path(place) / model.dataset).rename(root / model.dataset)


def _with_timeouts() -> SimpleNamespace:
    """What the package's downloader uses of ``requests``; its own GET would wait for ever."""
    import requests

    limits = (CONNECT_SECONDS, READ_SECONDS)
    return SimpleNamespace(
        get=lambda url, **options: requests.get(url, **{**options, "timeout": limits}),
        post=lambda url, **options: requests.post(url, **{**options, "timeout": limits}),
    )


def _reporting(model: TaskModel, progress: Progress) -> type:
    """Stands in for ``tqdm`` in the package's downloader."""

    class Bar:
        def __init__(self, total: int = 0, **_: Any) -> None:
            self.total, self.done = total, 0

        def update(self, count: int) -> None:
            self.done += count
            text = f"{model.dataset}: {size_text(self.done)} of {size_text(self.total)}"
            progress("download", 0.99 * self.done / self.total if self.total else 0.0, text)

        def close(self) -> None:
            pass

    return Bar


def _reason(error: Exception) -> str:
    import requests

    if isinstance(error, requests.Timeout):
        return "the server did not answer"
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code}"
    if isinstance(error, requests.ConnectionError):
        return "there is no connection to the server"
    return type(error).__name__


def licence_needed(what: str) -> ModelError:
    """The error for a task or a model that is for licence holders."""
    return ModelError(
        f"{what} needs a TotalSegmentator licence (free for academic use, a number such as aca_XXXXXXXXXXXXXX).",
        f"Get one at {LICENCE_PAGE} and enter it.",
        remedy=Remedy.ENTER_LICENCE,
        licence_page=LICENCE_PAGE,
    )
