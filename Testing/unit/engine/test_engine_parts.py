"""The engine's small parts: estimate, ladder, time left, log, scratch, leftovers, parameters, end of processes."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from processes import soon_gone

from activeseg.client.launch import EngineOptions, engine_command, engine_environment
from activeseg.client.messages.system import Gpu
from activeseg.core.errors import DeviceError, InputError
from activeseg.core.geometry import Geometry
from activeseg.core.network_size import NetworkSize
from activeseg.core.segmenter import Mode, Settings
from activeseg.core.volume import Volume
from activeseg.engine.jobs.system import nvidia_gpus
from activeseg.engine.planning.calibration import Calibration
from activeseg.engine.planning.estimate import Estimate, Need, need_of
from activeseg.engine.planning.ladder import ladder
from activeseg.engine.supervisor.eta import Eta
from activeseg.engine.supervisor.log_file import LogFile, remove_old_logs
from activeseg.engine.supervisor.scratch import Scratch
from activeseg.engine.supervisor.temporary_outputs import Output
from activeseg.engine.worker import memory
from activeseg.engine.worker.plain import plain
from activeseg.engine.worker.worker import temporary_folder
from activeseg.io import npy
from activeseg.predictions import prediction_folder
from activeseg.segmenters.nnunet.network_size import size_of
from activeseg.segmenters.nnunet.segmenter import OVERHEAD as NNUNET
from activeseg.segmenters.totalsegmentator.segmenter import OVERHEAD as TOTALSEGMENTATOR
from activeseg.segmenters.totalsegmentator.segmenter import OVERHEAD_BY_NNUNET
from activeseg.system.heap import is_out_of_memory
from activeseg.system.processes import kill_on_close_job, kill_tree

GIB = 1 << 30
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def geometry(*shape_kji: int, spacing: float = 3.0) -> Geometry:
    k, j, i = shape_kji
    return Geometry((k, j, i), (spacing,) * 3, (0.0, 0.0, 0.0), IDENTITY)


SMALL, LARGE = geometry(112, 101, 122), geometry(400, 512, 512, spacing=0.7)


def total_fast() -> NetworkSize:
    """The architecture of TotalSegmentator's 3 mm model (facts of the engine, section 6)."""
    plans = {
        "patch_size": [112, 112, 128],
        "spacing": [3.0, 3.0, 3.0],
        "architecture": {
            "arch_kwargs": {
                "n_stages": 5,
                "features_per_stage": [32, 64, 128, 256, 320],
                "strides": [[1, 1, 1]] + [[2, 2, 2]] * 4,
                "kernel_sizes": [[3, 3, 3]] * 5,
                "n_conv_per_stage": [2] * 5,
                "n_conv_per_stage_decoder": [2] * 4,
            }
        },
    }
    labels = {"background": 0, **{f"s{n}": n for n in range(1, 118)}}
    return size_of(plans, {"labels": labels, "channel_names": {"0": "CT"}}, 1, 66 * 10**6)


# Memory and time.


@pytest.mark.parametrize(
    ("image", "mode", "members", "measured_gib"),
    [
        (SMALL, Mode.FAST, 1, 0.94),
        (SMALL, Mode.FAST, 4, 1.28),
        (SMALL, Mode.EXACT, 1, 2.65),
        (SMALL, Mode.EXACT, 4, 3.99),
        (LARGE, Mode.FAST, 1, 3.09),
        (LARGE, Mode.EXACT, 1, 4.32),
    ],
)
def test_the_estimate_of_the_real_3_mm_model_is_near_what_was_measured(
    image: Geometry, mode: Mode, members: int, measured_gib: float
) -> None:
    """By ``benchmarks/memory.py``, where the network ran in bfloat16: in float32, as the estimate has it, more."""
    settings = Settings(mode=mode, members=members)
    need = need_of(image, [total_fast()], settings, TOTALSEGMENTATOR, loaded=True)
    assert measured_gib < need.ram / GIB < (2.5 if mode is Mode.FAST else 1.5) * measured_gib


