"""Slicer's .seg.nrrd without Slicer: what is written is read back, and what users do to segments is understood."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from activeseg.core.errors import ActiveSegError, InputError
from activeseg.core.geometry import Geometry
from activeseg.core.labels import Code, LabelSchema, Terminology
from activeseg.core.segments.matching import MatchedBy
from activeseg.io.seg_nrrd import SegmentationFile, is_segmentation_file, write_segmentation

KIDNEY = Code("SCT", "64033007", "Kidney")
ANATOMY = Code("SCT", "123037004", "Anatomical Structure")
SCHEMA = LabelSchema.from_names(
    ["liver", "kidney_left", "kidney_right"],
    colors={"liver": (221, 130, 101)},
    terminology={
        "kidney_left": Terminology(ANATOMY, KIDNEY, Code("SCT", "7771000", "Left")),
        "kidney_right": Terminology(ANATOMY, KIDNEY, Code("SCT", "24028007", "Right")),
    },
)
LIVER, LEFT, RIGHT, IGNORE = 1, 2, 3, 4
SHAPE = (8, 10, 12)
TISSUE = "3D Slicer General Anatomy list~SCT^85756007^Tissue~SCT^85756007^Tissue~^^~Anatomic codes~^^~^^"


def oblique() -> Geometry:
    angle = np.deg2rad(25)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    direction = turn @ np.diag([1, -1, 1])
    return Geometry(SHAPE, (0.7, 0.9, 2.5), (-31.0, 44.4, 5.0), tuple(direction.ravel()))


GRID = oblique()


def blocks() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:5, 1:6, 1:7] = LIVER
    labels[5:8, 1:4, 8:12] = LEFT
    labels[5:8, 6:10, 0:3] = RIGHT
    return labels


def store(
    path: Path,
    layers: list[np.ndarray],
    segments: list[dict[str, str | None]],
    geometry: Geometry = GRID,
    first_ijk: tuple[int, int, int] = (0, 0, 0),
) -> SegmentationFile:
    """A file as Slicer writes it: ``segments`` are its keys, the first voxel lies at ``first_ijk`` of ``geometry``."""
    array = layers[0] if len(layers) == 1 else np.stack(layers, axis=-1)
    image = sitk.GetImageFromArray(array, isVector=len(layers) > 1)
    image.SetSpacing(geometry.spacing_xyz)
    image.SetDirection(geometry.direction_lps)
    at = geometry.ijk_to_lps @ (*first_ijk, 1)
    image.SetOrigin(at[:3].tolist())
    for number, keys in enumerate(segments):
        full = {"ID": f"S{number}", "Color": "1 0 0", "LabelValue": "1", "Layer": "0", "Tags": ""} | keys
        for key, text in full.items():
            if text is not None:
                image.SetMetaData(f"Segment{number}_{key}", text)
    image.SetMetaData("Segmentation_MasterRepresentation", "Binary labelmap")
    sitk.WriteImage(image, str(path), True)
    return SegmentationFile.read(path)


def mask(*box: slice) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[box] = 1
    return labels


def tag(value: int, name: str | None = None) -> str:
    return f"ActiveSeg.LabelValue:{value}|" + (f"ActiveSeg.LabelName:{name}|" if name else "")


def test_what_is_written_comes_back_exactly(tmp_path: Path) -> None:
    labels = blocks()
    labels[0, 0, :4] = IGNORE
    path = tmp_path / "a.seg.nrrd"
    write_segmentation(path, labels, GRID, SCHEMA)
    file = SegmentationFile.read(path)
    assert file.geometry.farthest_corner_mm(GRID) < 1e-9
    assert [s.name for s in file.segments] == ["liver", "kidney_left", "kidney_right", "ignore"]
    assert np.allclose(np.array(file.segments[0].color) * 255, (221, 130, 101), atol=0.01)
    assert file.segments[1].tags["TerminologyEntry"] == SCHEMA.labels[1].terminology.slicer_string()
    read = file.label_map(GRID, SCHEMA)
    assert np.array_equal(read.labels, labels)
    assert {s.by for s in read.segments} == {MatchedBy.TAG}
    assert read.sentences() == ()


def test_structures_without_voxels_are_written_only_on_request(tmp_path: Path) -> None:
    labels = mask(slice(0, 2))
    write_segmentation(tmp_path / "a.seg.nrrd", labels, GRID, SCHEMA)
    write_segmentation(tmp_path / "b.seg.nrrd", labels, GRID, SCHEMA, structures=["liver", "kidney_right"])
    assert [s.name for s in SegmentationFile.read(tmp_path / "a.seg.nrrd").segments] == ["liver"]
    both = SegmentationFile.read(tmp_path / "b.seg.nrrd")
    assert [s.name for s in both.segments] == ["liver", "kidney_right"]
    assert np.array_equal(both.label_map(GRID, SCHEMA).labels, labels)


def test_more_than_254_structures_are_sixteen_bits(tmp_path: Path) -> None:
    schema = LabelSchema.from_names([f"s{n}" for n in range(1, 301)])
    labels = np.zeros(SHAPE, np.uint16)
    labels[0], labels[1] = 300, 255
    write_segmentation(tmp_path / "a.seg.nrrd", labels, GRID, schema)
    assert np.array_equal(SegmentationFile.read(tmp_path / "a.seg.nrrd").label_map(GRID, schema).labels, labels)


def test_a_file_cropped_to_its_segments_lands_where_it_belongs(tmp_path: Path) -> None:
    labels = mask(slice(2, 5), slice(3, 7), slice(4, 9))
    file = store(tmp_path / "c.seg.nrrd", [np.ones((3, 4, 5), np.uint8)], [{"Tags": tag(1)}], first_ijk=(4, 3, 2))
    read = file.label_map(GRID, SCHEMA)
    assert np.array_equal(read.labels, labels)
    assert not read.resampled


def test_voxels_that_grew_beyond_the_ct_are_cut_off_and_told(tmp_path: Path) -> None:
    file = store(tmp_path / "c.seg.nrrd", [np.ones((8, 10, 12), np.uint8)], [{"Name": "liver"}], first_ijk=(-2, 0, 0))
    read = file.label_map(GRID, SCHEMA)
    assert np.array_equal(read.labels, mask(slice(None), slice(None), slice(0, 10)))
    assert read.segments[0].outside_voxels == 2 * 8 * 10
    assert "outside" in read.sentences()[0]


def test_another_grid_is_taken_by_nearest_neighbour_and_told(tmp_path: Path) -> None:
    fine = Geometry(
        (16, 20, 24),
        tuple(s / 2 for s in GRID.spacing_xyz),
        tuple((GRID.ijk_to_lps @ (-0.25, -0.25, -0.25, 1))[:3]),
        GRID.direction_lps,
    )
    labels = blocks()
    file = store(
        tmp_path / "f.seg.nrrd",
        [labels.repeat(2, 0).repeat(2, 1).repeat(2, 2)],
        [{"LabelValue": str(v), "Tags": tag(v)} for v in (LIVER, LEFT, RIGHT)],
        fine,
    )
    read = file.label_map(GRID, SCHEMA)
    assert np.array_equal(read.labels, labels)
    assert read.resampled
    assert "nearest neighbour" in read.sentences()[-1]


def test_tag_beats_terminology_and_terminology_beats_name(tmp_path: Path) -> None:
    right = SCHEMA.labels[RIGHT - 1].terminology.slicer_string()
    array = blocks()
    file = store(
        tmp_path / "m.seg.nrrd",
        [array],
        [
            {"LabelValue": "1", "Name": "kidney_left", "Tags": f"{tag(1)}TerminologyEntry:{right}|"},
            {"LabelValue": "2", "Name": "liver", "Tags": f"TerminologyEntry:x{right}|"},
            {"LabelValue": "3", "Name": "Kidney LEFT", "Tags": f"TerminologyEntry:{TISSUE}|"},
        ],
    )
    read = file.label_map(GRID, SCHEMA)
    assert [(s.structure, s.by.value) for s in read.segments] == [
        ("liver", "tag"),
        ("kidney_right", "terminology"),
        ("kidney_left", "name"),
    ]
    assert np.array_equal(read.labels, np.array([0, LIVER, RIGHT, LEFT], np.uint8)[array])
    assert "'kidney_left' is read as 'liver'." in read.sentences()


def test_a_value_tag_of_another_models_schema_is_not_believed(tmp_path: Path) -> None:
    file = store(tmp_path / "m.seg.nrrd", [blocks()], [{"Name": "x", "Tags": tag(LIVER, "kidney_right")}])
    assert file.label_map(GRID, SCHEMA).segments[0].structure == "kidney_right"
    file = store(tmp_path / "m.seg.nrrd", [blocks()], [{"Name": "x", "Tags": tag(LIVER, "spleen")}])
    with pytest.raises(InputError, match="not clear what these segments are: 'x'"):
        file.label_map(GRID, SCHEMA)


def test_an_unknown_segment_is_never_guessed_and_the_ways_out_work(tmp_path: Path) -> None:
    array = blocks()
    file = store(
        tmp_path / "u.seg.nrrd",
        [array],
        [{"Name": "tumour"}, {"LabelValue": "2", "Tags": tag(LEFT)}, {"LabelValue": "3", "Name": "vessel"}],
    )
    with pytest.raises(InputError, match=r"'tumour'.*'vessel'.*Map each.*leave it out.*migrate") as caught:
        file.label_map(GRID, SCHEMA)
    assert caught.value.details["segments"] == ["tumour", "vessel"]
    read = file.label_map(GRID, SCHEMA, mapping={"tumour": "liver", "S2": None})
    assert np.array_equal(read.labels, np.where(array == RIGHT, 0, array))
    assert [s.by.value for s in read.segments] == ["mapping", "tag", "left out"]
    assert np.array_equal(
        file.label_map(GRID, SCHEMA, mapping={"tumour": "ignore", "vessel": "liver"}).labels,
        np.array([0, IGNORE, LEFT, LIVER], np.uint8)[array],
    )
    with pytest.raises(InputError, match="no segment 'tumor'"):
        file.label_map(GRID, SCHEMA, mapping={"tumor": None})
    with pytest.raises(InputError, match=r"no structure 'lever'.*liver"):
        file.label_map(GRID, SCHEMA, mapping={"tumour": "lever"})


def test_two_segments_that_claim_one_structure_are_not_merged_silently(tmp_path: Path) -> None:
    file = store(
        tmp_path / "d.seg.nrrd",
        [blocks()],
        [{"Name": "a", "Tags": tag(LIVER)}, {"LabelValue": "2", "Name": "b", "Tags": tag(LIVER)}],
    )
    with pytest.raises(InputError, match="several segments"):
        file.label_map(GRID, SCHEMA)
    read = file.label_map(GRID, SCHEMA, mapping={"a": "liver", "b": "liver"})
    assert np.array_equal(read.labels == LIVER, np.isin(blocks(), (LIVER, LEFT)))


@pytest.mark.parametrize("edited_first", [True, False])
def test_in_an_overlap_the_edited_segment_beats_the_unedited_one(tmp_path: Path, edited_first: bool) -> None:
    predicted = np.zeros(SHAPE, np.uint8)
    predicted[:, :5], predicted[:, 5:] = LIVER, LEFT
    grown = mask(slice(None), slice(0, 7))  # the user painted liver over the kidney without taking it away there
    kept = (predicted == LEFT).astype(np.uint8)
    layers, values = ([grown, kept], [LIVER, LEFT]) if edited_first else ([kept, grown], [LEFT, LIVER])
    file = store(
        tmp_path / "o.seg.nrrd",
        layers,
        [{"Layer": "0", "Tags": tag(values[0])}, {"Layer": "1", "Tags": tag(values[1])}],
    )
    read = file.label_map(GRID, SCHEMA, predicted=predicted)
    assert (read.labels[:, :7] == LIVER).all()
    assert (read.labels[:, 7:] == LEFT).all()
    assert read.overlapping_voxels == 8 * 2 * 12
    assert {s.structure: s.edited for s in read.segments} == {"liver": True, "kidney_left": False}
    unknowing = file.label_map(GRID, SCHEMA)
    assert (unknowing.labels[:, 5:7] == values[1]).all(), "without a prediction the later segment wins"


def test_files_without_layers_and_values_are_read_as_before_slicer_4_11(tmp_path: Path) -> None:
    file = store(tmp_path / "x.seg.nrrd", [mask(slice(0, 3)), mask(slice(3, 8))], [{}, {"Layer": "1"}])
    image = sitk.ReadImage(str(tmp_path / "x.seg.nrrd"))
    old = sitk.GetImageFromArray(sitk.GetArrayFromImage(image), isVector=True)
    old.CopyInformation(image)
    for number, name in enumerate(("liver", "kidney_left")):
        old.SetMetaData(f"Segment{number}_ID", name)
        old.SetMetaData(f"Segment{number}_Name", name)
    sitk.WriteImage(old, str(tmp_path / "old.seg.nrrd"), True)
    file = SegmentationFile.read(tmp_path / "old.seg.nrrd")
    labels = file.label_map(GRID, SCHEMA).labels
    assert (labels[:3] == LIVER).all()
    assert (labels[3:] == LEFT).all()


def test_garbage_gets_one_clear_error_each(tmp_path: Path) -> None:
    path = tmp_path / "a.seg.nrrd"
    with pytest.raises(InputError, match="no file"):
        SegmentationFile.read(path)
    path.write_bytes(b"")
    with pytest.raises(InputError):
        SegmentationFile.read(path)
    path.write_bytes(b"hello")
    with pytest.raises(InputError):
        SegmentationFile.read(path)
    noise = np.random.default_rng(0).integers(0, 2, SHAPE).astype(np.uint8)
    store(path, [noise], [{"Name": "liver"}])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="damaged"):
        SegmentationFile.read(path)
    store(path, [noise], [{"Name": "liver"}])
    with pytest.raises(InputError, match="no segments"):
        store(path, [noise], [])
    with pytest.raises(InputError, match="layer 3 of 1"):
        store(path, [noise], [{"Name": "liver", "Layer": "3"}])
    with pytest.raises(InputError, match="damaged"):
        store(path, [noise], [{"Name": "liver", "LabelValue": "one"}])
    with pytest.raises(InputError, match="labels are needed"):
        store(path, [noise.astype(np.float32)], [{"Name": "liver"}])


def test_a_segmentation_of_another_patient_is_refused(tmp_path: Path) -> None:
    file = store(tmp_path / "a.seg.nrrd", [blocks()], [{"Name": "liver"}], first_ijk=(500, 0, 0))
    with pytest.raises(InputError, match="belong together"):
        file.label_map(GRID, SCHEMA)


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from activeseg.io import itk

    path = tmp_path / "a.seg.nrrd"
    write_segmentation(path, blocks(), GRID, SCHEMA)
    before = path.read_bytes()

    def fails(fresh: Path, volume: object, progress: object) -> None:
        fresh.write_bytes(b"half")
        raise ActiveSegError("The image could not be written completely.", "Check the disk's free space.")

    monkeypatch.setattr(itk, "write", fails)
    with pytest.raises(ActiveSegError, match="free space"):
        write_segmentation(path, blocks(), GRID, SCHEMA)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.seg.nrrd"]


def test_the_file_name_tells_a_segmentation_from_a_label_map() -> None:
    assert is_segmentation_file(Path("a/b.SEG.nrrd"))
    assert not is_segmentation_file("a/seg.nrrd")


# What was painted may be next to nothing: without a reference geometry, or asked to crop, Slicer saves only that.


def test_a_segmentation_of_nothing_is_one_voxel_and_means_that_nothing_is_present(tmp_path: Path) -> None:
    elsewhere = Geometry((1, 1, 1), (1, 1, 1), (900.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    nothing = np.zeros((1, 1, 1), np.uint8)
    file = store(tmp_path / "a.seg.nrrd", [nothing], [{"Name": "liver"}], elsewhere)
    read = file.label_map(GRID, SCHEMA, predicted=blocks())
    assert not read.labels.any()
    assert read.labels.shape == SHAPE
    assert not read.resampled
    assert read.sentences() == ("No segment has voxels in the CT: all structures will be treated as absent.",)
    assert read.segments[0].edited
    all_deleted = store(tmp_path / "b.seg.nrrd", [nothing], [], elsewhere).label_map(GRID, SCHEMA)
    assert not all_deleted.labels.any()
    assert "treated as absent" in all_deleted.sentences()[0]


def test_a_file_that_is_cropped_and_stored_from_another_corner_is_not_resampled(tmp_path: Path) -> None:
    cut, first = blocks()[1:7, 2:9, 3:11], (3, 2, 1)
    matrix = GRID.ijk_to_ras.copy()
    matrix[:3, 3] = (GRID.ijk_to_ras @ (*first, 1))[:3] + GRID.ijk_to_ras[:3, :3] @ (cut.shape[2] - 1, 0, 0)
    matrix[:3, 0] *= -1
    there = Geometry.from_ijk_to_ras(matrix, cut.shape)
    segments = [{"LabelValue": str(v), "Tags": tag(v)} for v in (LIVER, LEFT, RIGHT)]
    read = store(tmp_path / "a.seg.nrrd", [cut[:, :, ::-1].copy()], segments, there).label_map(GRID, SCHEMA)
    expected = np.zeros(SHAPE, np.uint8)
    expected[1:7, 2:9, 3:11] = cut
    assert np.array_equal(read.labels, expected)
    assert not read.resampled


@pytest.mark.parametrize("box", [np.s_[3:4, 2:6, 4:9], np.s_[1:6, 5:6, 4:5], np.s_[7:8, 9:10, 11:12]])
def test_a_segmentation_may_be_one_voxel_thick_along_any_axis(tmp_path: Path, box: tuple[slice, ...]) -> None:
    labels = mask(*box)
    first = tuple(s.start for s in box[::-1])
    file = store(tmp_path / "t.seg.nrrd", [labels[box]], [{"Tags": tag(LIVER)}], first_ijk=first)
    assert np.array_equal(file.label_map(GRID, SCHEMA).labels, labels)


# What other programs, scripts and damaged disks make of the header.


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("LabelValue", "1e30"),
        ("LabelValue", "-1"),
        ("LabelValue", "0"),
        ("LabelValue", "1.0"),
        ("LabelValue", "256"),
        ("LabelValue", "9" * 5000),
        ("LabelValue", "\u0661"),
        ("LabelValue", ""),
        ("Layer", "-1"),
        ("Layer", "one"),
        ("Layer", "9" * 5000),
        ("Color", "nan 0 0"),
        ("Color", "inf 0 0"),
        ("Color", "1 0"),
        ("Color", "red"),
        ("Color", "1 0 0 0"),
    ],
)
def test_a_wrong_number_in_the_header_is_one_error_that_names_file_key_and_value(
    tmp_path: Path, key: str, value: str
) -> None:
    with pytest.raises(InputError, match=rf"'a.seg.nrrd' is damaged: Segment0_{key} is '") as caught:
        store(tmp_path / "a.seg.nrrd", [blocks()], [{"Name": "liver", key: value}])
    assert f"'{value}'" in caught.value.message


@pytest.mark.parametrize("value", ["9" * 5000, "\u00b2", "\u0661", "-1", "1.0", "x"])
def test_a_value_in_a_tag_that_is_no_number_says_nothing(tmp_path: Path, value: str) -> None:
    tags = f"ActiveSeg.LabelValue:{value}"
    file = store(tmp_path / "a.seg.nrrd", [blocks()], [{"Name": "Liver", "Tags": tags}])
    assert file.segments[0].found.identity.label_value is None
    assert np.array_equal(file.label_map(GRID, SCHEMA).labels, np.where(blocks() == 1, 1, 0))


def test_where_there_is_one_layer_it_need_not_be_named(tmp_path: Path) -> None:
    segments: list[dict[str, str | None]] = [
        {"Name": name, "LabelValue": str(value), "Layer": None}
        for value, name in enumerate(("liver", "kidney_left"), start=1)
    ]
    file = store(tmp_path / "a.seg.nrrd", [blocks()], segments)
    assert [segment.layer for segment in file.segments] == [0, 0]
    assert np.array_equal(file.label_map(GRID, SCHEMA).labels, np.where(blocks() <= 2, blocks(), 0))


def test_what_only_looks_odd_in_the_header_changes_nothing(tmp_path: Path) -> None:
    odd = {
        "Extent": "99999 -5 a b",
        "Tags": "||:|x|:y|TerminologyEntry:~~^^^~|TerminologyEntry|Segmentation.Status:|",
        "Color": "255 -3 0.5",
        "NameAutoGenerated": "perhaps",
        "Unheard": "of",
    }
    file = store(tmp_path / "a.seg.nrrd", [blocks()], [{"Name": "Liver", **odd}])
    assert file.segments[0].color == (1.0, 0.0, 0.5)
    assert np.array_equal(file.label_map(GRID, SCHEMA).labels, np.where(blocks() == 1, 1, 0))


def test_segments_without_an_id_are_numbered_by_their_value_as_slicer_does(tmp_path: Path) -> None:
    file = store(
        tmp_path / "a.seg.nrrd",
        [blocks()],
        [{"ID": None, "Name": "liver"}, {"ID": None, "LabelValue": "2", "Name": "kidney left"}, {"LabelValue": "3"}],
    )
    assert [(s.id, s.name) for s in file.segments] == [
        ("Segment_1", "liver"),
        ("Segment_2", "kidney left"),
        ("S2", "S2"),
    ]
    read = file.label_map(GRID, SCHEMA, mapping={"S2": "kidney_right"})
    assert np.array_equal(read.labels, blocks())


def test_segments_that_share_an_id_stay_two_segments(tmp_path: Path) -> None:
    names = ["liver", "kidney_left", "kidney_right"]
    with pytest.warns(UserWarning, match="Several segments have the ID 'x'"):
        file = store(
            tmp_path / "a.seg.nrrd",
            [blocks()],
            [{"ID": "x", "Name": name, "LabelValue": str(n)} for n, name in enumerate(names, start=1)],
        )
    assert [s.id for s in file.segments] == ["x", "x_2", "x_3"]
    assert np.array_equal(file.label_map(GRID, SCHEMA).labels, blocks())


def test_two_segments_on_one_value_of_a_layer_are_refused_where_voxels_have_it(tmp_path: Path) -> None:
    segments = [{"Name": "liver"}, {"Name": "kidney_left", "LabelValue": "1"}]
    with pytest.raises(InputError, match="'liver' and 'kidney_left' both have the value 1 in layer 0"):
        store(tmp_path / "a.seg.nrrd", [blocks()], segments)
    without = np.where(blocks() == 1, 0, blocks())
    file = store(tmp_path / "a.seg.nrrd", [without], [*segments, {"Name": "kidney_right", "LabelValue": "3"}])
    assert np.array_equal(file.label_map(GRID, SCHEMA).labels, np.where(without == 3, 3, 0))
    two_layers = [mask(slice(0, 3)), mask(slice(3, 8))]
    file = store(tmp_path / "a.seg.nrrd", two_layers, [segments[0], {**segments[1], "Layer": "1"}])
    assert np.array_equal(file.label_map(GRID, SCHEMA).labels, two_layers[0] + 2 * two_layers[1])


def test_names_that_are_not_utf8_are_read_as_windows_wrote_them(tmp_path: Path) -> None:
    path = tmp_path / "a.seg.nrrd"
    store(path, [blocks()], [{"Name": "Nxere", "Tags": tag(LIVER)}])
    path.write_bytes(path.read_bytes().replace(b"Nxere", b"Ni\xe9re"))
    file = SegmentationFile.read(path)
    assert file.segments[0].name == "Niére"
    file.segments[0].name.encode("utf-8")
    assert file.label_map(GRID, SCHEMA).sentences() == ("'Niére' is read as 'liver'.",)


@pytest.mark.parametrize(("dtype", "value"), [(np.uint32, 614_454_277), (np.uint64, 2**62), (np.int64, 2**62)])
def test_an_atlas_may_number_its_structures_in_hundreds_of_millions(tmp_path: Path, dtype: type, value: int) -> None:
    array = np.where(blocks() == LIVER, value, 0).astype(dtype)
    array[7, 9, 11] = value - 1  # of no segment
    file = store(tmp_path / "a.seg.nrrd", [array], [{"Name": "liver", "LabelValue": str(value)}], first_ijk=(-2, 0, 0))
    read = file.label_map(GRID, SCHEMA)
    assert np.array_equal(read.labels[:, :, :-2], np.where(blocks() == LIVER, LIVER, 0)[:, :, 2:])
    assert read.segments[0].outside_voxels == int((blocks()[:, :, :2] == LIVER).sum())


def test_many_segments_are_read_and_composed(tmp_path: Path) -> None:
    schema = LabelSchema.from_names([f"s{n}" for n in range(1, 801)])
    labels = np.arange(np.prod(SHAPE), dtype=np.uint16).reshape(SHAPE) % 801
    write_segmentation(tmp_path / "a.seg.nrrd", labels, GRID, schema)
    read = SegmentationFile.read(tmp_path / "a.seg.nrrd").label_map(GRID, schema, predicted=labels)
    assert np.array_equal(read.labels, labels)
    assert not any(s.edited for s in read.segments)


def test_odd_names_are_written_and_come_back(tmp_path: Path) -> None:
    names = ["a\\b", "two\nlines", "größe: ä~^|", " blank ", "x:=y"]
    schema = LabelSchema.from_names(names)
    labels = np.arange(np.prod(SHAPE), dtype=np.uint8).reshape(SHAPE) % 6
    write_segmentation(tmp_path / "a.seg.nrrd", labels, GRID, schema)
    file = SegmentationFile.read(tmp_path / "a.seg.nrrd")
    assert [s.name for s in file.segments] == ["a\\b", "two\nlines", "größe: ä~^|", "blank", "x:=y"]
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.seg.nrrd"))), labels)


def test_a_renamed_segmentation_is_known_by_its_header(tmp_path: Path) -> None:
    store(tmp_path / "a.seg.nrrd", [blocks()], [{"Name": "liver"}])
    (tmp_path / "a.seg.nrrd").rename(tmp_path / "labels.nrrd")
    assert is_segmentation_file(tmp_path / "labels.nrrd")
    image = sitk.GetImageFromArray(blocks())
    image.SetMetaData("Segmenter", "nobody")
    sitk.WriteImage(image, str(tmp_path / "plain.nrrd"))
    assert not is_segmentation_file(tmp_path / "plain.nrrd")


# Another grid than the CT's: what is cut off is counted before the voxels are resampled.


def finer(times: int = 2, planes_beyond: int = 0) -> Geometry:
    """Each voxel of GRID cut in ``times`` along each axis, with planes of these small voxels above the CT."""
    k, j, i = SHAPE
    corner = (1 / times - 1) / 2
    return Geometry(
        (k * times + planes_beyond, j * times, i * times),
        tuple(s / times for s in GRID.spacing_xyz),
        tuple((GRID.ijk_to_lps @ (corner, corner, corner, 1))[:3]),
        GRID.direction_lps,
    )


def small_voxels(labels: np.ndarray, planes_beyond: int, times: int = 2) -> np.ndarray:
    fine = labels.repeat(times, 0).repeat(times, 1).repeat(times, 2)
    return np.pad(fine, ((0, planes_beyond), (0, 0), (0, 0)))


def test_voxels_beyond_the_ct_on_a_finer_grid_are_counted_and_told(tmp_path: Path) -> None:
    fine = small_voxels(blocks(), 6)
    fine[14:22, 4:9, 3:10] = LIVER  # 6 planes of 5 x 7 lie above the CT, whose 16 end at the plane 15
    file = store(
        tmp_path / "f.seg.nrrd",
        [fine],
        [{"LabelValue": str(v), "Tags": tag(v)} for v in (LIVER, LEFT, RIGHT)],
        finer(planes_beyond=6),
    )
    read = file.label_map(GRID, SCHEMA)
    assert [s.outside_voxels for s in read.segments] == [6 * 5 * 7, 0, 0]
    assert f"'S0' has {6 * 5 * 7} voxels outside of the CT; they are cut off." in read.sentences()


def test_a_layer_that_lies_wholly_beyond_the_ct_does_not_refuse_the_others(tmp_path: Path) -> None:
    inside, above = small_voxels(blocks(), 6), np.zeros((22, 20, 24), np.uint8)
    above[18:20, 3:6, 3:6] = 1
    segments = [{"LabelValue": "1", "Tags": tag(LIVER)}, {"Layer": "1", "Tags": tag(LEFT)}]
    file = store(tmp_path / "f.seg.nrrd", [inside, above], segments, finer(planes_beyond=6))
    read = file.label_map(GRID, SCHEMA)
    assert np.array_equal(read.labels, np.where(blocks() == LIVER, LIVER, 0))
    assert [s.outside_voxels for s in read.segments] == [0, 18]
    nothing_inside = store(tmp_path / "g.seg.nrrd", [above], [{"Name": "liver"}], finer(planes_beyond=6))
    with pytest.raises(InputError, match="belong together"):
        nothing_inside.label_map(GRID, SCHEMA)


def test_a_segment_that_falls_between_the_cts_voxels_is_told(tmp_path: Path) -> None:
    fine = np.zeros(tuple(3 * n for n in SHAPE), np.uint8)
    fine[3:12, 3:12, 3:12] = 1
    fine[15, 15, 15] = 2
    segments = [{"Name": "liver"}, {"Name": "kidney_left", "LabelValue": "2"}]
    read = store(tmp_path / "f.seg.nrrd", [fine], segments, finer(3)).label_map(GRID, SCHEMA)
    assert "'kidney_left' is too small for the CT's voxels: nothing of it is left." in read.sentences()
    assert int((read.labels == LIVER).sum()) == 27
    alone = store(tmp_path / "g.seg.nrrd", [np.where(fine == 2, 1, 0).astype(np.uint8)], segments[:1], finer(3))
    assert any("too small" in sentence for sentence in alone.label_map(GRID, SCHEMA).sentences())


def test_voxels_of_three_layers_overlap_once(tmp_path: Path) -> None:
    layers = [mask(slice(0, 4)), mask(slice(2, 6)), mask(slice(3, 4))]
    segments = [{"Layer": str(n), "Tags": tag(v)} for n, v in enumerate((LIVER, LEFT, RIGHT))]
    read = store(tmp_path / "o.seg.nrrd", layers, segments).label_map(GRID, SCHEMA)
    assert read.overlapping_voxels == 2 * 10 * 12
