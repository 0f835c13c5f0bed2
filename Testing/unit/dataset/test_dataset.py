"""Cases go into a dataset and come out again as they were; what would lose or guess something is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from dataset_cases import (
    IGNORE,
    KIDNEY,
    LIVER,
    SCHEMA,
    SHAPE,
    SPLEEN,
    all_orientations,
    correction,
    ct,
    labels,
    oblique,
    update_case,
)

from activeseg.core.errors import DatasetError, DeviceError, InputError
from activeseg.core.geometry import Geometry
from activeseg.core.labels import LabelSchema
from activeseg.core.volume import Volume
from activeseg.dataset import Dataset, NewCase, Origin, Provenance
from activeseg.dataset.verification import verify_dataset
from activeseg.system import disk

TRUTH = Provenance(Origin.TRUTH)


@pytest.fixture
def private(tmp_path: Path) -> Path:
    return tmp_path / "private"


@pytest.fixture
def dataset(tmp_path: Path, private: Path) -> Dataset:
    return Dataset.create(tmp_path / "Dataset501_Organs", SCHEMA, private_dir=private)


def add(dataset: Dataset, seed: int = 0, name: str | None = None) -> str:
    return dataset.add_case(NewCase(ct(seed), labels(seed), oblique(), correction(seed), name)).name


def content(dataset: Dataset) -> dict:
    return json.loads((dataset.folder / "dataset.json").read_text())


def files(dataset: Dataset) -> list[str]:
    found = (p for p in dataset.folder.rglob("*") if p.is_file() and p.name != ".lock")
    return sorted(p.relative_to(dataset.folder).as_posix() for p in found)


class TestFolder:
    def test_another_name_gets_a_free_id_and_is_found_by_it(self, tmp_path: Path, private: Path) -> None:
        first = Dataset.create(tmp_path / "kidneys left", SCHEMA, private_dir=private)
        second = Dataset.create(tmp_path / "liver", SCHEMA, private_dir=private)
        assert first.folder == tmp_path / "Dataset501_kidneys_left"
        assert second.folder == tmp_path / "Dataset502_liver"
        assert Dataset.open(tmp_path / "liver", private_dir=private).folder == second.folder
        with pytest.raises(DatasetError, match="'Dataset502_liver' already"):
            Dataset.create(tmp_path / "liver", SCHEMA, private_dir=private)

    def test_a_folder_of_datasets_is_not_one_and_the_error_says_what_to_write(
        self, dataset: Dataset, tmp_path: Path, private: Path
    ) -> None:
        with pytest.raises(DatasetError, match="Dataset502_Name"):
            Dataset.create(tmp_path, SCHEMA, private_dir=private)
        with pytest.raises(DatasetError, match="Dataset501_Organs"):
            Dataset.open(tmp_path, private_dir=private)

    def test_an_id_belongs_to_one_dataset(self, dataset: Dataset, tmp_path: Path, private: Path) -> None:
        with pytest.raises(DatasetError, match=r"'Dataset501_Organs' has the id 501.*Dataset502_Other"):
            Dataset.create(tmp_path / "Dataset501_Other", SCHEMA, private_dir=private)
        with pytest.raises(DatasetError, match="not empty"):
            Dataset.create(dataset.folder, SCHEMA, private_dir=private)

    def test_a_dataset_of_somebody_else_is_neither_opened_nor_swept(self, tmp_path: Path, private: Path) -> None:
        folder = tmp_path / "Dataset007_Theirs"
        (folder / "imagesTr").mkdir(parents=True)
        (folder / "imagesTr" / "a_0000.nii.gz").write_bytes(b"precious")
        (folder / "dataset.json").write_text('{"labels": {"background": 0}, "numTraining": 1}')
        with pytest.raises(DatasetError, match="not made by ActiveSeg"):
            Dataset.open(folder, private_dir=private)
        assert (folder / "imagesTr" / "a_0000.nii.gz").read_bytes() == b"precious"

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"activeseg": {"format": 1}}', '{"activeseg": 3}'])
    def test_a_damaged_listing_is_told(self, dataset: Dataset, private: Path, text: str) -> None:
        (dataset.folder / "dataset.json").write_text(text)
        with pytest.raises(DatasetError):
            Dataset.open(dataset.folder, private_dir=private)

    def test_a_later_format_asks_for_an_update(self, dataset: Dataset, private: Path) -> None:
        later = content(dataset)
        later["activeseg"]["format"] = 99
        (dataset.folder / "dataset.json").write_text(json.dumps(later))
        with pytest.raises(DatasetError, match="Update ActiveSeg"):
            Dataset.open(dataset.folder, private_dir=private)

    @pytest.mark.parametrize("channels", [(), ("CT", ""), ("", "CT")])
    def test_channels_need_names(self, tmp_path: Path, channels: tuple[str, ...]) -> None:
        with pytest.raises(InputError, match="channels"):
            Dataset.create(tmp_path / "x", SCHEMA, channels)


class TestAdding:
    def test_the_files_are_those_that_nnunet_expects(self, dataset: Dataset) -> None:
        assert [add(dataset, 0), add(dataset, 1)] == ["CT_0001", "CT_0002"]
        assert files(dataset) == [
            "dataset.json",
            "imagesTr/CT_0001_0000.nii.gz",
            "imagesTr/CT_0002_0000.nii.gz",
            "labelsTr/CT_0001.nii.gz",
            "labelsTr/CT_0002.nii.gz",
            "provenance/CT_0001.json",
            "provenance/CT_0002.json",
            "provenance/schema.1.json",
        ]
        listed = content(dataset)
        assert listed["labels"] == {"background": 0, "liver": 1, "spleen": 2, "kidney": 3, "ignore": 4}
        assert listed["channel_names"] == {"0": "CT"}
        assert listed["numTraining"] == 2
        assert listed["file_ending"] == ".nii.gz"
        assert listed["dataset"]["CT_0002"] == {
            "images": ["imagesTr/CT_0002_0000.nii.gz"],
            "label": "labelsTr/CT_0002.nii.gz",
        }
        assert verify_dataset(dataset) == []

    def test_every_orientation_is_stored_as_ras_and_comes_back_exactly(self, dataset: Dataset) -> None:
        for seed, geometry in enumerate(all_orientations()):
            name = dataset.add_case(NewCase(ct(seed, geometry), labels(seed), geometry, TRUTH)).name
            stored = nibabel.load(dataset.folder / f"imagesTr/{name}_0000.nii.gz")
            label = nibabel.load(dataset.folder / f"labelsTr/{name}.nii.gz")
            assert nibabel.aff2axcodes(stored.affine) == ("R", "A", "S")
            assert np.array_equal(stored.affine, label.affine)
            back = dataset.open_case(name)
            assert back.labels.geometry == back.images["CT"].geometry == geometry
            assert np.array_equal(back.images["CT"].array, ct(seed, geometry).array)
            assert np.array_equal(back.labels.array, labels(seed))
        assert verify_dataset(dataset) == []

    def test_voxels_stay_where_they_were_in_the_patient(self, dataset: Dataset) -> None:
        name = add(dataset)
        stored = nibabel.load(dataset.folder / f"imagesTr/{name}_0000.nii.gz")
        image, ijk = ct(), (7, 2, 4)
        point = image.geometry.ras_of_ijk(ijk)
        at = np.rint(nibabel.affines.apply_affine(np.linalg.inv(stored.affine), point)).astype(int)
        assert np.linalg.norm(nibabel.affines.apply_affine(stored.affine, at) - point) < 1e-3
        assert np.asanyarray(stored.dataobj)[tuple(at)] == image.array[ijk[::-1]]

    @pytest.mark.parametrize(
        ("dtype", "values", "kept"),
        [
            (np.float64, (-1024.0, 3071.0), np.int16),
            (np.int32, (-1024, 3071), np.int16),
            (np.uint8, (0, 255), np.int16),
            (np.float32, (-0.5, 3071.0), np.float32),
            (np.int32, (0, 40000), np.float32),
        ],
    )
    def test_images_are_int16_where_that_is_exact(
        self, dataset: Dataset, dtype: type, values: tuple[float, float], kept: type
    ) -> None:
        array = np.zeros(SHAPE, dtype)
        array[0, 0, :2] = values
        name = dataset.add_case(NewCase(Volume(array, oblique()), labels(), oblique(), TRUTH)).name
        assert nibabel.load(dataset.folder / f"imagesTr/{name}_0000.nii.gz").get_data_dtype() == kept
        assert np.array_equal(dataset.open_case(name).images["CT"].array, array)

    def test_several_channels_are_kept_in_the_datasets_order(self, tmp_path: Path, private: Path) -> None:
        dataset = Dataset.create(tmp_path / "two", SCHEMA, ("T1", "T2"), private_dir=private)
        saved = dataset.add_case(NewCase({"T2": ct(2), "T1": ct(1)}, labels(), oblique(), TRUTH))
        assert saved.name == "CASE_0001"
        opened = dataset.open_case(saved.name)
        assert np.array_equal(opened.images["T1"].array, ct(1).array)
        assert np.array_equal(opened.images["T2"].array, ct(2).array)
        assert content(dataset)["dataset"]["CASE_0001"]["images"] == [
            "imagesTr/CASE_0001_0000.nii.gz",
            "imagesTr/CASE_0001_0001.nii.gz",
        ]
        assert verify_dataset(dataset) == []
        with pytest.raises(InputError, match="T1, T2"):
            dataset.add_case(NewCase(ct(3), labels(), oblique(), TRUTH))

    def test_provenance_is_kept_beside_and_comes_back(self, dataset: Dataset) -> None:
        given = correction(notes="apex unclear")
        record = dataset.record(dataset.add_case(NewCase(ct(), labels(), oblique(), given)).name)
        assert record.current.provenance == given
        assert record.current.provenance.correction["seconds"] == 61.0
        assert record.current.provenance.correction["notes"] == "apex unclear"
        assert record.current.provenance.training["review"] == "all"
        assert record.history == ()

    def test_existing_truth_needs_no_prediction(self, dataset: Dataset) -> None:
        saved = dataset.add_case(NewCase.of_truth(ct(), Volume(labels(), oblique())))
        assert dataset.record(saved.name).current.provenance.origin is Origin.TRUTH
        assert np.array_equal(dataset.open_case(saved.name).labels.array, labels())

    def test_truth_on_the_same_voxels_in_another_order_is_turned_to_the_image(self, dataset: Dataset) -> None:
        image, canonical = ct(), Volume(labels(), oblique()).canonical()
        x, y, z = canonical.geometry.origin_lps
        rounded = replace(canonical.geometry, origin_lps=(round(x, 2), round(y, 2), round(z, 2)))
        name = dataset.add_case(NewCase.of_truth(image, Volume(canonical.array, rounded))).name
        opened = dataset.open_case(name)
        assert np.array_equal(opened.labels.array, labels())
        assert opened.labels.geometry == opened.images["CT"].geometry
        assert opened.labels.geometry.same_grid(image.geometry)
        update_case(dataset, name, canonical.array, rounded, correction())
        assert np.array_equal(dataset.open_case(name).labels.array, labels())

    def test_a_label_map_of_nothing_but_ignore_is_refused_and_nothing_is_changed(self, dataset: Dataset) -> None:
        before = files(dataset)
        with pytest.raises(InputError, match="nothing could be learned"):
            dataset.add_case(NewCase.of_truth(ct(), Volume(np.full(SHAPE, IGNORE, np.uint8), oblique())))
        assert files(dataset) == before

    def test_a_label_map_that_takes_anothers_place_says_whose(self, dataset: Dataset) -> None:
        """Also when a case was opened, corrected elsewhere and added again as truth."""
        for revision in (1, 2, 3):
            dataset.add_case(NewCase.of_truth(ct(), Volume(labels(revision), oblique())))
        record = dataset.record("CT_0001")
        replaced = [past.provenance.replaces for past in (*record.history, record.current)]
        assert replaced == [None, 1, 2]

    def test_a_name_may_be_given_but_not_any(self, dataset: Dataset) -> None:
        assert add(dataset, 0, "phantom-3") == "phantom-3"
        for name in ("", "a/b", "../a", "a b", "a.r2", "x" * 65, "ä"):
            with pytest.raises(DatasetError, match="case's name"):
                add(dataset, 1, name)
        with pytest.raises(DatasetError, match="already, with another image"):
            add(dataset, 1, "PHANTOM-3")
        assert add(dataset, 1, "CT_0001") == "CT_0001"
        assert add(dataset, 2) == "CT_0002"

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda image, label: (image, label[:3]), "(3, 8, 10)"),
            (lambda image, label: (image, label + 1), "the value 5"),
            (lambda image, label: (image, label.astype(np.float32)), "float32"),
            (lambda image, label: (Volume(np.full(SHAPE, np.nan), image.geometry), label), "not numbers"),
            (lambda image, label: (ct(0, next(all_orientations())), label), "different grids"),
        ],
    )
    def test_what_does_not_fit_is_refused_and_nothing_is_changed(
        self, dataset: Dataset, change: Callable, said: str
    ) -> None:
        before = files(dataset)
        image, label = change(ct(), labels())
        with pytest.raises(InputError) as caught:
            dataset.add_case(NewCase(image, label, oblique(), TRUTH))
        assert said in str(caught.value)
        assert files(dataset) == before

    def test_keys_that_somebody_else_put_into_the_listing_stay(self, dataset: Dataset) -> None:
        listed = content(dataset) | {"licence": "CC-BY", "description": "mine"}
        (dataset.folder / "dataset.json").write_text(json.dumps(listed))
        add(dataset)
        assert content(dataset)["licence"] == "CC-BY"
        assert content(dataset)["description"] == "mine"


class TestSameImage:
    def test_the_same_image_again_is_an_update_and_says_so(self, dataset: Dataset) -> None:
        add(dataset)
        saved = dataset.add_case(NewCase(ct(), labels(7), oblique(), correction()))
        assert (saved.name, saved.revision, saved.added) == ("CT_0001", 2, False)
        assert "is CT_0001 already" in saved.sentence()
        assert np.array_equal(dataset.open_case("CT_0001").labels.array, labels(7))
        assert list(dataset.cases()) == ["CT_0001"]
        assert verify_dataset(dataset) == []

    def test_it_is_recognised_in_another_type_and_orientation(self, dataset: Dataset) -> None:
        add(dataset)
        canonical = ct().canonical()
        moved = Volume(canonical.array.astype(np.float64), canonical.geometry)
        label = Volume(labels(3), oblique()).canonical().array
        saved = dataset.add_case(NewCase(moved, label, moved.geometry, TRUTH))
        assert not saved.added
        assert np.array_equal(dataset.open_case("CT_0001").labels.array, labels(3))

    def test_at_another_place_or_on_request_it_is_another_case(self, dataset: Dataset) -> None:
        add(dataset)
        there = Geometry(SHAPE, oblique().spacing_xyz, (0, 0, 0), oblique().direction_lps)
        assert dataset.add_case(NewCase(ct(0, there), labels(), there, TRUTH)).name == "CT_0002"
        assert dataset.add_case(NewCase(ct(), labels(), oblique(), TRUTH, same_image_again=True)).name == "CT_0003"

    def test_another_name_for_it_is_refused(self, dataset: Dataset) -> None:
        add(dataset)
        with pytest.raises(DatasetError, match="already, as 'CT_0001'"):
            add(dataset, 0, "other")
        assert add(dataset, 0, "CT_0001") == "CT_0001"


class TestOtherSchemas:
    def test_values_follow_names_and_ignore_moves(self, dataset: Dataset) -> None:
        other = LabelSchema.from_names(["kidney", "lung", "liver", "spleen"])
        array = np.zeros(SHAPE, np.uint8)
        array[0], array[1], array[2], array[3] = 1, 3, 4, 5
        name = dataset.add_case(NewCase(ct(), array, oblique(), TRUTH, schema=other)).name
        stored = dataset.open_case(name).labels.array
        assert [stored[k, 0, 0] for k in range(5)] == [KIDNEY, LIVER, SPLEEN, IGNORE, 0]

    def test_voxels_that_would_be_lost_are_refused_with_the_ways_out(self, dataset: Dataset) -> None:
        other = LabelSchema.from_names(["kidney", "lung", "liver", "spleen"])
        array = np.full(SHAPE, 2, np.uint8)
        with pytest.raises(DatasetError, match=r"no structure called lung.*Map it.*leave it out.*migrate"):
            dataset.add_case(NewCase(ct(), array, oblique(), TRUTH, schema=other))
        dataset.add_case(NewCase(ct(1), array, oblique(), TRUTH, schema=other, mapping={"lung": None}))
        dataset.add_case(NewCase(ct(2), array, oblique(), TRUTH, schema=other, mapping={"lung": "liver"}))
        assert not dataset.open_case("CT_0001").labels.array.any()
        assert (dataset.open_case("CT_0002").labels.array == LIVER).all()
        with pytest.raises(InputError, match="no structure 'lunge'"):
            dataset.add_case(NewCase(ct(3), array, oblique(), TRUTH, schema=other, mapping={"lunge": None}))

    def test_a_prediction_of_a_subset_is_refused_with_the_two_ways_out(self, dataset: Dataset) -> None:
        some = Provenance(Origin.CORRECTED, decided=("liver",))
        with pytest.raises(
            DatasetError, match=r"2 of the dataset's 3 .*spleen, kidney.*Segment again.*or use"
        ) as caught:
            dataset.add_case(NewCase(ct(), labels(), oblique(), some))
        assert caught.value.details["missing"] == ["spleen", "kidney"]
        assert dataset.cases() == {}
        with pytest.raises(DatasetError, match="not looked for"):
            dataset.add_case(NewCase.of_truth(ct(), Volume(labels(), oblique()), decided=["liver", "spleen"]))

    def test_a_subset_that_covers_the_dataset_is_welcome(self, dataset: Dataset) -> None:
        big = LabelSchema.from_names(["lung", "spleen", "liver", "aorta", "kidney"])
        some = Provenance(Origin.CORRECTED, decided=("liver", "spleen", "kidney"))
        dataset.add_case(NewCase(ct(), np.full(SHAPE, 5, np.uint8), oblique(), some, schema=big))
        assert (dataset.open_case("CT_0001").labels.array == KIDNEY).all()


class TestUpdating:
    def test_new_labels_get_a_new_file_and_the_old_ones_become_history(self, dataset: Dataset) -> None:
        add(dataset)
        first = (dataset.folder / "labelsTr/CT_0001.nii.gz").read_bytes()
        saved = update_case(dataset, "CT_0001", labels(5), oblique(), TRUTH)
        assert (saved.name, saved.revision, saved.added) == ("CT_0001", 2, False)
        update_case(dataset, "CT_0001", labels(6), oblique(), correction(6))
        assert [f for f in files(dataset) if "CT_0001" in f] == [
            "imagesTr/CT_0001_0000.nii.gz",
            "labelsTr/CT_0001.r3.nii.gz",
            "provenance/CT_0001.r3.json",
            "provenance/labels/CT_0001.nii.gz",
            "provenance/labels/CT_0001.r2.nii.gz",
        ]
        assert content(dataset)["dataset"]["CT_0001"]["label"] == "labelsTr/CT_0001.r3.nii.gz"
        assert (dataset.folder / "provenance/labels/CT_0001.nii.gz").read_bytes() == first
        record = dataset.record("CT_0001")
        assert [r.number for r in record.history] == [1, 2]
        assert record.history[0].provenance == correction()
        assert record.history[1].provenance.origin is Origin.TRUTH
        assert verify_dataset(dataset) == []

    def test_a_label_map_on_another_grid_is_refused(self, dataset: Dataset) -> None:
        add(dataset)
        with pytest.raises(InputError, match="different grids"):
            update_case(dataset, "CT_0001", labels(), next(all_orientations()), TRUTH)

    def test_an_unknown_case_is_named_with_the_known_ones(self, dataset: Dataset) -> None:
        add(dataset)
        for call in (
            lambda: update_case(dataset, "CT_0009", labels(), oblique(), TRUTH),
            lambda: dataset.open_case("CT_0009"),
            lambda: dataset.remove_case("CT_0009"),
            lambda: dataset.record("CT_0009"),
        ):
            with pytest.raises(DatasetError, match=r"no case 'CT_0009'.*CT_0001"):
                call()


class TestRemoving:
    def test_everything_of_the_case_goes_and_its_name_is_not_used_again(self, dataset: Dataset) -> None:
        before = files(dataset)
        add(dataset, 0)
        update_case(dataset, "CT_0001", labels(5), oblique(), TRUTH)
        dataset.remove_case("CT_0001")
        assert files(dataset) == before
        assert content(dataset)["numTraining"] == 0
        assert dataset.private.sources() == {}
        assert add(dataset, 0) == "CT_0002"


class TestVerifying:
    @pytest.fixture
    def damaged(self, dataset: Dataset) -> Dataset:
        add(dataset, 0)
        add(dataset, 1)
        update_case(dataset, "CT_0001", labels(5), oblique(), TRUTH)
        assert verify_dataset(dataset) == []
        return dataset

    def findings(self, dataset: Dataset) -> str:
        return "\n".join(f"{f.case}: {f.problem}" for f in verify_dataset(dataset))

    def test_missing_changed_and_truncated_files_are_found(self, damaged: Dataset) -> None:
        (damaged.folder / "imagesTr/CT_0001_0000.nii.gz").unlink()
        label = damaged.folder / "labelsTr/CT_0002.nii.gz"
        label.write_bytes(label.read_bytes()[:-9])
        found = self.findings(damaged)
        assert "CT_0001: 'imagesTr/CT_0001_0000.nii.gz' is missing." in found
        assert "CT_0002: 'labelsTr/CT_0002.nii.gz' was changed" in found
        assert "CT_0002: It cannot be read" in found

    def test_a_changed_history_is_found(self, damaged: Dataset) -> None:
        path = damaged.folder / "provenance/labels/CT_0001.nii.gz"
        path.write_bytes((damaged.folder / "labelsTr/CT_0002.nii.gz").read_bytes())
        assert "CT_0001: 'provenance/labels/CT_0001.nii.gz' was changed" in self.findings(damaged)

    def test_a_label_map_with_another_grid_values_or_header_is_found(self, damaged: Dataset) -> None:
        path = damaged.folder / "labelsTr/CT_0002.nii.gz"
        stored = nibabel.load(path)
        affine = stored.affine.copy()
        affine[0, 3] += 1
        image = nibabel.Nifti1Image(np.full(stored.shape, 77, np.uint8), affine)
        image.header["descrip"] = b"somebody"
        nibabel.save(image, path)
        record = damaged.folder / "provenance/CT_0002.json"
        import hashlib

        changed = json.loads(record.read_text())
        changed["current"]["label"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        record.write_text(json.dumps(changed))
        found = self.findings(damaged)
        assert "CT_0002: 'labelsTr/CT_0002.nii.gz' has text or extensions in its header." in found
        assert "different grids" in found
        assert "does not lie where" in found
        assert "the value 77" in found

    def test_a_listing_that_somebody_edited_is_found(self, damaged: Dataset) -> None:
        listed = content(damaged)
        listed["numTraining"] = 7
        listed["labels"]["liver"] = 2
        (damaged.folder / "dataset.json").write_text(json.dumps(listed))
        found = self.findings(damaged)
        assert "The key 'numTraining' of dataset.json was changed." in found
        assert "The key 'labels' of dataset.json was changed." in found

    def test_files_of_no_case_are_told_and_stay(self, damaged: Dataset, private: Path) -> None:
        stray = damaged.folder / "imagesTr/CT_0077_0000.nii.gz"
        stray.write_bytes(b"x")
        (damaged.folder / "provenance/CT_0001.json").write_text("{}")
        assert "'imagesTr/CT_0077_0000.nii.gz' belongs to no case." in self.findings(damaged)
        again = Dataset.open(damaged.folder, private_dir=private)
        assert again.swept == ()
        assert stray.read_bytes() == b"x"
        assert again.unlisted().files == ("imagesTr/CT_0077_0000.nii.gz", "provenance/CT_0001.json")

    def test_a_record_of_another_case_and_a_missing_one_are_found(self, damaged: Dataset) -> None:
        records = damaged.folder / "provenance"
        (records / "CT_0002.json").write_bytes((records / "CT_0001.r2.json").read_bytes())
        (records / "CT_0001.r2.json").unlink()
        found = self.findings(damaged)
        assert "CT_0002: It cannot be read: The provenance file 'CT_0002.json' is damaged: it is that of" in found
        assert "CT_0001: It cannot be read: The file 'CT_0001.r2.json' is missing" in found


def test_a_disk_that_is_too_full_for_a_case_is_told_before_anything_is_written(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(dataset)
    needed = labels().nbytes + ct().array.nbytes
    monkeypatch.setattr(disk, "free_bytes", lambda _folder: disk.RESERVE_BYTES + needed - 1)
    with pytest.raises(DeviceError, match=r"The disk with '.*Dataset501_Organs' is too full") as caught:
        add(dataset)
    assert caught.value.details["needed_bytes"] == disk.RESERVE_BYTES + needed
    assert files(dataset) == before
    monkeypatch.setattr(disk, "free_bytes", lambda _folder: disk.RESERVE_BYTES + needed)
    add(dataset)