def test_tiles_and_work_of_the_real_3_mm_model() -> None:
    need = need_of(SMALL, [total_fast()], Settings(mode=Mode.EXACT), TOTALSEGMENTATOR)
    assert (need.tiles, need.classes, need.members) == (1, 118, 1)
    assert 0.3e12 < need.flops < 3e12


def test_more_image_members_and_classes_need_more() -> None:
    size, settings = total_fast(), Settings()
    base = need_of(geometry(112, 112, 128), [size], settings, NNUNET)
    assert need_of(geometry(224, 112, 128), [size], settings, NNUNET).ram > base.ram
    assert need_of(geometry(112, 112, 128), [size], replace(settings, members=4), NNUNET).ram > base.ram
    assert need_of(geometry(112, 112, 128), [size], replace(settings, members=4), NNUNET).tiles == 4 * base.tiles
    assert need_of(geometry(112, 112, 128), [replace(size, heads=400)], settings, NNUNET).ram > base.ram
    assert need_of(geometry(112, 112, 128), [size], settings, NNUNET, loaded=True).ram < base.ram
    assert (
        need_of(geometry(336, 112, 128), [size], replace(settings, in_pieces=True), NNUNET).ram
        < need_of(geometry(336, 112, 128), [size], settings, NNUNET).ram
    )


