"""ActiveSeg's predict inside the original ``totalsegmentator()``: what its networks say, and where their grid lies.

The package crops, resamples, splits, merges and post-processes; for every network it calls ``nnUNetv2_predict`` on
files in a temporary folder. Here that one call runs our ensemble instead, writes the label files that the package
expects, and keeps the votes and measures of the networks whose labels become the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from activeseg.core.clock import Clock
from activeseg.core.errors import InputError, ModelError
from activeseg.core.geometry import Geometry
from activeseg.core.progress import Progress
from activeseg.core.segmenter import Mode, Resample, Settings
from activeseg.core.votes import GridVotes, Member, MemberKind
from activeseg.segmenters.nnunet import ensemble
from activeseg.segmenters.nnunet.accumulators import Guest
from activeseg.segmenters.nnunet.case import OrientedImage, PreprocessedCase, on_cropped_grid, preprocessed
from activeseg.segmenters.nnunet.decision import Decision
from activeseg.segmenters.nnunet.network import Network
from activeseg.segmenters.nnunet.resampling import argmax_resampled, centre_aligned
from activeseg.segmenters.totalsegmentator.sandbox import replaced
from activeseg.segmenters.totalsegmentator.tasks import FAMILY, Task, TaskModel
from activeseg.segmenters.totalsegmentator.votes import (
    LabelArray,
    first_plane,
    keeping,
    merged,
    part_votes,
    placed_in_image,
    stitched,
)

Networks = Callable[[TaskModel, float], Network]
"""Gives the loaded network of a model folder for a step size of its tiles."""


@dataclass
class Predictions:
    """One run of the original function with ActiveSeg's predict in it.

    Attributes
    ----------
    models : dataset id -> the model folders that were checked before the run
    beside : a coarser model of the same structures that votes as one of the views, where views are asked for
    clock : collects the seconds of the networks and of the package
    shares : part of the time that each network takes, in the order in which the package calls them (they sum to 1)
    kept : for each piece of a split image (one otherwise) what its networks said, in the package's order of merging
    arithmetic : how each network was computed
    """

    task: Task
    models: Mapping[int, TaskModel]
    networks: Networks
    settings: Settings
    progress: Progress
    shares: Sequence[float]
    clock: Clock
    beside: TaskModel | None = None
    kept: dict[str, list[GridVotes]] = field(default_factory=dict)
    arithmetic: dict[int, str] = field(default_factory=dict)
    _main: bool = False
    _calls: int = 0
    _source: Any = None
    _resampled: tuple[Any, Any, Any] | None = None
    _coarse: LabelArray | None = None
    _genuine_image: Any = None
    _genuine_spacing: Any = None

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within it the package predicts through this object; the package is put back afterwards."""
        from totalsegmentator import nnunet, python_api

        self._genuine_image, self._genuine_spacing = nnunet.nnUNet_predict_image, nnunet.change_spacing
        with ExitStack() as stack:
            stack.enter_context(
                replaced(
                    nnunet,
                    nnUNetv2_predict=self.predict,
                    nnUNet_predict_image=self._predict_image,
                    change_spacing=self._change_spacing,
                    nostdout=lambda verbose=False: nullcontext(),  # the sandbox already does it, for this thread alone
                )
            )
            stack.enter_context(
                replaced(
                    python_api,
                    # the weights were checked; the package's own function would also delete the user's older ones
                    download_pretrained_weights=lambda task_id: None,
                    # returns None for a CPU in 2.18.0, on which the package's nested call for 'teeth' then fails
                    convert_device_to_string=lambda device: getattr(device, "type", device),
                )
            )
            yield

    def predict(
        self,
        dir_in: Path,
        dir_out: Path,
        task_id: int,
        *_: Any,
        step_size: float = 0.5,
        use_cropped_logits_resampling: bool = False,
        **__: Any,
    ) -> None:
        """Stands in for the package's ``nnUNetv2_predict``: reads ``s0N_0000.nii.gz``, writes ``s0N.nii.gz``."""
        if task_id not in self.models:
            raise ModelError(
                f"TotalSegmentator wanted its model {task_id} for the task '{self.task.task}', which was not expected.",
                "The installed version of TotalSegmentator is not supported by this version of ActiveSeg.",
            )
        self.clock.lap("package")
        self.progress("load", sum(self.shares[: self._calls]))
        network = self.networks(self.models[task_id], step_size)
        self.clock.lap("load")
        pieces = sorted(Path(dir_in).glob("s0?_0000.nii.gz"))
        start, share = sum(self.shares[: self._calls]), sum(self.shares[self._calls : self._calls + 1])
        self._calls += 1
        for number, path in enumerate(pieces):
            if len(pieces) > 1 and self.settings.resample is Resample.SMOOTH:
                raise InputError(
                    "The image is so large that TotalSegmentator splits it, which does not go with smooth resampling.",
                    "Do not resample smoothly, or crop the image.",
                    setting="resample",
                )
            part = self.progress.part(start + share * number / len(pieces), start + share * (number + 1) / len(pieces))
            self._one_piece(network, task_id, path, first_plane(pieces, number), len(pieces), Path(dir_out), part)
        self.clock.lap("network" if self._main else "rough network")

    def votes(self, structures: Sequence[str]) -> GridVotes | None:
        """All parts and pieces together; None when the package found nothing to look at and called no network.

        Labels are as the networks gave them: the package's post-processing changes the final labels alone.
        """
        if not self.kept:
            return None
        pieces = [merged(parts) for _, parts in sorted(self.kept.items())]
        whole = pieces[0] if len(pieces) == 1 else stitched(pieces)
        return keeping(whole, kept_values(self.task, structures))

    def _predict_image(self, *arguments: Any, **options: Any) -> Any:
        """Stands in for ``nnUNet_predict_image`` to know what a call is for: only the last one names its output."""
        import nibabel

        self._main = options.get("output_task_name") == self.task.task
        self._resampled = None
        image, crop = arguments[0], options.get("crop")
        if self._main and crop is not None and not np.any(crop.dataobj):
            # nothing to look at: the command ends here with an empty result, but the function only if it writes files
            return nibabel.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), image, None
        return self._genuine_image(*arguments, **options)

    def _change_spacing(self, image: Any, *arguments: Any, **options: Any) -> Any:
        """Stands in for ``change_spacing`` to note between which two grids the image was resampled."""
        stage = "resample" if self._calls >= len(self.shares) else "preprocess"
        self.progress(stage, sum(self.shares[: self._calls]))
        result = self._genuine_spacing(image, *arguments, **options)
        if self._resampled is None:
            self._resampled = (image.shape, image.affine, result.shape)
            self._source = image if self._main and self.beside is not None else None
        return result

    def _grid(self, path: Path, plane: int) -> Geometry:
        """Where an image that was handed to the networks truly lies; ``plane`` is its first one along z.

        ``change_spacing`` puts the centres of the first and last voxels on each other (``scipy.ndimage.zoom``), while
        the affine that it writes has the nominal spacing, which drifts from them by up to half a voxel. The pieces of
        a split image all carry the affine of the whole.
        """
        import nibabel

        file: Any = nibabel.load(path)
        matrix = np.array(file.affine, np.float64)
        if self._resampled is not None:
            old, affine, new = self._resampled
            matrix = np.array(affine, np.float64)
            for axis in range(3):
                steps = (old[axis] - 1, new[axis] - 1)
                matrix[:3, axis] *= steps[0] / steps[1] if min(steps) > 0 else old[axis] / new[axis]
        matrix[:3, 3] += matrix[:3, 2] * plane
        return Geometry.from_ijk_to_ras(matrix, file.shape[::-1])

    def _one_piece(
        self,
        network: Network,
        task_id: int,
        path: Path,
        plane: int,
        pieces: int,
        folder: Path,
        progress: Progress,
    ) -> None:
        case = self._read(network, path, plane)
        same_grid = case.network_shape == case.cropped_shape
        settings, guests = replace(self.settings, members=len(network.folds), mirroring=False), []
        alone = self._main and pieces == 1 and len(self.task.parts(self.settings.structures)) == 1
        settings = replace(settings, keep_features=settings.keep_features and alone)
        if self._main:
            settings = replace(settings, members=self.settings.members)
            folds, views = ensemble.plan_members(network, settings)
            if views and same_grid and self._source is not None:
                guests.append(self._guest(case, task_id, network.heads, plane, folder, progress))
                settings = replace(settings, members=len(folds) + len(views) - 1)
        result = ensemble.run(network, case.data, settings, progress, keep_logits=not same_grid, guests=guests)
        labels = result.labels
        if not same_grid:
            assert result.logits is not None
            decision = Decision.of(network)
            labels = on_cropped_grid(network, case, result.logits, labels, decision, settings, progress)
        piece = path.name.removesuffix("_0000.nii.gz")
        writer = network.predictor.plans_manager.image_reader_writer_class()
        writer.write_seg(case.uncropped(labels), str(folder / f"{piece}.nii.gz"), dict(case.properties))
        self.arithmetic[task_id] = result.arithmetic
        if self._main:
            table = final_values(self.task, self.models[task_id], network.heads)
            self.kept.setdefault(piece, []).append(part_votes(case, result, table))

    def _guest(
        self, case: PreprocessedCase, task_id: int, heads: int, plane: int, folder: Path, progress: Progress
    ) -> Guest:
        """The coarser model's vote on the grid of a part model, in the part's own values."""
        if self._coarse is None:
            self._coarse = self._coarse_labels(folder, progress)
        part_value = np.zeros(len(self.task.schema) + 1, np.uint8)
        for value, final in enumerate(final_values(self.task, self.models[task_id], heads)):
            if final:
                part_value[final] = value
        whole = part_value[self._coarse[plane : plane + case.image.array.shape[0]]]
        box = tuple(slice(a, b) for a, b in case.properties["bbox_used_for_cropping"])
        assert self.beside is not None
        assert self.beside.spacing_xyz is not None
        member = Member(f"{self.beside.spacing_xyz[0]:g} mm model", MemberKind.VIEW)
        return Guest(member, np.ascontiguousarray(whole.transpose(case.forward)[box]))

    def _coarse_labels(self, folder: Path, progress: Progress) -> LabelArray:
        """The coarser model's labels of the whole image, values of the task, on the finer model's grid (k, j, i)."""
        import nibabel

        assert self.beside is not None
        assert self.beside.spacing_xyz is not None
        assert self._resampled is not None
        # order and type as in nnUNet_predict_image
        coarse = self._genuine_spacing(self._source, list(self.beside.spacing_xyz), order=1, dtype=np.int32)
        path = folder / "beside.nii.gz"
        nibabel.save(coarse, path)
        network = self.networks(self.beside, 0.8)
        case = self._read(network, path, 0)
        settings = replace(self.settings, members=len(network.folds), mirroring=False)
        result = ensemble.run(network, case.data, settings, progress)
        logits = result.logits
        assert logits is not None
        finer = self._resampled[2][::-1]
        labels = argmax_resampled(
            lambda index: placed_in_image(case, logits.class_logits(index), -1e4 if index else 1e4),
            placed_in_image(case, result.labels, 0),
            centre_aligned(case.image.array.shape, finer),
            progress,
        )
        return np.asarray(final_values(self.task, self.beside, network.heads)[labels])

    def _read(self, network: Network, path: Path, plane: int) -> PreprocessedCase:
        """The file as nnU-Net reads and preprocesses it; its grid as it truly lies."""
        predictor = network.predictor
        plans = predictor.plans_manager
        array, properties = plans.image_reader_writer_class().read_images([str(path)])
        spacing = list(properties["spacing"])
        data, properties = preprocessed(predictor, array, properties, f"{FAMILY}:{self.task.name}")
        image = OrientedImage(array[0], spacing, self._grid(path, plane), lambda labels: labels)
        forward, backward = tuple(plans.transpose_forward), tuple(plans.transpose_backward)
        return PreprocessedCase(torch.from_numpy(data), properties, forward, backward, image)


def genuine_threads(settings: Settings) -> int:
    """Threads of the network: the user's choice, else as many as the package and nnU-Net take on a CPU."""
    import multiprocessing

    from nnunetv2.configuration import default_num_processes

    if settings.threads:
        return settings.threads
    count = multiprocessing.cpu_count()
    return min(count, default_num_processes) if settings.mode is Mode.EXACT else torch.get_num_threads()


def final_values(task: Task, model: TaskModel, heads: int) -> npt.NDArray[np.uint8]:
    """Label value of one network -> value of the task; auxiliary ones become background."""
    value_of = {label.name: label.value for label in task.schema.labels}
    table = np.zeros(max(heads, *model.classes) + 1, np.uint8)
    for value, name in model.classes.items():
        table[value] = value_of[name]
    return table


def kept_values(task: Task, structures: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Value of the task -> the same where that structure was asked for, else 0."""
    table = np.arange(len(task.schema) + 1, dtype=np.uint8)
    if structures:
        table[~np.isin(table, [task.schema.named(name).value for name in structures])] = 0
    return table
