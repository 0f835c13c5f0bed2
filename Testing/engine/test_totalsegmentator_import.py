"""Weights in a file and a licence number come to where TotalSegmentator looks, whole or not at all."""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from weight_archives import BODY, files_of, install, zip_of

from activeseg.core.errors import Cancelled, InputError, ModelError
from activeseg.core.progress import Progress
from activeseg.segmenters.totalsegmentator import weights_import
from activeseg.segmenters.totalsegmentator.sandbox import UserHome
from activeseg.segmenters.totalsegmentator.tasks import task_named
from activeseg.segmenters.totalsegmentator.weights import Weights, inspect_weights
from activeseg.segmenters.totalsegmentator.weights_import import import_weights, store_licence

NUMBER = "aca_0123456789ABCD"


@pytest.fixture
def user(tmp_path: Path) -> UserHome:
    return UserHome(tmp_path / "home", tmp_path / "home" / "nnunet" / "results")


def written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "weights.zip"
    path.write_bytes(data)
    return path


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_zip_of_a_model_is_put_where_the_package_looks(tmp_path: Path, user: UserHome) -> None:
    stages: list[str] = []
    file = written(tmp_path, zip_of({**files_of(BODY), "__MACOSX/._x": b"x"}))
    model = import_weights(file, user, Progress(lambda stage, _fraction, _text: stages.append(stage)))
    assert model.dataset == BODY.dataset
    assert inspect_weights(BODY, user.weights).state is Weights.READY
    assert everything(user.weights) - {".activeseg-download.lock"} == set(files_of(BODY))
    assert set(stages) == {"unzip"}


def test_a_damaged_model_is_replaced(tmp_path: Path, user: UserHome) -> None:
    install(user.weights, {f"{BODY.dataset}/{BODY.trained}/plans.json": b"{"})
    import_weights(written(tmp_path, zip_of(files_of(BODY))), user, Progress())
    assert inspect_weights(BODY, user.weights).state is Weights.READY


def test_what_else_lies_in_a_models_folder_stays(tmp_path: Path, user: UserHome) -> None:
    mine = {
        f"{BODY.dataset}/notes.txt": b"mine",
        f"{BODY.dataset}/nnUNetTrainerMine__nnUNetPlans__3d_fullres/fold_0/checkpoint_final.pth": b"mine",
        f"{BODY.dataset}/{BODY.trained}/fold_0/progress.png": b"mine",
    }
    install(user.weights, {**mine, f"{BODY.dataset}/{BODY.trained}/plans.json": b"{"})
    import_weights(written(tmp_path, zip_of(files_of(BODY))), user, Progress())
    assert inspect_weights(BODY, user.weights).state is Weights.READY
    assert {name: (user.weights / name).read_bytes() for name in mine} == mine


def test_a_file_in_the_place_of_a_models_folder_stays(tmp_path: Path, user: UserHome) -> None:
    install(user.weights, {BODY.dataset: b"mine"})
    with pytest.raises(ModelError, match="could not be put into"):
        import_weights(written(tmp_path, zip_of(files_of(BODY))), user, Progress())
    assert (user.weights / BODY.dataset).read_bytes() == b"mine"


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, user: UserHome) -> None:
    os.mkfifo(tmp_path / "weights.zip")
    with pytest.raises(ModelError, match="not a regular file"):
        import_weights(tmp_path / "weights.zip", user, Progress())