def test_what_several_networks_views_mirroring_and_resampling_of_logits_need() -> None:
    size, exact = replace(total_fast(), folds=2), Settings(mode=Mode.EXACT, members=2, mirroring=False)
    wide = geometry(250, 250, 250)
    voters = need_of(wide, [size], exact, NNUNET)
    assert need_of(wide, [replace(size, folds=1)], exact, NNUNET).ram > voters.ram + size.heads * voters.voxels
    folds = need_of(SMALL, [size], exact, NNUNET)
    helper = need_of(SMALL, [replace(size, folds=1, helps=True), replace(size, folds=1)], exact, NNUNET)
    assert (helper.members, helper.tiles) == (2, 3 * folds.tiles // 2)
    assert (
        need_of(SMALL, [size] * 5, exact, NNUNET, loaded=True).ram
        > need_of(SMALL, [size], exact, NNUNET, loaded=True).ram
    )
    mirrored = need_of(SMALL, [size], replace(exact, mirroring=None), NNUNET)
    assert mirrored.tiles == 8 * folds.tiles
    assert mirrored.ram >= folds.ram
    assert need_of(SMALL, [size], replace(exact, mirroring=None), TOTALSEGMENTATOR).tiles == folds.tiles
    fast = Settings(members=1)
    resampled = need_of(LARGE, [size], fast, OVERHEAD_BY_NNUNET)
    assert resampled.ram > need_of(LARGE, [size], fast, TOTALSEGMENTATOR).ram


def test_a_gpu_needs_less_when_sums_are_kept_elsewhere() -> None:
    size, where = total_fast(), geometry(400, 200, 200)
    on_gpu = need_of(where, [size], Settings(mode=Mode.EXACT, members=1), TOTALSEGMENTATOR, "cuda")
    offloaded = need_of(where, [size], Settings(mode=Mode.EXACT, members=1, offload=True), TOTALSEGMENTATOR, "cuda")
    assert offloaded.vram < on_gpu.vram
    assert offloaded.ram > on_gpu.ram
    assert need_of(where, [size], Settings(), NNUNET).vram == 0


def test_weights_that_are_on_the_gpu_already_are_not_needed_again() -> None:
    size, where = total_fast(), geometry(400, 200, 200)
    first = need_of(where, [size], Settings(members=1), NNUNET, "cuda")
    again = need_of(where, [size], Settings(members=1), NNUNET, "cuda", loaded=True)
    assert first.vram - again.vram == size.weight_bytes


def test_tiles_are_counted_as_nnunet_lays_them() -> None:
    pytest.importorskip("nnunetv2")
    from nnunetv2.inference.sliding_window_prediction import compute_steps_for_sliding_window

    size = total_fast()
    for shape in ((112, 112, 128), (113, 112, 128), (300, 200, 256), (168, 400, 129)):
        grid = size.grid(geometry(*shape))
        steps = compute_steps_for_sliding_window(grid, size.patch, 0.5)
        assert size.tiles(grid) == np.prod([len(axis) for axis in steps])


def test_the_estimate_fits_only_where_both_memories_do() -> None:
    need = Need(ram=10, vram=10)
    assert Estimate(need, 10, 10).fits
    assert Estimate(need, 10, None).fits
    assert not Estimate(need, 9, 10).fits
    assert not Estimate(need, 10, 9).fits


def test_the_ladder_goes_from_what_was_asked_to_what_needs_least_and_says_each_step() -> None:
    name = "totalsegmentator:total"
    asked = Settings(members=6)
    ways = ladder(
        name, asked, trained=1, members=6, on_gpu=True, may_split=True, coarser=(f"{name}-fast", f"{name}-fastest")
    )
    assert (ways[0].model, ways[0].settings, ways[0].said) == (name, asked, ())
    assert [len(way.said) for way in ways] == list(range(len(ways)))
    assert [way.settings.offload for way in ways] == [False] + [True] * (len(ways) - 1)
    assert [way.settings.members for way in ways] == [6, 6] + [1] * (len(ways) - 2)
    assert [way.settings.in_pieces for way in ways] == [False, False, False, True, True, True]
    assert [way.model for way in ways[-2:]] == [f"{name}-fast", f"{name}-fastest"]
    assert "total-fastest" in ways[-1].said[-1]


def test_no_coarser_model_is_taken_unless_it_is_allowed() -> None:
    ways = ladder(
        "totalsegmentator:total",
        Settings(),
        trained=1,
        members=1,
        on_gpu=False,
        may_split=False,
        coarser=(),
    )
    assert [way.model for way in ways] == ["totalsegmentator:total"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_DATA")
def test_within_a_limit_too_much_is_a_memory_error_and_afterwards_it_is_not() -> None:
    def take(mib: int) -> int:
        return int(np.ones(mib << 17).nbytes)

    with memory.at_most(64 << 20), pytest.raises(MemoryError):
        take(256)
    assert take(256) == 256 << 20


def test_lack_of_memory_is_recognised_in_its_many_forms() -> None:
    class OutOfMemoryError(RuntimeError):
        """As torch names its own."""

    def caused(outer: Exception, inner: Exception) -> Exception:
        outer.__cause__ = inner
        return outer

    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"))
    assert is_out_of_memory(caused(DeviceError("The device ran out of memory."), MemoryError()))
    assert is_out_of_memory(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"))
    assert is_out_of_memory(RuntimeError("CUDA error: out of memory"))
    assert not is_out_of_memory(RuntimeError("CUDA error: no kernel image is available for execution on the device"))
    assert not is_out_of_memory(DeviceError("The device 'cuda' is not available."))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_a_containers_limit_counts(tmp_path: Path) -> None:
    for name, text in (("max", "1000\n"), ("current", "900\n"), ("stat", "anon 5\ninactive_file 300\n")):
        (tmp_path / name).write_text(text)
    files = (tmp_path / "max", tmp_path / "current", tmp_path / "stat")
    assert memory.container_room(*files) == 400
    (tmp_path / "max").write_text("max\n")
    assert memory.container_room(*files) is None
    assert memory.container_room(tmp_path / "none", *files[1:]) is None


def test_the_time_left_follows_the_stage_and_then_the_later_ones() -> None:
    eta = Eta({"preprocess": 2.0, "network": 10.0, "resample": 4.0})
    eta.report("start", 0.0, 0.0)
    assert eta.seconds_left(0.0) == 16.0
    eta.report("preprocess", 0.0, 1.0)
    assert eta.seconds_left(2.0) == 15.0
    eta.report("network", 0.0, 3.0)
    eta.report("network", 0.5, 13.0)
    assert eta.seconds_left(13.0) == 14.0, "slower than expected: 10 s more of this stage, and the next"
    eta.report("uncertainty", 0.0, 23.0)
    assert eta.seconds_left(23.0) == 4.0
    eta.report("resample", 0.5, 25.0)
    assert eta.seconds_left(99.0) == 0.0


def test_without_an_estimate_a_stage_tells_its_own_time() -> None:
    eta = Eta()
    eta.report("network", 0.0, 0.0)
    assert eta.seconds_left(1.0) is None
    eta.report("network", 0.25, 2.0)
    assert eta.seconds_left(2.0) == 6.0


def test_a_run_is_remembered_per_tile_and_per_voxel(tmp_path: Path) -> None:
    calibration = Calibration(tmp_path / "calibration.json")
    key = calibration.key("demo", Settings(), "cpu")
    assert calibration.stages(key, 1, 1) == {}
    calibration.learn(key, {"load": 9.0, "network": 8.0, "regions": 1.0, "total": 18.0}, tiles=4, voxels=1000)
    assert calibration.stages(key, tiles=8, voxels=3000) == {"network": 16.0, "regions": 3.0}
    assert calibration.stages(calibration.key("demo", Settings(mode=Mode.EXACT), "cpu"), 1, 1) == {}


@pytest.mark.parametrize(
    "damaged", ["damaged", "[]", '{"%s": 1}', '{"%s": {"network": "x"}}', '{"%s": {"network": 1e999}}', "[" * 9999]
)
def test_a_damaged_memory_of_runs_is_learnt_again(tmp_path: Path, damaged: str) -> None:
    calibration = Calibration(tmp_path / "calibration.json")
    key = calibration.key("demo", Settings(), "cpu")
    calibration.path.write_text(damaged.replace("%s", key))
    assert calibration.stages(key, 1, 1) == {}
    calibration.learn(key, {"network": 8.0}, tiles=4, voxels=1000)
    assert calibration.stages(key, tiles=8, voxels=1000) == {"network": 16.0}


def test_what_a_run_took_bounds_the_next_ones_and_never_less_for_a_larger_image(tmp_path: Path) -> None:
    calibration = Calibration(tmp_path / "calibration.json")
    key = calibration.peak_key("demo", Settings(), "cpu", loaded=True)
    bound = Need(ram=10_000, voxels=100)
    assert calibration.peak(key, bound, 1000) == bound
    calibration.learn_peak(key, 4_000, bound, 1000)
    assert calibration.peak(key, bound, 1000).ram == 5_000
    assert calibration.peak(key, bound, 500).ram == 5_000
    assert calibration.peak(key, replace(bound, voxels=120), 1000).ram == 6_000
    assert calibration.peak(key, bound, 1500).ram == 7_500
    assert calibration.peak(key, bound, 9000) == bound, "what is only reckoned is never above what sizes alone say"
    calibration.learn_peak(key, 2 * bound.ram, bound, 1000)
    assert calibration.peak(key, bound, 1000).ram > 2 * bound.ram, "what was measured is believed"
    assert calibration.peak(key, bound, 500) == bound, "but not of a smaller image"
    calibration.learn_peak(key, 4_000, bound, 1000)
    for other in (replace(Settings(), members=1), replace(Settings(), in_pieces=True), Settings(structures=("liver",))):
        assert calibration.peak(calibration.peak_key("demo", other, "cpu", loaded=True), bound, 1000) == bound
    assert calibration.peak(calibration.peak_key("demo", Settings(), "cpu", loaded=False), bound, 1000) == bound
    calibration.path.write_text(calibration.path.read_text().replace("4000", "-4"))
    assert calibration.peak(key, bound, 1000) == bound, "damaged"


def test_a_peak_is_what_was_taken_since() -> None:
    peak = memory.Peak()
    assert np.ones(64 << 17).nbytes == 64 << 20
    assert peak.taken() > 60 << 20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere a process's peak stays")
def test_a_peak_forgets_what_was_taken_before() -> None:
    assert np.ones(256 << 17).nbytes == 256 << 20
    assert memory.Peak().taken() < 200 << 20


# Files.


def test_the_log_never_grows_beyond_its_limit_and_keeps_the_file_before(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "logs" / "engine-1.log", 200)
    for number in range(30):
        log.write(f"line {number:02d} {'x' * 20}")
    old = tmp_path / "logs" / "engine-1.log.1"
    assert log.path.stat().st_size <= 200
    assert old.stat().st_size <= 200
    together = old.read_text() + log.path.read_text()
    assert together.splitlines()[-1].startswith("line 29")
    assert [line[:7] for line in log.tail(2)] == ["line 28", "line 29"]
    os.write(log.descriptor, b"written past us\n")
    assert log.path.read_text().endswith("written past us\n")
    os.close(log.descriptor)


def test_only_the_newest_logs_stay(tmp_path: Path) -> None:
    for number in range(6):
        path = tmp_path / f"engine-{number}.log"
        path.touch()
        os.utime(path, (number, number))
    remove_old_logs(tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["engine-4.log", "engine-5.log"]


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
def test_logs_that_cannot_be_looked_at_or_removed_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "engine-vanished.log").symlink_to(tmp_path / "removed")  # as if another engine had just removed it
    (tmp_path / "engine-kept.log").mkdir()
    os.utime(tmp_path / "engine-kept.log", (1, 1))
    for number in range(2, 5):
        path = tmp_path / f"engine-{number}.log"
        path.touch()
        os.utime(path, (number, number))
    remove_old_logs(tmp_path, keep=1)
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"engine-4.log"}


def test_only_folders_of_dead_engines_are_swept(tmp_path: Path) -> None:
    mine = Scratch(tmp_path)
    dead = mine.folder.with_name(mine.folder.name.replace(f"-{os.getpid()}-", "-4194999-"))
    reused = mine.folder.with_name(mine.folder.name.replace(f"-{os.getpid()}-", "-1-"))
    elsewhere = mine.folder.with_name("engine-other_computer-4194999-1-abc")
    for folder in (dead, reused, elsewhere):
        folder.mkdir()
    other = Scratch(tmp_path)
    assert mine.folder.is_dir()
    assert elsewhere.is_dir()
    assert not dead.exists()
    assert not reused.exists(), "another process has that number now"
    other.close()
    mine.close()


def test_after_a_kill_the_output_is_as_it_was(tmp_path: Path) -> None:
    known = prediction_folder.temporary_prefix(tmp_path / "out", "new")
    (tmp_path / f"{known}abcdefgh").mkdir()  # was there before, so it is another writer's
    output = Output.of({"output": str(tmp_path / "out")})
    assert output is not None
    (tmp_path / f"{known}ijklmnop").mkdir()
    (tmp_path / f"{known}ijklmnop" / "labels.nii.gz").touch()
    (tmp_path / ".out.notes").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "prediction.json").touch()
    output.tidy()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"{known}abcdefgh", ".out.notes"])


