"""Candidates for a whole dataset: another dataset with the same cases, which a model changed by the rule."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from activeseg.candidates.lists import has_list, listed_regions, made_by_machine, remove_other_lists, write_list
from activeseg.candidates.outcome import CaseByCase, CaseOutcome, CaseState, Outcome
from activeseg.candidates.proposers import Proposer
from activeseg.candidates.refining import Candidate, candidate_of, check_channels, images_for
from activeseg.candidates.rule import DEFAULT_RULE, Rule
from activeseg.core.errors import DatasetError, InputError, shown
from activeseg.core.progress import Progress
from activeseg.core.records import to_json
from activeseg.dataset import Dataset, NewCase, Origin, Provenance
from activeseg.dataset.layout import find_dataset
from activeseg.dataset.record import CaseRecord, StoredFile

_SOURCE = "source"
"""In the settings of a candidate's provenance: which label map of which dataset it was made of."""


def refine_dataset(
    source: Dataset,
    output: Path,
    proposer: Proposer,
    *,
    cases: Sequence[str] = (),
    rule: Rule = DEFAULT_RULE,
    private_dir: Path | None = None,
    progress: Progress | None = None,
    told: Callable[[CaseOutcome], None] = lambda _: None,
) -> Outcome:
    """Make candidates of the cases of a dataset; ``source`` is only read.

    Each case appears whole in ``output``; what is there from an earlier run with the same model, settings and rule is
    kept as long as image and old label map are the same, so that a run which was ended goes on where it was. A
    candidate that a person has reviewed is never changed.

    Parameters
    ----------
    output
        Folder of the dataset of candidates, as for ``Dataset.create``; it is made where it is not there.
    cases
        Names; empty means all.
    told
        Gets the outcome of each case.

    Raises
    ------
    InputError, DatasetError
        The two datasets are one, or ``output`` holds other cases, or candidates of another model or rule.
    DeviceError, Cancelled
    """
    check_channels(proposer, source.channel_names)
    listing = source.listing()
    wanted = list(cases) or list(listing.cases)
    for name in wanted:
        listing.entry(name)
    _check_apart(source.folder, output)
    made_with = json.loads(json.dumps({**proposer.settings, "rule": to_json(rule)}))
    with Dataset.opened_or_created(output, source.schema, source.channel_names, private_dir=private_dir) as target:
        run = _DatasetRun(source, target, proposer, rule, made_with, source.private.sources())
        run.check_target()
        work = [(name, partial(run.case, name)) for name in wanted]
        done = CaseByCase(progress or Progress(), told).run([(name, one) for name, one in work])
    return Outcome(target.folder, done)


def _check_apart(source: Path, output: Path) -> None:
    """Raise InputError when the candidates would come into the dataset that they are made of."""
    there = (find_dataset(output) or output.expanduser().absolute()).resolve()
    if there == source.resolve() or source.resolve() in there.parents:
        raise InputError(
            f"The candidates would be written into the dataset '{source.name}', whose labels stay as they are.",
            "Name another folder.",
            setting="output",
        )