def test_a_zip_with_damage_anywhere_is_one_error_and_leaves_nothing(tmp_path: Path, user: UserHome) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files_of(BODY).items():
            archive.writestr(name, data)
    for start in range(0, len(packed.getvalue()), max(1, len(packed.getvalue()) // 100)):
        data = bytearray(packed.getvalue())
        data[start : start + 20] = b"\xff" * len(data[start : start + 20])
        try:
            import_weights(written(tmp_path, bytes(data)), user, Progress())
        except ModelError as error:
            assert "'weights.zip' cannot be used" in error.message  # noqa: PT017
            assert everything(user.weights) <= {".activeseg-download.lock"}
        else:
            assert inspect_weights(BODY, user.weights).state is Weights.READY
            shutil.rmtree(user.weights)


def without_checkpoint() -> dict[str, bytes]:
    return {name: data for name, data in files_of(BODY).items() if not name.endswith(".pth")}


WRONG = {
    "no zip": b"<html>not found</html>",
    "empty zip": zip_of({}),
    "another thing": zip_of({"holiday/beach.jpg": b"x"}),
    "two models": zip_of({**files_of(BODY), **files_of(task_named("total-fast").parts()[0])}),
    "outside": zip_of({**files_of(BODY), "../evil.txt": b"x"}),
    "outside on Windows": zip_of({**files_of(BODY), "..\\evil.txt": b"x"}),
    "absolute": zip_of({**files_of(BODY), "/tmp/evil.txt": b"x"}),
    "drive": zip_of({**files_of(BODY), "C:/evil.txt": b"x"}),
    "no checkpoint": zip_of(without_checkpoint()),
    "cut off": zip_of(files_of(BODY))[:-30],
}


@pytest.mark.parametrize("name", sorted(WRONG))
def test_what_is_no_model_is_refused_and_changes_nothing(name: str, tmp_path: Path, user: UserHome) -> None:
    install(user.weights, {"Dataset999_mine/notes.txt": b"mine"})
    before = everything(tmp_path)
    with pytest.raises(ModelError, match=r"'weights\.zip' cannot be used as weights of TotalSegmentator"):
        import_weights(written(tmp_path, WRONG[name]), user, Progress())
    assert everything(tmp_path) - {"home/nnunet/results/.activeseg-download.lock"} == {*before, "weights.zip"}


def test_a_bomb_is_refused_before_it_is_unzipped(
    tmp_path: Path, user: UserHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights_import, "LARGEST_BYTES", 1 << 20)
    path = tmp_path / "weights.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{BODY.dataset}/zeros", b"\0" * (2 << 20))
    with pytest.raises(ModelError, match="unzipped it would have"):
        import_weights(path, user, Progress())
    assert not user.weights.exists()


def test_a_file_that_is_not_there_is_one_error(tmp_path: Path, user: UserHome) -> None:
    with pytest.raises(ModelError, match=r"could not be put"):
        import_weights(tmp_path / "nothing.zip", user, Progress())


def test_cancelling_leaves_nothing(tmp_path: Path, user: UserHome) -> None:
    file = written(tmp_path, zip_of(files_of(BODY)))
    with pytest.raises(Cancelled):
        import_weights(file, user, Progress(cancelled=lambda: True))
    assert everything(user.weights) <= {".activeseg-download.lock"}


def test_a_licence_number_is_kept_beside_what_the_user_set(user: UserHome) -> None:
    store_licence(f" {NUMBER}\n", user)
    assert user.licence == NUMBER
    assert user.configuration()["send_usage_stats"] is False
    (user.home / "config.json").write_text(json.dumps({"totalseg_id": "mine", "prediction_counter": 7}))
    store_licence(NUMBER, user)
    assert user.configuration() == {"totalseg_id": "mine", "prediction_counter": 7, "license_number": NUMBER}


@pytest.mark.parametrize("number", ["", "aca_123", "aca_0123456789ABCD0", "aca 0123456789ABCD", 'aca_0123456789AB"}'])
def test_what_is_no_licence_number_is_refused(number: str, user: UserHome) -> None:
    with pytest.raises(InputError, match="18 letters and digits"):
        store_licence(number, user)
    assert not user.home.exists()


def test_what_a_killed_writer_left_of_a_licence_number_goes(user: UserHome) -> None:
    user.home.mkdir(parents=True)
    left = user.home / f".activeseg-{'0' * 32}.json"
    left.write_text(NUMBER)
    os.utime(left, (0, 0))
    store_licence(NUMBER, user)
    assert [path.name for path in user.home.iterdir()] == ["config.json"]


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 100_000, b"[]", b"\xff\xfe"])
def test_an_impossible_configuration_is_one_error_and_no_licence(content: bytes, user: UserHome) -> None:
    user.home.mkdir(parents=True)
    (user.home / "config.json").write_bytes(content)
    assert user.licence is None
    with pytest.raises(ModelError, match=r"config\.json"):
        store_licence(NUMBER, user)
    assert [path.name for path in user.home.iterdir()] == ["config.json"]
    assert (user.home / "config.json").read_bytes() == content


def test_a_damaged_configuration_is_not_overwritten(user: UserHome) -> None:
    user.home.mkdir(parents=True)
    (user.home / "config.json").write_text("{half")
    with pytest.raises(ModelError, match=r"config\.json. is damaged"):
        store_licence(NUMBER, user)
    assert (user.home / "config.json").read_text() == "{half"