def test_what_the_user_put_into_the_output_meanwhile_stays(tmp_path: Path) -> None:
    output = Output.of({"output": str(tmp_path / "out")})
    assert output is not None
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "labels.nii.gz").touch()
    (tmp_path / "out" / "notes.txt").touch()
    output.tidy()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]


def test_an_old_prediction_that_was_moved_aside_comes_back(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "prediction.json").write_text("old")
    output = Output.of({"output": str(tmp_path / "out")})
    assert output is not None
    os.rename(tmp_path / "out", tmp_path / f"{prediction_folder.temporary_prefix(tmp_path / 'out', 'old')}abcdefgh")
    output.tidy()
    assert (tmp_path / "out" / "prediction.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    "given", ["~nobody-of-this-name/x", "\ud800", "", "\0", "x" * 100_000, 7, None, ["/x"], "/proc/1/x"]
)
def test_what_cannot_be_an_output_is_none(given: object) -> None:
    output = Output.of({"output": given})
    assert output is None or output.tidy() is None


def test_temporary_files_of_libraries_go_into_the_jobs_folder(tmp_path: Path) -> None:
    import tempfile

    before = tempfile.gettempdir()
    folder = tmp_path / "temporary"
    folder.mkdir()
    with temporary_folder(folder):
        assert tempfile.gettempdir() == str(folder)
        Path(tempfile.mkdtemp()).joinpath("left").touch()
        child = subprocess.run(
            [sys.executable, "-c", "import tempfile; print(tempfile.gettempdir())"], capture_output=True, text=True
        )
        assert child.stdout.strip() == str(folder)
    assert tempfile.gettempdir() == before
    assert not folder.exists()