@dataclass(frozen=True)
class _DatasetRun:
    """What all cases of a run have in common; ``sources`` says where they come from."""

    source: Dataset
    target: Dataset
    proposer: Proposer
    rule: Rule
    made_with: Mapping[str, Any]
    sources: Mapping[str, Mapping[str, Any]]

    def check_target(self) -> None:
        """Raise DatasetError unless all that is in the dataset of candidates was made as this run would make it."""
        target, name = self.target, self.target.folder.name
        if target.schema.names != self.source.schema.names or target.channel_names != self.source.channel_names:
            raise DatasetError(
                f"'{name}' has other structures or images than '{self.source.folder.name}'.",
                "Name a new folder for the candidates.",
            )
        for case in target.cases():
            made = made_by_machine(target.record(case))
            if made is None:
                raise DatasetError(
                    f"'{name}' holds the case '{case}', which is no candidate.", "Name a new folder for the candidates."
                )
            found = {"model": made.provenance.model, **made.provenance.settings}
            wanted = {"model": self._provenance_of(case).neutral().model, **self.made_with, _SOURCE: found.get(_SOURCE)}
            for key in sorted({*found, *wanted}):
                if found.get(key) != wanted.get(key):
                    raise DatasetError(
                        f"'{name}' holds candidates that were made with another {key.replace('_', ' ')}: "
                        f"{shown(found.get(key))}, not {shown(wanted.get(key))}.",
                        "Name a new folder for these candidates.",
                    )
            if dict(found.get(_SOURCE) or {}).get("dataset") != self.source.listing().id:
                raise DatasetError(
                    f"'{name}' holds candidates for another dataset than '{self.source.folder.name}'.",
                    "Name a new folder for these candidates.",
                )

    def case(self, name: str, progress: Progress) -> CaseOutcome:
        """Refine one case, or find that it is done."""
        progress("read", 0.0)
        entry = self.source.listing().entry(name)
        record = self.source.record(name)
        there = self.target.cases().get(name)
        before = self.target.record(name) if there else None
        if before is not None and before.current.provenance.origin is not Origin.MACHINE:
            return CaseOutcome(name, CaseState.REVIEWED, "A person has reviewed this candidate; it stays as it is.")
        of = self._of(name, record, entry.voxels_sha256)
        if before is not None and before.current.provenance.settings.get(_SOURCE) == of:
            with contextlib.suppress(InputError):  # where its list is damaged, or gone, the case is done again
                if has_list(self.target.folder, before):
                    return CaseOutcome(name, CaseState.KEPT, regions=len(listed_regions(self.target.folder, before)))
        if entry.waiting:
            raise InputError(
                f"'{name}' has not been annotated for {', '.join(entry.waiting)} yet.", "Annotate it first."
            )
        self._check_files(record)
        opened = self.source.open_case(name)
        images = images_for(self.proposer, opened.images)
        candidate = candidate_of(
            self.proposer, images, opened.labels, self.source.schema, self.rule, progress.part(0.0, 0.9)
        )
        sha256 = candidate.labels.sha256()
        provenance = self._provenance_of(name, candidate, sha256, of)
        if there and there.voxels_sha256 != entry.voxels_sha256:  # another image has that name now
            self.target.remove_case(name)
            there = None
        write_list(self.target.folder, name, candidate, sha256)
        self.target.add_case(
            NewCase(
                opened.images,
                candidate.labels.array,
                candidate.labels.geometry,
                provenance,
                name,
                source=self.sources.get(name, {}),
                same_image_again=there is None,
            ),
            progress.part(0.9, 1.0),
        )
        remove_other_lists(self.target.folder, name, [sha256])
        return CaseOutcome(
            name,
            CaseState.MADE,
            candidate.sentence(),
            candidate.correction.voxels_changed,
            len(candidate.regions),
        )

    def _of(self, name: str, record: CaseRecord, voxels_sha256: str) -> dict[str, Any]:
        """Which label map of which image is refined."""
        return {
            "dataset": self.source.listing().id,
            "case": name,
            "revision": record.current.number,
            "label_sha256": record.current.label.sha256,
            "voxels_sha256": voxels_sha256,
        }

    def _provenance_of(
        self, name: str, candidate: Candidate | None = None, sha256: str = "", of: Mapping[str, Any] | None = None
    ) -> Provenance:
        correction = {} if candidate is None else candidate.correction.to_dict()
        settings = {**self.made_with, _SOURCE: dict(of or {})}
        return Provenance(
            Origin.MACHINE,
            model=self.proposer.name,
            settings=settings,
            prediction_sha256=sha256,
            correction=correction,
        )

    def _check_files(self, record: CaseRecord) -> None:
        """Raise DatasetError when a file is not what the record says."""
        for stored in (*record.images, record.current.label):
            if StoredFile.of(self.source.own(stored.file), stored.file).sha256 != stored.sha256:
                raise DatasetError(
                    f"'{stored.file}' in '{self.source.folder.name}' was changed or is damaged: its fingerprint is not "
                    "the recorded one.",
                    "Restore it from a backup.",
                )
