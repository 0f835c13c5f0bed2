"""The process of one fine-tuning: prepare, train each member, write the version, measure it, let the gate decide.

Every step finds what an earlier process of the same run has finished, so that a run that was stopped or killed goes on
with at most one epoch lost.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from activeseg.core.errors import ActiveSegError, Cancelled, EngineError
from activeseg.core.progress import Progress
from activeseg.core.records import to_json
from activeseg.learning.project.gate import judge
from activeseg.learning.project.holdout import Side
from activeseg.learning.project.project import VERSIONS
from activeseg.learning.project.share import Chosen
from activeseg.learning.project.state import now
from activeseg.learning.project.version import MEASURED, MODEL, Version, add_version
from activeseg.learning.training.averaging import averaged_members, choose_share
from activeseg.learning.training.preparation import DATASET, PLANS, prepare
from activeseg.learning.training.run_folder import Control, RunFolder, Stage
from activeseg.learning.training.training_basis import TrainingBasis
from activeseg.learning.training.training_plan import MembersFrom
from activeseg.system import heap
from activeseg.system.files import replacing, staging_folder, write_json
from activeseg.system.regular_files import is_link

_LOOK_S = 0.2
_GRACE_S = 1.5
"""A step of a large network may take longer than a user waits for a cancel: then the process is ended from outside."""
_TELL_S = 0.5
_SHARES = {Stage.PREPARING: (0.0, 0.05), Stage.TRAINING: (0.05, 0.9), Stage.MEASURING: (0.9, 1.0)}


def main() -> None:
    """``python -c ... FOLDER``"""
    heap.keep_freed()
    run = RunFolder(Path(sys.argv[1]))
    with run.alive():
        try:
            running = _Running(run)
        except ActiveSegError as error:  # the project was moved or damaged meanwhile
            run.write_state(replace(run.state, stage=Stage.FAILED, eta_s=None, error=error.to_dict()))
            return
        running.go()


class _Running:
    def __init__(self, run: RunFolder) -> None:
        self.run = run
        asked = run.asked
        self.project = run.project
        self.plan, self.parent_id, self.part, self.cases = asked.plan, asked.parent, asked.part, asked.cases
        self.state = replace(run.state, stage=Stage.PREPARING, error=None)
        self.started = time.monotonic()
        self.told_at = 0.0
        self.stopping = threading.Event()
        self.seconds: list[float] = []  # of iterations, with their data
        self.iterated_at = 0.0

    # From its start to its end.

    def go(self) -> None:
        threading.Thread(target=self._watch, daemon=True).start()
        try:
            self._work()
        except Cancelled:
            self._end_as_told()
        except ActiveSegError as error:
            self._end(Stage.FAILED, error)
        except Exception as error:
            traceback.print_exc()
            self._end(Stage.FAILED, self._told(error))
        else:
            self._end(Stage.DONE)

    def _told(self, error: Exception) -> ActiveSegError:
        """What the user is told of an unexpected error."""
        if heap.is_out_of_memory(error):
            from activeseg.learning.training.training_estimate import too_little_memory

            return too_little_memory(self.plan)
        return EngineError("The fine-tuning failed for an unexpected reason.", f"See {self.run.folder / 'log.txt'}.")

    def _watch(self) -> None:
        """Ends the process when it is told to, however long a step takes; all that it writes appears whole or not."""
        while not self.run.control.ends:
            time.sleep(_LOOK_S)
        self.stopping.set()
        time.sleep(_GRACE_S)
        self._end_as_told()
        os._exit(130)

    def _end_as_told(self) -> None:
        """Whatever else it was told meanwhile, nothing but ``cancel`` ends it for good."""
        self._end(Stage.CANCELLED if self.run.control is Control.CANCEL else Stage.STOPPED)

    def _end(self, stage: Stage, error: ActiveSegError | None = None) -> None:
        self._tell(stage=stage, eta_s=None, error=error.to_dict() if error else None)
        self.run.add_event({"event": "end", "stage": stage.value})
        if stage in (Stage.DONE, Stage.CANCELLED):
            self.run.remove_scratch()

    def _tell(self, **changes: Any) -> None:
        self.state = replace(self.state, **changes)
        self.run.write_state(self.state)

    def _progress(self, stage: Stage) -> Progress:
        low, high = _SHARES[stage]

        def report(_stage: str, fraction: float, _text: str) -> None:
            if time.monotonic() - self.told_at > _TELL_S:
                self.told_at = time.monotonic()
                self._tell(fraction=low + (high - low) * fraction)

        return Progress(report, self.stopping.is_set)

    def _wait(self) -> None:
        """Before each iteration: here a paused training waits."""
        told = self.run.control
        if told is Control.PAUSE:
            heap.trim()
        while told is Control.PAUSE and not self.stopping.is_set():
            time.sleep(_LOOK_S)
            told = self.run.control
        if self.stopping.is_set() or told.ends:
            raise Cancelled()

    def _stage(self, stage: Stage) -> None:
        self._tell(stage=stage, fraction=_SHARES[stage][0], eta_s=None, member=0, epoch=0)
        self.run.add_event({"event": "stage", "stage": stage.value})

    # The work.

    def _work(self) -> None:
        folders = {name: self.run.folder / name for name in ("preprocessed", "results")}
        for name, folder in folders.items():
            if is_link(folder):
                folder.unlink()  # nothing is written where it leads
            folder.mkdir(exist_ok=True)
            os.environ[f"nnUNet_{name}"] = str(folder)
        os.environ["nnUNet_raw"] = str(self.run.folder)
        self._stage(Stage.PREPARING)
        # What was found when it began may have changed, and a resumed one may be on another computer.
        basis = TrainingBasis.of(self.project, self.parent_id, self.part, self.cases)
        self.plan = basis.checked(self.plan)
        if not self.state.version:
            prepare(self.project, basis, self.plan, folders["preprocessed"], self._progress(Stage.PREPARING))
            self._stage(Stage.TRAINING)
            members = self._train(basis, folders["preprocessed"])
            self._stage(Stage.MEASURING)
            self._publish(basis, members)
        else:
            self._stage(Stage.MEASURING)
        self._measure()

    def _train(self, basis: TrainingBasis, preprocessed: Path) -> list[Path]:
        """Weights of all members, one file each."""
        done = self.run.folder / "members"
        if is_link(done):
            done.unlink()
        done.mkdir(exist_ok=True)
        files = [done / f"{number}.pth" for number in range(self.plan.members)]
        for number in range(self.plan.trainings):
            mine = files if self.plan.members_from is MembersFrom.SNAPSHOTS else [files[number]]
            if not all(file.exists() for file in mine):
                self._train_one(number, mine, basis, preprocessed / DATASET)
        return files

    def _train_one(self, number: int, files: list[Path], basis: TrainingBasis, folder: Path) -> None:
        import numpy as np
        import torch

        from activeseg.learning.training.parent_network import CHECKPOINT
        from activeseg.learning.training.trainer import Course, FineTuningTrainer, latest_checkpoint
        from activeseg.segmenters.nnunet.checkpoint_file import read_checkpoint, read_pickle
        from activeseg.segmenters.nnunet.safe_loading import safe_unpickling

        parent, seed = basis.network, self.plan.seed + number
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        fold = parent.folds[number % len(parent.folds)]
        weights = read_checkpoint(parent.folder / f"fold_{fold}" / CHECKPOINT).load()
        plans = {**_read(folder / f"{PLANS}.json"), "continue_training": False}
        trainer = FineTuningTrainer(
            plans, parent.configuration, number, _read(folder / "dataset.json"), torch.device(self.plan.device)
        )

        def snapshot(cycle: int, state: Mapping[str, Any]) -> None:
            _save(files[cycle], state)

        earlier = self.cases.earlier(self.project, self.parent_id)
        with self._tensorboard(number) as scalar:
            trainer.course = Course(
                self.plan,
                weights,
                parent.dataset["labels"],
                basis.target.labels,
                [f"new_{case}" for case in self.cases.corrected if case not in earlier],
                [*(f"new_{case}" for case in earlier), *(f"replay_{case}" for case in self.cases.replayed)],
                parent.mirror_axes,
                lambda event: self._trained(number, event, scalar),
                self._wait,
                snapshot,
            )
            trainer.initialize()
            if latest_checkpoint(trainer).exists():
                read_pickle(latest_checkpoint(trainer))  # raises, where it holds more than a training leaves
                with safe_unpickling():
                    trainer.load_checkpoint(str(latest_checkpoint(trainer)))
            trainer.run_training()
        if self.plan.members_from is MembersFrom.SEEDS:
            _save(files[0], trainer.network.state_dict())
        del trainer
        gc.collect()  # trainers hold themselves, and on a GPU the next member needs their memory

    def _trained(self, number: int, event: Mapping[str, Any], scalar: Any) -> None:
        """An iteration or an epoch is over."""
        plan = self.plan
        before = number * plan.epochs * plan.iterations
        if event["event"] == "iteration":
            now = time.monotonic()
            self.seconds.append(now - self.iterated_at if self.iterated_at else float(event["seconds"]))
            self.iterated_at = now
            where = {"member": number + 1, "epoch": (int(event["iteration"]) - 1) // plan.iterations + 1}
            if where != {"member": self.state.member, "epoch": self.state.epoch} or now - self.told_at > _TELL_S:
                self.told_at = now
                done = before + int(event["iteration"])
                low, high = _SHARES[Stage.TRAINING]
                recent = sorted(self.seconds[-50:])
                left = (plan.all_iterations - done) * recent[len(recent) // 2]
                fraction = low + (high - low) * done / plan.all_iterations
                self._tell(fraction=fraction, eta_s=round(left, 1), **where)
        else:
            self._tell(loss=event["loss"], dice=event["dice"])
            scalar("loss", event["loss"], event["epoch"])
            for name, dice in event["dice"].items():
                scalar(f"dice/{name}", dice, event["epoch"])
        self.run.add_event({**event, "member": number + 1})

    @contextlib.contextmanager
    def _tensorboard(self, number: int) -> Iterator[Any]:
        from tensorboardX import SummaryWriter

        with SummaryWriter(str(self.run.folder / "tensorboard" / f"member_{number + 1}")) as writer:
            yield writer.add_scalar

    def _publish(self, basis: TrainingBasis, members: list[Path]) -> None:
        """The version appears with its model and its record, or not at all."""
        from activeseg.learning.training.publication import shapes_learned, write_model

        chosen = self._chosen(basis, members)
        versions = self.project.folder / VERSIONS
        versions.mkdir(exist_ok=True)
        staging = staging_folder(versions)
        try:
            weights = averaged_members(basis, self.plan, members, chosen.share)
            write_model(staging / MODEL, basis.network, basis.target, weights, len(self.cases.corrected))
            shapes = shapes_learned(self.project, basis, Progress(cancelled=self.stopping.is_set))
            hold_out, dataset = self.project.state.hold_out, self.project.dataset()
            held_out = [case for case in hold_out.on(Side.HELD_OUT) if case in dataset.cases()]
            version = add_version(
                versions,
                staging,
                lambda id: Version(
                    id,
                    self.parent_id,
                    now(),
                    basis.network.kind,
                    basis.network.task,
                    self.cases.corrected,
                    self.cases.replayed,
                    {case: dataset.record(case).current.label.sha256 for case in held_out},
                    basis.target.schema.to_dict(),
                    to_json(self.plan),
                    tuple(self.plan.seed + number for number in range(self.plan.trainings)),
                    {name: metadata.version(name) for name in ("nnunetv2", "torch", "TotalSegmentator")},
                    round(time.monotonic() - self.started, 1),
                    shapes,
                    replay_held_out=self.cases.replay_held_out,
                    share=chosen.share,
                ),
            )
            self._tell(version=version.id)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _chosen(self, basis: TrainingBasis, members: list[Path]) -> Chosen:
        """How much of what was learnt the version keeps; measured once, and kept for the gate."""
        known = self.run.chosen
        if known is not None:
            return known
        chosen = choose_share(
            self.project,
            basis,
            self.plan,
            members,
            self.run.folder / "results" / "candidate",
            self._progress(Stage.MEASURING).part(0.0, 0.3),
        )
        self.run.write_chosen(chosen)
        return chosen

    def _measure(self) -> None:
        """Parent and child on the same held-out cases, the gate, and what follows from it."""
        from activeseg.learning.measuring.evaluation import dice_of, measure
        from activeseg.learning.measuring.pictures import comparison_picture

        project, device, child = self.project, self.plan.device, self.state.version
        progress = self._progress(Stage.MEASURING)
        before = measure(project, self.parent_id, device, progress.part(0.3, 0.65))
        after = measure(project, child, device, progress.part(0.65, 1.0))
        names = list(project.dataset().schema.names)
        chosen = self.run.chosen or Chosen()  # trained by an ActiveSeg that held no replayed image out
        kept = chosen.kept(self.plan.forgetting_margin)
        verdict = judge(dice_of(before), dice_of(after), names, self.plan.margin, kept)
        folder = project.version_folder(child)
        comparison_picture(folder / "comparison.png", before, after, (self.parent_id, child), names)
        metrics = {"parent": to_json(before), "child": to_json(after), "kept": to_json(chosen)}
        write_json(folder / MEASURED, {"metrics": metrics, "verdict": to_json(verdict)})
        reason, promoted = verdict.reason, verdict.promoted
        if promoted and project.state.current != self.parent_id:
            promoted = False
            reason += f" But '{project.state.current}' became current meanwhile, so it was not promoted."
        if promoted:
            project.promote(child, reason, by="gate")
        self._tell(promoted=promoted, verdict=reason, fraction=1.0)


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _save(path: Path, weights: Mapping[str, Any]) -> None:
    import torch

    with replacing(path, ".pth") as fresh:
        torch.save({name: tensor.detach().cpu() for name, tensor in weights.items()}, fresh)


if __name__ == "__main__":
    main()