def test_arrays_travel_with_their_geometry(tmp_path: Path) -> None:
    volume = Volume(np.arange(24, dtype=np.int16).reshape(2, 3, 4)[:, ::-1], geometry(2, 3, 4))
    message = npy.volume_message(tmp_path / "a.npy", volume)
    back = npy.read_volume(message)
    assert np.array_equal(back.array, volume.array)
    assert back.geometry == volume.geometry
    for key in message["geometry"]:
        with pytest.raises(InputError, match="is missing"):
            npy.read_volume({**message, "geometry": {k: v for k, v in message["geometry"].items() if k != key}})
    with pytest.raises(InputError, match="shape"):
        npy.read_volume({**message, "geometry": geometry(2, 3, 5).to_dict()})
    (tmp_path / "b.npy").write_bytes(b"no array")
    with pytest.raises(InputError, match="no array file"):
        npy.read_array(tmp_path / "b.npy")
    np.savez(tmp_path / "c.npz", a=np.zeros(1))
    with pytest.raises(InputError, match="no array file"):
        npy.read_array(tmp_path / "c.npz")


def test_results_become_plain_json() -> None:
    values = {1: (np.float32(0.5), np.int64(3), float("nan"), Path("a"), Mode.FAST, np.array([1, 2]), None, True)}
    assert plain(values) == {"1": [0.5, 3, None, "a", "fast", [1, 2], None, True]}


