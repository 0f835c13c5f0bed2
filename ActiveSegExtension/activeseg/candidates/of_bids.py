"""Candidates for a BIDS tree: another derivative of it, with the same label maps, which a model changed by the rule."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from activeseg.candidates.bids import (
    DERIVATIVES,
    DESCRIPTION,
    SUFFIX,
    BidsCase,
    Values,
    cases_of,
    derivatives_with_labels,
    inside,
    is_bids,
    read_case,
    values_of,
)
from activeseg.candidates.lists import write_candidate_files
from activeseg.candidates.outcome import CaseByCase, CaseOutcome, CaseState, Outcome
from activeseg.candidates.proposers import Proposer
from activeseg.candidates.refining import Candidate, candidate_of, check_channels, images_for
from activeseg.candidates.rule import DEFAULT_RULE, Rule
from activeseg.core.about import __version__
from activeseg.core.errors import ActiveSegError, DatasetError, InputError
from activeseg.core.labels import LabelSchema
from activeseg.core.progress import Progress
from activeseg.core.records import to_json
from activeseg.core.volume import Volume
from activeseg.dataset import Origin, Provenance
from activeseg.io.images import write_volume
from activeseg.system.files import make_folder, new_folder, remove_abandoned, replacing, write_json
from activeseg.system.regular_files import own_path, read_json

LISTS = "differences"
_NAME = "ActiveSeg"
_KEY = "ActiveSeg"
_BIDS_VERSION = "1.11.1"
_README = """Labels of the source dataset that a model has refined.

No person has reviewed them. A voxel was changed where all ensemble members were sure of another label; all other
differences are listed in the folder 'differences'.
"""

ProposerFor = Callable[[LabelSchema], Proposer]
"""A proposer for old labels of a schema. Raises InputError when it knows none of the structures."""


def labels_to_refine(tree: Path, output: Path) -> Path:
    """The one derivative of a tree that holds label maps, besides the candidates. Raises InputError."""
    found = [path for path in derivatives_with_labels(tree) if path.resolve() != output.expanduser().resolve()]
    if len(found) == 1:
        return found[0]
    names = ", ".join(path.name for path in found[:5])
    raise InputError(
        f"Several derivatives of '{tree.name}' hold label maps: {names}."
        if found
        else f"No derivative of '{tree.name}' holds label maps (*{SUFFIX}.nii.gz).",
        "Name the folder with the labels to refine.",
        setting="labels",
    )


def refine_tree(
    tree: Path,
    labels: Path,
    output: Path,
    proposer_for: ProposerFor,
    *,
    cases: Sequence[str] = (),
    rule: Rule = DEFAULT_RULE,
    progress: Progress | None = None,
    told: Callable[[CaseOutcome], None] = lambda _: None,
) -> Outcome:
    """Make candidates of the label maps (``*_dseg``) of a derivative; ``tree`` and ``labels`` are only read.

    Each case appears whole: its sidecar is written last. What is there from an earlier run with the same model,
    settings and rule is kept as long as image and old label map are the same. A candidate that somebody has changed is
    left alone.

    Parameters
    ----------
    cases
        Names of label maps without ending and suffix, or subjects (``sub-01``); empty means all.

    Raises
    ------
    InputError, DatasetError
        Something is no BIDS tree, a case is unknown, or ``output`` holds other things, or candidates of another model
        or rule.
    DeviceError, Cancelled
    """
    tree, labels, output = (path.expanduser().absolute() for path in (tree, labels, output))
    if not is_bids(tree):
        raise InputError(f"'{tree}' is no BIDS dataset: it has no {DESCRIPTION} with a BIDSVersion.")
    if not labels.is_dir():
        raise InputError(f"There is no folder '{labels}' with labels.", "Name the derivative.", setting="labels")
    _check_apart(tree, labels, output)
    found = cases_of(tree, labels)
    known = {case.name for case in found} | {case.label.partition("/")[0] for case in found}
    for name in cases:
        if name not in known:
            raise InputError(f"There is no case '{name}' in '{labels.name}'.", f"Its cases: {_some(known)}.")
    wanted = [case for case in found if not cases or {case.name, case.label.partition("/")[0]} & set(cases)]
    run = _TreeRun(tree, labels, output, proposer_for, rule)
    run.check_made(wanted)
    run.describe()
    work = [(case.name, partial(run.case, case)) for case in wanted]
    done = CaseByCase(progress or Progress(), told).run([(name, one) for name, one in work])
    return Outcome(output, done)


def _some(names: set[str]) -> str:
    return ", ".join(sorted(names)[:10]) or "none"


def _check_apart(tree: Path, labels: Path, output: Path) -> None:
    """Raise InputError when the candidates would lie among what is only read, or among somebody else's things."""
    where, root, old = (Path(os.path.realpath(path)) for path in (output, tree, labels))
    below = where.relative_to(root).parts if where.is_relative_to(root) else (DERIVATIVES, "")
    among = len(below) < 2 or below[0] != DERIVATIVES or old.is_relative_to(where) or where.is_relative_to(old)
    if among or root.is_relative_to(where):
        raise InputError(
            f"The candidates would be written into '{output}', among the labels and images that stay as they are.",
            f"Name another folder, for example '{tree / DERIVATIVES / 'candidates'}'.",
            setting="output",
        )
    if output.is_dir() and any(output.iterdir()) and not _is_ours(output):
        raise InputError(
            f"'{output}' is not empty and holds no candidates.", "Name a new folder for them.", setting="output"
        )


