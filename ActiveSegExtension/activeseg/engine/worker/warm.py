"""Models that stay in memory between jobs; the least recently used leave first."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from activeseg.core.segmenter import Segmenter
from activeseg.models import open_model, resolved


class WarmModels:
    """Opened segmenters with the networks that they have loaded, up to ``limit`` bytes of weights together.

    The one used last stays even when it is larger than that.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[str, tuple[Any, Segmenter]] = OrderedDict()

    @property
    def names(self) -> tuple[str, ...]:
        """Least recently used first."""
        return tuple(self._kept)

    def get(self, name: str) -> Segmenter:
        """The segmenter of that name, the kept one if its files have not changed since. Raises ModelError."""
        name = resolved(name)
        kept = self._kept.pop(name, None)
        segmenter = kept[1] if kept is not None and kept[0] == _fingerprint(kept[1]) else open_model(name)
        self._kept[name] = (_fingerprint(segmenter), segmenter)
        return segmenter

    def shrink(self) -> None:
        """Let the oldest go until the rest is within the limit; called after every job."""
        while len(self._kept) > 1 and sum(s.warm_bytes for _, s in self._kept.values()) > self._limit:
            self._kept.popitem(last=False)

    def keep_only(self, name: str) -> None:
        """Let all others go: memory is short."""
        for other in [kept for kept in self._kept if kept != resolved(name)]:
            del self._kept[other]

    def forget(self, name: str) -> None:
        self._kept.pop(resolved(name), None)


def _fingerprint(segmenter: Segmenter) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of a model folder's files: fine-tuning may put another model in its place."""
    found = [(str(path), path.stat()) for path in segmenter.files if path.is_file()]
    return tuple((path, stat.st_size, stat.st_mtime_ns) for path, stat in found)
