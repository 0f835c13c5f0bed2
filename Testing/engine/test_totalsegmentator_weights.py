"""Weights that are missing, half unzipped or of another version are recognised; a download is all or nothing."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import requests
from weight_archives import BODY, files_of, install, zip_of

from activeseg.core.errors import Cancelled, ModelError
from activeseg.core.progress import Progress
from activeseg.core.segmenter import Settings
from activeseg.segmenters.totalsegmentator import weights
from activeseg.segmenters.totalsegmentator.sandbox import UserHome
from activeseg.segmenters.totalsegmentator.segmenter import TotalSegmentatorSegmenter, task_infos
from activeseg.segmenters.totalsegmentator.tasks import TaskModel, task_named
from activeseg.segmenters.totalsegmentator.weights import Weights, download_weights, inspect_weights, require_weights


@pytest.fixture
def user(tmp_path: Path) -> UserHome:
    return UserHome(tmp_path / "home", tmp_path / "home" / "nnunet" / "results")


def trained(user: UserHome, model: TaskModel = BODY) -> Path:
    return user.weights / model.dataset / model.trained


def test_a_complete_folder_is_ready(user: UserHome) -> None:
    install(user.weights, files_of(BODY))
    assert inspect_weights(BODY, user.weights).state is Weights.READY
    assert require_weights([BODY], user.weights) == ()
    infos = {info.name: info for info in task_infos(user)}
    assert infos["totalsegmentator:body-fast"].download_bytes == 0
    states = {name: info.state for name, info in infos.items()}
    assert states["totalsegmentator:body-fast"] == "ready"
    assert states["totalsegmentator:body"] == "missing"


def test_a_missing_folder_is_missing_and_nothing_else(user: UserHome) -> None:
    assert inspect_weights(BODY, user.weights).state is Weights.MISSING
    assert require_weights([BODY], user.weights) == (BODY,)


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def cut(name: str, size: int) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


def one_level_too_deep(folder: Path) -> None:
    dataset = folder.parent
    inner = dataset.rename(dataset.with_name("unzipped"))
    dataset.mkdir()
    inner.rename(dataset / dataset.name)


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "no plans": (remove("plans.json"), r"plans.json is missing"),
    "no dataset.json": (remove("dataset.json"), r"dataset.json is missing"),
    "no checkpoint": (remove("fold_0/checkpoint_final.pth"), r"checkpoint_final.pth is missing"),
    "plans cut off": (cut("plans.json", 20), r"plans.json cannot be read as JSON"),
    "checkpoint cut off": (cut("fold_0/checkpoint_final.pth", 20_000), r"checkpoint_final.pth .* is cut off"),
    "checkpoint hardly begun": (cut("fold_0/checkpoint_final.pth", 100), r"has only 100 bytes"),
    "checkpoint is a web page": (
        lambda folder: (folder / "fold_0" / "checkpoint_final.pth").write_bytes(b"<html>" * 4000),
        r"is cut off or is no checkpoint",
    ),
    "checkpoint is another zip": (
        lambda folder: (folder / "fold_0" / "checkpoint_final.pth").write_bytes(zip_of({"a": b"\0" * 20_000})),
        r"is a zip, but not a checkpoint",
    ),
    "one level too deep": (one_level_too_deep, r"one folder too deep"),
    "nothing in it yet": (lambda folder: folder.rename(folder.parent.parent / "elsewhere"), r"unzip interrupted"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_folder_is_named_before_the_run_with_the_way_to_repair_it(name: str, user: UserHome) -> None:
    harm, message = DAMAGE[name]
    install(user.weights, files_of(BODY))
    harm(trained(user))
    with pytest.raises(ModelError, match=message) as caught:
        TotalSegmentatorSegmenter("body-fast", user).check(Settings(device="cpu"))
    assert caught.value.details["state"] == "damaged"
    assert str(BODY.url) in caught.value.action
    assert f"unzip it into {user.weights}" in caught.value.action


def relabel(labels: object) -> Callable[[Path], None]:
    return lambda folder: (folder / "dataset.json").write_text(json.dumps({"labels": labels}))


OTHER_VERSIONS: dict[str, tuple[Callable[[Path], None], str]] = {
    "another trainer": (
        lambda folder: folder.rename(folder.with_name("nnUNetTrainerV9__nnUNetPlans__3d_fullres")),
        r"holds nnUNetTrainerV9__nnUNetPlans__3d_fullres, but the installed TotalSegmentator needs nnUNetTrainer__",
    ),
    "too few labels": (relabel({"background": 0, "body_trunc": 1}), r"knows 1 structures, but .* expects 2"),
    "labels in another order": (
        relabel({"background": 0, "body_trunc": 2, "body_extremities": 1}),
        r"'body_trunc' is 2, expected 1",
    ),
    "another configuration": (
        lambda folder: (folder / "plans.json").write_text(json.dumps({"configurations": {"2d": {}}})),
        r"no configuration '3d_fullres'",
    ),
}


@pytest.mark.parametrize("name", OTHER_VERSIONS)
def test_a_folder_of_another_version_is_named_before_the_run(name: str, user: UserHome) -> None:
    harm, message = OTHER_VERSIONS[name]
    install(user.weights, files_of(BODY))
    harm(trained(user))
    with pytest.raises(ModelError, match=message) as caught:
        TotalSegmentatorSegmenter("body-fast", user).check(Settings(device="cpu"))
    assert caught.value.details["state"] == "other version"


def test_auxiliary_labels_and_other_spellings_are_no_other_version(user: UserHome) -> None:
    install(user.weights, files_of(BODY))
    relabel({"background": 0, "trunk": 1, "body_extremities": 2, "table": 3})(trained(user))
    assert inspect_weights(BODY, user.weights).state is Weights.READY


def test_every_listed_fold_must_be_there(tmp_path: Path) -> None:
    model = task_named("aortic_dissection").parts()[0]
    install(tmp_path, files_of(model))
    assert model.folds == (0, 1, 2, 3, 4)
    assert "fold_1" in inspect_weights(model, tmp_path).problem


class Server:
    """A web server on this computer that answers everything with ``respond``; keeps paths and posted bodies."""

    def __init__(self) -> None:
        self.respond: Callable[[BaseHTTPRequestHandler], None] = lambda handler: handler.send_error(404)
        server = self
        self.asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked.append(self.path)
                server.respond(self)

            def do_POST(self) -> None:
                server.asked.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
                server.respond(self)

            def log_message(self, *_: object) -> None:
                pass

        self._http = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def sending(data: bytes, length: int | None = None) -> Callable[[BaseHTTPRequestHandler], None]:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data) if length is None else length))
        handler.end_headers()
        handler.wfile.write(data)

    return respond


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """GitHub's releases and the licence server, as far as the package's downloader can tell."""
    here = Server()

    def to_here(method: Callable[..., requests.Response], real_address: str) -> Callable[..., requests.Response]:
        return lambda url, **options: method(url.replace(real_address, here.address), **options)

    monkeypatch.setattr(requests, "get", to_here(requests.get, "https://github.com"))
    monkeypatch.setattr(requests, "post", to_here(requests.post, "https://backend.totalsegmentator.com:443"))
    yield here
    here.close()


def left_behind(user: UserHome) -> list[str]:
    return sorted(p.name for p in user.weights.iterdir() if not p.name.endswith(".lock"))


def test_a_download_comes_from_the_packages_own_address_and_is_complete(server: Server, user: UserHome) -> None:
    server.respond = sending(zip_of(files_of(BODY)))
    reports: list[tuple[str, float, str]] = []
    download_weights([BODY], user, Progress(lambda *report: reports.append(report)))
    assert server.asked == [str(BODY.url).removeprefix("https://github.com")]
    assert inspect_weights(BODY, user.weights).state is Weights.READY
    assert left_behind(user) == [BODY.dataset]
    fractions = [fraction for stage, fraction, _ in reports if stage == "download"]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert any("MB" in text for _, _, text in reports)


def test_a_download_does_not_touch_the_users_configuration_or_other_weights(server: Server, user: UserHome) -> None:
    old = user.weights / "Dataset302_vertebrae_body_1559subj"  # which the package's downloader would delete
    old.mkdir(parents=True)
    server.respond = sending(zip_of(files_of(BODY)))
    download_weights([BODY], user, Progress())
    assert old.is_dir()
    assert not (user.home / "config.json").exists()


LICENSED: TaskModel = task_named("tissue_types").parts()[0]


@pytest.fixture
def licensed(user: UserHome) -> UserHome:
    user.home.mkdir()
    (user.home / "config.json").write_text(json.dumps({"license_number": "aca_XXXXXXXXXXXXXX"}))
    return user


def test_a_licensed_model_is_fetched_with_the_users_licence(server: Server, licensed: UserHome) -> None:
    server.respond = sending(zip_of(files_of(LICENSED)))
    download_weights([LICENSED], licensed, Progress())
    assert json.loads(server.asked[0])["license_number"] == "aca_XXXXXXXXXXXXXX"
    assert inspect_weights(LICENSED, licensed.weights).state is Weights.READY


def test_a_refused_licence_is_one_error(server: Server, licensed: UserHome) -> None:
    server.respond = lambda handler: handler.send_error(403)
    with pytest.raises(ModelError, match=r"model 481 is not installed .* the server answered 403") as caught:
        download_weights([LICENSED], licensed, Progress())
    assert "totalseg_download_weights" in caught.value.action


def test_offline_is_one_error_that_says_how_to_put_the_weights_there(server: Server, user: UserHome) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        server.address = f"http://127.0.0.1:{free.getsockname()[1]}"  # nobody listens there once it is closed
    with pytest.raises(ModelError, match=r"model 300 is not installed .* no connection to the server") as caught:
        download_weights([BODY], user, Progress())
    assert caught.value.details["file"] == "Dataset300_body_6mm_1559subj.zip"
    assert caught.value.details["folder"] == str(user.weights)
    assert f"download {BODY.url} and unzip it into {user.weights}" in caught.value.action
    assert left_behind(user) == []


def test_a_server_that_does_not_answer_is_given_up(
    server: Server, user: UserHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "READ_SECONDS", 0.2)
    asked, end = threading.Event(), threading.Event()

    def respond(_: BaseHTTPRequestHandler) -> None:
        asked.set()
        end.wait()

    server.respond = respond
    try:
        with pytest.raises(ModelError, match="the server did not answer"):
            download_weights([BODY], user, Progress())
    finally:
        end.set()
    assert asked.wait(60)  # the server's thread may come later than the answer


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


ANSWERS: dict[str, tuple[Callable[[BaseHTTPRequestHandler], None], str]] = {
    "refused": (lambda handler: handler.send_error(404), "the server answered 404"),
    "connection lost": (sending(half(zip_of(files_of(BODY))), len(zip_of(files_of(BODY)))), "could not be downloaded"),
    "cut off": (sending(half(zip_of(files_of(BODY)))), "was not a complete zip"),
    "a web page": (sending(b"<html>please log in</html>"), "was not a complete zip"),
    "another model": (sending(zip_of({"Dataset1_x/plans.json": b"{}"})), "cannot be used"),
    "half a model": (sending(zip_of(dict(list(files_of(BODY).items())[:2]))), "checkpoint_final.pth is missing"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_failed_download_installs_nothing(name: str, server: Server, user: UserHome) -> None:
    server.respond, message = ANSWERS[name]
    with pytest.raises(ModelError, match=message) as caught:
        download_weights([BODY], user, Progress())
    assert str(BODY.url) in caught.value.action
    assert left_behind(user) == []
    assert inspect_weights(BODY, user.weights).state is Weights.MISSING


def test_cancelling_a_download_leaves_nothing(server: Server, user: UserHome) -> None:
    server.respond = sending(zip_of(files_of(BODY)))
    begun = threading.Event()
    progress = Progress(lambda stage, fraction, text: begun.set() if "MB" in text else None, begun.is_set)
    with pytest.raises(Cancelled):
        download_weights([BODY], user, progress)
    assert begun.is_set()
    assert left_behind(user) == []


def test_a_zip_cannot_write_outside_of_its_folder(server: Server, user: UserHome, tmp_path: Path) -> None:
    evil = {"../evil.txt": b"x", "../../evil.txt": b"x", str(tmp_path / "evil.txt"): b"x", "evil.txt": b"x"}
    server.respond = sending(zip_of({**files_of(BODY), **evil}))
    download_weights([BODY], user, Progress())
    assert list(tmp_path.rglob("evil.txt")) == []
    assert left_behind(user) == [BODY.dataset]


def test_what_an_interrupted_download_left_is_swept_by_the_next(server: Server, user: UserHome) -> None:
    install(user.weights / ".activeseg-download-abc", files_of(BODY))
    server.respond = sending(zip_of(files_of(BODY)))
    download_weights([BODY], user, Progress())
    assert left_behind(user) == [BODY.dataset]


def test_weights_that_cannot_be_written_are_one_error(server: Server, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(ModelError, match="could not be written to"):
        download_weights([BODY], UserHome(tmp_path, blocked / "results"), Progress())
