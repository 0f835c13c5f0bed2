"""Segmentations of the engine, kept: when a test asks for what another one has asked for, nothing is computed again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from activeseg.client.engine_client import LabelEvent


@dataclass
class KeptAnswers:
    """What an engine told of segmentations, by what was asked for: labels, and the result as the last one."""

    folder: Path
    told: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)

    def keep(self, key: str, answer: Mapping[str, Any]) -> None:
        """One more answer; its files are copied, for the engine will remove them."""
        told = self.told.setdefault(key, [])
        folder = self.folder / key / str(len(told))
        folder.mkdir(parents=True)
        paths = {name: str(shutil.copy2(path, folder / f"{name}.npy")) for name, path in answer["measures"].items()}
        moved = {**answer, "measures": paths, "labels": str(shutil.copy2(answer["labels"], folder / "labels.npy"))}
        if answer.get("regions_folder"):
            moved["regions_folder"] = str(shutil.copytree(answer["regions_folder"], folder / "regions"))
        told.append(moved)


class AnsweredAgain:
    """Stands before the engine of a loaded module, which does all else.

    Nothing is loaded ahead of a segmentation: that takes longer than most of these tests.
    """

    def __init__(self, engine: Any, kept: KeptAnswers) -> None:
        self._later: Callable[[Callable[[], None]], None] = engine.later
        self._request: Callable[..., str] = engine.request
        self._kept = kept
        self._tells = False
        engine.request = self.request

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """Segmentations are kept, and those that are kept told again, as long as this lasts."""
        self._tells = True
        try:
            yield
        finally:
            self._tells = False

    def request(self, method: str, params: Mapping[str, Any] | None = None, **callbacks: Any) -> str:
        if method == "engine.warm":
            return "not loaded ahead"
        if method != "segment" or not self._tells or params is None:
            return self._request(method, params, **callbacks)
        key, draft = _key(params), self._kept.folder / f"{_key(params)}-draft"
        if not draft.exists():
            self._kept.told.pop(key, None)  # a label alone, of a run that was cancelled
            shutil.rmtree(self._kept.folder / key, ignore_errors=True)
            return self._request(method, params, **{**callbacks, **self._keeping(key, draft, params, callbacks)})
        shutil.copytree(draft, params["draft"])
        *labels, result = self._kept.told[key]
        for label in labels:
            self._later(partial(callbacks["on_notice"], LabelEvent(key, label)))
        self._later(partial(callbacks["on_result"], result))
        return key

    def _keeping(
        self, key: str, draft: Path, params: Mapping[str, Any], callbacks: Mapping[str, Any]
    ) -> dict[str, Callable[[Any], None]]:
        def noticed(event: Any) -> None:
            if isinstance(event, LabelEvent):
                self._kept.keep(key, event.result)
            callbacks["on_notice"](event)

        def answered(result: Mapping[str, Any]) -> None:
            self._kept.keep(key, result)
            shutil.copytree(params["draft"], draft)
            callbacks["on_result"](result)

        return {"on_notice": noticed, "on_result": answered}


def _key(params: Mapping[str, Any]) -> str:
    """The same for the same voxels and wishes."""
    array = Path(params["image"]["array"])
    wishes = {name: value for name, value in params.items() if name not in ("draft", "image")}
    wishes["geometry"] = params["image"]["geometry"]
    return hashlib.sha256(json.dumps(wishes, sort_keys=True).encode() + array.read_bytes()).hexdigest()[:16]