def _is_ours(output: Path) -> bool:
    try:
        made = read_json(own_path(output, DESCRIPTION)).get("GeneratedBy")
        return isinstance(made, list) and bool(made) and dict(made[0]).get("Name") == _NAME
    except (ActiveSegError, TypeError, ValueError):
        return False


@dataclass(frozen=True)
class _TreeRun:
    """What all cases of a run have in common."""

    tree: Path
    labels: Path
    output: Path
    proposer_for: ProposerFor
    rule: Rule
    proposers: dict[tuple[str, ...], Proposer] = field(default_factory=dict)

    def describe(self) -> None:
        """The derivative's own files. Raises OSError."""
        make_folder(self.output)
        remove_abandoned(self.output)
        link = {"raw": os.path.relpath(self.tree, self.output).replace(os.sep, "/")}
        inside_tree = Path(os.path.realpath(self.output)).is_relative_to(os.path.realpath(self.tree))
        description: dict[str, Any] = {
            "Name": f"{self.output.name}: candidates, not reviewed",
            "BIDSVersion": _BIDS_VERSION,
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": _NAME, "Version": __version__}],
        }
        if inside_tree:
            description |= {"DatasetLinks": link, "SourceDatasets": [{"URL": "bids:raw:"}]}
        for name, text in ((".bidsignore", f"{LISTS}\n{LISTS}/**\n"), ("README", _README)):
            with replacing(own_path(self.output, name), ".txt") as fresh:
                fresh.write_text(text, encoding="utf-8")
        write_json(own_path(self.output, DESCRIPTION), description)

    def check_made(self, cases: Sequence[BidsCase]) -> None:
        """Raise DatasetError unless all candidates that are there were made as this run would make them."""
        for case in cases:
            if case.problem:
                continue
            self._path(case, ".json")  # nothing is made at all where a link leads elsewhere
            try:
                record = self._record(case)
                if not record:
                    continue
                wanted = self._made_with(self._proposer(values_of(self.labels, case.label)))
            except InputError:
                continue  # told when its turn comes
            found = record.get("made_with")
            if found != wanted:
                raise DatasetError(
                    f"'{self.output.name}' holds candidates that were made with another model, other settings or "
                    f"another rule, such as '{case.name}'.",
                    "Name a new folder for these candidates.",
                )

    def case(self, case: BidsCase, progress: Progress) -> CaseOutcome:
        """Refine one case, or find that it is done."""
        progress("read", 0.0)
        if case.problem:
            raise InputError(case.problem, "Check the names of the files.")
        of = {
            "image": case.image,
            "image_sha256": _sha256(inside(self.tree, case.image)),
            "label": case.label,
            "label_sha256": _sha256(inside(self.labels, case.label)),
        }
        label, record = self._path(case, ".nii.gz"), self._record(case)
        if record and label.is_file():
            if _sha256(label) != record.get("sha256"):
                return CaseOutcome(case.name, CaseState.REVIEWED, "Somebody has changed it; it stays as it is.")
            if record.get("source") == of and self._list(case).is_dir():
                return CaseOutcome(case.name, CaseState.KEPT)
        values = values_of(self.labels, case.label)
        proposer = self._proposer(values)
        image, old = read_case(self.tree, self.labels, case, values)
        images = images_for(proposer, {"image": image})
        candidate = candidate_of(proposer, images, old, values.schema, self.rule, progress.part(0.0, 0.95))
        self._write(case, candidate, values, {"source": of, "made_with": self._made_with(proposer)}, progress)
        changed, count = candidate.correction.voxels_changed, len(candidate.regions)
        return CaseOutcome(case.name, CaseState.MADE, candidate.sentence(), changed, count)

    def _write(
        self, case: BidsCase, candidate: Candidate, values: Values, record: Mapping[str, Any], progress: Progress
    ) -> None:
        """List and label map, then the sidecar, without which they count for nothing."""
        label, sidecar = self._path(case, ".nii.gz"), self._path(case, ".json")
        make_folder(label.parent)
        target = self._list(case)
        make_folder(target.parent)
        for folder in (label.parent, target.parent):
            remove_abandoned(folder, staging=True)
        sidecar.unlink(missing_ok=True)
        if target.exists():
            shutil.rmtree(target)
        with new_folder(target) as fresh:
            write_candidate_files(fresh, candidate)
        array = values.to_file(candidate.labels.array)
        write_volume(Volume(array, candidate.labels.geometry), label, progress.part(0.95, 1.0))
        rows = [f"{value}\t{name}\n" for value, name in zip(values.in_file, values.schema.names, strict=True)]
        rows += [f"{values.ignore}\tignore\n"] if values.ignore is not None else []
        with replacing(self._path(case, ".tsv"), ".tsv") as fresh:
            fresh.write_text("index\tname\n" + "".join(rows), encoding="utf-8")
        write_json(
            sidecar,
            {
                "Manual": False,
                "SpatialReference": "orig",
                "Sources": [f"bids:raw:{case.image}"],
                "GeneratedBy": [{"Name": _NAME, "Version": __version__}],
                "Labels": dict(zip(values.schema.names, values.in_file, strict=True)),
                _KEY: {
                    "format": 1,
                    "annotator": candidate.correction.annotator,
                    "sha256": _sha256(label),
                    **record,
                    "changed": candidate.correction.to_dict(),
                },
            },
        )

    def _proposer(self, values: Values) -> Proposer:
        """One for each schema. Raises InputError when it has no use for it."""
        if values.schema.names not in self.proposers:
            made = self.proposer_for(values.schema)
            check_channels(made, ("image",))
            self.proposers[values.schema.names] = made
        return self.proposers[values.schema.names]

    def _made_with(self, proposer: Proposer) -> dict[str, Any]:
        model = Provenance(Origin.MACHINE, proposer.name).neutral().model
        made = {"model": model, **proposer.settings, "rule": to_json(self.rule)}
        return dict(json.loads(json.dumps(made)))

    def _record(self, case: BidsCase) -> dict[str, Any]:
        """What the sidecar of a candidate says of its making; empty where there is none.

        Raises InputError when it is damaged, or not ours: nobody can tell then whether a person has changed the
        candidate.
        """
        path = self._path(case, ".json")
        if not os.path.lexists(path):
            return {}
        found = read_json(path).get(_KEY)
        if not isinstance(found, dict):
            raise InputError(
                f"'{path.name}' does not say how its label map was made, so the label map stays as it is.",
                "Remove both to make the candidate again.",
            )
        return found

    def _path(self, case: BidsCase, ending: str) -> Path:
        """Raises InputError when it, or a folder above it, is a link."""
        return own_path(self.output, f"{case.folder}/{case.name}_desc-candidate{SUFFIX}{ending}")

    def _list(self, case: BidsCase) -> Path:
        return own_path(self.output, f"{LISTS}/{case.name}")


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
