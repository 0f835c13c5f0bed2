"""Candidates by networks: the model that ships, killed at any moment, and nnInteractive on a stand-in's weights."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from nninteractive_standin import write_standin

from activeseg.candidates.interactive import InteractiveProposer
from activeseg.candidates.lists import listed_regions
from activeseg.candidates.of_dataset import refine_dataset
from activeseg.core.correction import RegionReason
from activeseg.core.errors import InputError, ModelError
from activeseg.core.segmenter import Settings
from activeseg.core.volume import Volume
from activeseg.dataset import Dataset, NewCase
from activeseg.dataset.verification import verify_dataset
from activeseg.samples.phantom import PHANTOM_SCHEMA, Domain, make_phantom, phantom_geometry
from activeseg.segmenters.nninteractive import weights

SPLEEN, KIDNEY = PHANTOM_SCHEMA.named("spleen").value, PHANTOM_SCHEMA.named("kidney_right").value


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Two coarse CTs, in whose old labels a kidney was lost."""
    monkeypatch.setenv("ACTIVESEG_PRIVATE_DIR", str(tmp_path / "private"))
    dataset = Dataset.create(tmp_path / "Dataset501_Old", PHANTOM_SCHEMA)
    for seed in (5, 6):
        phantom = make_phantom(Domain.CONTRAST, seed, geometry=phantom_geometry((6.0, 6.0, 6.0)))
        old = np.where(phantom.labels.array == KIDNEY, 0, phantom.labels.array)
        dataset.add_case(NewCase.of_truth(phantom.ct, Volume(old, phantom.ct.geometry)))
    return dataset


def command(source: Dataset, name: str) -> list[str]:
    words = ["dataset", "refine", str(source.folder), "-m", "demo", "-o", str(source.folder.with_name(name))]
    return [sys.executable, "-m", "activeseg.cli", *words, "--members", "2", "--device", "cpu", "--json"]


def run(source: Dataset, name: str) -> dict[str, list[dict[str, object]]]:
    done = subprocess.run(command(source, name), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document: dict[str, list[dict[str, object]]] = json.loads(done.stdout)
    return document


def contents(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.skipif(os.name != "posix", reason="kills the way POSIX does")
def test_killed_after_its_first_case_the_command_goes_on_with_the_second(source: Dataset) -> None:
    before = contents(source.folder)
    candidates = source.folder.with_name("Dataset502_New")
    words = command(source, candidates.name)
    process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("CT_0001: "):  # it is told when it is there
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert list(Dataset.open(candidates, only_look=True).cases()) == ["CT_0001"]
    assert [case["state"] for case in run(source, candidates.name)["cases"]] == ["kept", "made"]
    target = Dataset.open(candidates)
    assert verify_dataset(target) == []
    for name in target.cases():
        new, old = target.open_case(name).labels.array, source.open_case(name).labels.array
        assert (new == KIDNEY).sum() > 200, "the members agree on the kidney that was lost"
        assert (new == old)[old > 0].mean() > 0.99
    assert contents(source.folder) == before


@pytest.fixture
def standin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of nobody's, whose licence the user has confirmed."""
    monkeypatch.setattr(weights, "data_folder", lambda: tmp_path / "user")
    monkeypatch.delenv(weights.PLACE, raising=False)
    found = weights.choose(write_standin(tmp_path / "weights"))
    assert found.licence is not None
    weights.confirm(found.licence.sha256)


def test_all_that_nninteractive_proposes_is_listed_and_nothing_changes(source: Dataset, standin: None) -> None:
    wanted = ("spleen", "kidney_right", "aorta")
    proposer = InteractiveProposer(source.schema, Settings(device="cpu"), wanted)
    done = refine_dataset(source, source.folder.with_name("Dataset502_New"), proposer, cases=["CT_0001"])
    assert done.cases[0].changed_voxels == 0
    target = Dataset.open(done.folder)
    old = source.open_case("CT_0001").labels.array
    assert np.array_equal(target.open_case("CT_0001").labels.array, old)
    record = target.record("CT_0001")
    assert record.current.provenance.model == "nninteractive"
    assert record.current.provenance.settings["weights_licence"] == "CC0 1.0"
    regions = listed_regions(target.folder, record)
    assert len(regions) == done.cases[0].regions > 0
    for region in regions:
        assert region.reason is RegionReason.LABELS_DIFFER
        assert set(region.structures) <= {"spleen", "aorta"}, "a lost structure has no outline to refine"
        (proposed,) = region.alternatives
        here = old[region.slices]
        taken = here[proposed.changed]
        assert set(np.unique(taken)) <= {0, SPLEEN, PHANTOM_SCHEMA.named("aorta").value}, "no other structure loses"
    again = refine_dataset(
        source, done.folder, InteractiveProposer(source.schema, Settings(), wanted), cases=["CT_0001"]
    )
    assert again.cases[0].state == "kept"


def test_without_confirmed_weights_or_with_members_it_is_refused(
    source: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "data_folder", lambda: tmp_path / "user")
    monkeypatch.delenv(weights.PLACE, raising=False)
    with pytest.raises(ModelError, match="weights are not here"):
        InteractiveProposer(source.schema, Settings())
    weights.choose(write_standin(tmp_path / "weights"))
    with pytest.raises(ModelError, match="have not confirmed"):
        InteractiveProposer(source.schema, Settings())
    with pytest.raises(InputError, match="has no members"):
        InteractiveProposer(source.schema, Settings(members=3))