# Processes.


def test_the_command_line_isolates_the_engine_and_names_this_copy() -> None:
    command = engine_command("/env/bin/python", "/home/u/engine", EngineOptions(idle_s=60.0))
    assert command[:5] == ["/env/bin/python", "-I", "-X", "utf8", "-u"]
    assert Path(command[5]).is_file()
    assert Path(command[5]).parts[-3:] == ("activeseg", "engine", "start.py")
    assert command[6] == "--home=/home/u/engine"
    assert "--idle-s=60.0" in command


def test_the_environment_is_cleaned_of_slicer_and_of_other_pythons() -> None:
    source = {
        "HOME": "/home/u",
        "PATH": os.pathsep.join(["/opt/Slicer/bin", "/usr/bin"]),
        "SLICER_HOME": "/opt/Slicer",
        "SLICER_SHARE_DIR": "share",
        "PYTHONHOME": "x",
        "PYTHONPATH": "x",
        "PYTHONSTARTUP": "x",
        "LD_LIBRARY_PATH": "x",
        "DYLD_LIBRARY_PATH": "x",
        "LibraryPaths": "x",
        "ITK_AUTOLOAD_PATH": "x",
        "QT_PLUGIN_PATH": "x",
        "QTWEBENGINE_DISABLE_SANDBOX": "1",
        "SSL_CERT_FILE": "/opt/Slicer/share/Slicer.crt",
        "VIRTUAL_ENV": "x",
        "OMP_WAIT_POLICY": "ACTIVE",
        "https_proxy": "http://proxy",
        "CUDA_VISIBLE_DEVICES": "1",
    }
    cleaned = engine_environment(source, {"EXTRA": "1"}, cores=8)
    assert {name: cleaned[name] for name in ("HOME", "PATH", "https_proxy", "CUDA_VISIBLE_DEVICES", "EXTRA")} == {
        "HOME": "/home/u",
        "PATH": "/usr/bin",
        "https_proxy": "http://proxy",
        "CUDA_VISIBLE_DEVICES": "1",
        "EXTRA": "1",
    }
    assert cleaned["OMP_WAIT_POLICY"] == "PASSIVE"
    assert cleaned["nnUNet_n_proc_DA"] == "0"
    assert cleaned["nnUNet_def_n_proc"] == "8"
    assert "x" not in cleaned.values()
    assert "SSL_CERT_FILE" not in cleaned
    assert source["PYTHONHOME"] == "x", "the caller's own environment is not touched"


