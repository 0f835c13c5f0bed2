"""Keeps patients out of the log: what requests name, and every path, is replaced before a line is written.

Users are asked to send the log. It tells what was done and where in the code it failed, not with whose images.
"""

from __future__ import annotations

import re
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

REMEMBERED = 400
"""Names that are known at a time, the newest ones; what was printed before a job's end arrives soon after it."""
SHORTEST = 4
"""Characters: shorter names are parts of too many words."""
LONGEST = 2000
_DEEPEST = 6

_PRIVATE = frozenset({"patient", "annotator", "notes", "series", "case", "state", "reason"})
"""Parameters whose texts are private as they are; of all others only paths are."""
_ORDINARY = frozenset(
    re.findall(
        r"\w+",
        """data home users user temp tmp work images image labels label cases case dicom scans scan output input export
        dataset datasets drafts draft projects project models model volume media desktop documents downloads private
        imagestr labelstr prediction predictions activeseg slicer engine versions""",
    )
)
_IMAGE = r"(?:nii(?:\.gz)?|nrrd|nhdr|mha|mhd|dcm|ima|npy|npz|mrb|mrml|zip|raw)"
_QUOTED_PATH = re.compile(r"""(["'])(?:[/\\~]|[A-Za-z]:[\\/]).*?\1""")
_PATH = re.compile(r"""(?<![\w/\\.>])(?:~?/|[A-Za-z]:[\\/]|\\\\)[^\s"']+""")
_FILE = re.compile(rf"""[^\s"'=(\[]+\.{_IMAGE}\b""", re.IGNORECASE)


class Names:
    """What the requests have named so far; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, None] = OrderedDict()
        self._pattern: re.Pattern[str] | None = None
        self._own = _own_folders()

    def learn(self, params: Mapping[str, Any]) -> None:
        """Take note of a request's names."""
        found = list(_names(params, False, _DEEPEST))
        with self._lock:
            for name in found:
                self._known[name] = None
                self._known.move_to_end(name)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
            self._pattern = None

    def hidden(self, line: str) -> str:
        """The line as the log may have it."""
        for folder, instead in self._own:
            line = line.replace(folder, instead)
        pattern = self._compiled()
        if pattern is not None:
            line = pattern.sub("<name>", line)
        return _FILE.sub("<file>", _PATH.sub("<path>", _QUOTED_PATH.sub("<path>", line)))

    def _compiled(self) -> re.Pattern[str] | None:
        with self._lock:
            if self._pattern is None and self._known:
                longest_first = sorted(self._known, key=len, reverse=True)
                told = "|".join(map(re.escape, longest_first))
                self._pattern = re.compile(rf"(?<!\w)(?:{told})(?!\w)", re.IGNORECASE)
            return self._pattern


def _own_folders() -> list[tuple[str, str]]:
    """Where our code and Python's lies: there a line keeps the part that tells where it failed."""
    package = Path(__file__).resolve().parents[3]
    folders = {str(package): ""}
    for prefix in (sys.prefix, sys.base_prefix, str(Path(sys.prefix).resolve()), str(Path(sys.base_prefix).resolve())):
        folders.setdefault(prefix, "python/")
    longest_first = sorted(folders.items(), key=lambda item: len(item[0]), reverse=True)
    return [(folder + separator, instead) for folder, instead in longest_first for separator in "/\\"]


def _names(value: Any, private: bool, depth: int, key: str = "") -> Iterator[str]:
    if isinstance(value, Mapping) and depth:
        for name, entry in value.items():
            yield from _names(entry, private or name in _PRIVATE, depth - 1, str(name))
    elif isinstance(value, list) and depth:
        for entry in value[:REMEMBERED]:
            yield from _names(entry, private, depth - 1, key)
    elif isinstance(value, str) and SHORTEST <= len(value) <= LONGEST:
        if "/" in value or "\\" in value:
            yield from _names_of_path(value)
        elif private or re.search(rf"\.{_IMAGE}$", value, re.IGNORECASE):
            yield value


def _names_of_path(text: str) -> Iterator[str]:
    """The path, its last parts, and these without what follows the first dot."""
    path = PureWindowsPath(text) if "\\" in text else PurePosixPath(text)
    yield text.rstrip("/\\")
    for part in path.parts[-3:]:
        for name in (part, part.split(".")[0]):
            if len(name) >= SHORTEST and name.lower() not in _ORDINARY and not re.fullmatch(r"[\W]+", name):
                yield name