def test_a_companys_own_certificates_stay() -> None:
    cleaned = engine_environment({"SLICER_HOME": "/opt/Slicer", "SSL_CERT_FILE": "/etc/company.pem", "PATH": ""})
    assert cleaned["SSL_CERT_FILE"] == "/etc/company.pem"


class Kernel32:
    """Windows's calls, noted."""

    def __init__(self, refuses: str = "") -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._refuses = refuses

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            self.calls.append((name, *arguments))
            return 0 if name == self._refuses else 77

        return call


@pytest.mark.parametrize(("pointer", "size"), [(8, 144), (4, 112)])
def test_on_windows_the_engine_is_in_a_job_that_dies_with_it(pointer: int, size: int) -> None:
    kernel = Kernel32()
    assert kill_on_close_job(kernel, pointer) == 77
    create, limit, current, assign = kernel.calls
    assert create == ("CreateJobObjectW", None, None)
    assert limit[:3] == ("SetInformationJobObject", 77, 9)
    assert len(limit[3]) == limit[4] == size
    assert int.from_bytes(limit[3][16:20], "little") == 0x2000
    assert sum(limit[3]) == 0x20, "nothing else is limited"
    assert current == ("GetCurrentProcess",)
    assert assign == ("AssignProcessToJobObject", 77, 77)


@pytest.mark.parametrize("name", ["CreateJobObjectW", "SetInformationJobObject", "AssignProcessToJobObject"])
def test_a_job_object_that_cannot_be_made_is_an_error(name: str) -> None:
    with pytest.raises(OSError, match="job object"):
        kill_on_close_job(Kernel32(name), 8)


GRANDPARENT = """
import subprocess, sys
wait = [sys.executable, "-c", "import sys; sys.stdin.read()"]
own = [subprocess.Popen(wait, stdin=subprocess.PIPE, start_new_session=apart) for apart in (False, True)]
print(*[p.pid for p in own], flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(os.name != "posix", reason="process groups")
def test_killing_a_tree_ends_children_in_other_sessions_too() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", GRANDPARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as leader:
        assert leader.stdout is not None
        children = [psutil.Process(int(pid)) for pid in leader.stdout.readline().split()]
        kill_tree(leader.pid)
        leader.wait()
        assert soon_gone(children, within_s=30)
    kill_tree(leader.pid)  # again: nothing is left to kill


@pytest.mark.skipif(os.name != "posix", reason="a shell script")
def test_graphics_cards_are_read_from_nvidias_tool_and_its_failures_are_no_error(tmp_path: Path) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H100, 81559, 80000, 550.1'\necho 'odd line'\n")
    tool.chmod(0o755)
    assert nvidia_gpus(str(tool)) == [
        Gpu(name="NVIDIA H100", total_bytes=81559 << 20, free_bytes=80000 << 20, driver="550.1")
    ]
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert nvidia_gpus(str(tool)) == []
    assert nvidia_gpus(str(tmp_path / "missing")) == []
