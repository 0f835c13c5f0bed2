"""What is installed into the engine's environment: bounds, tested versions, and what is left out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parents[2]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_CLAUSE = re.compile(r"(===|==|!=|>=|<=|~=|>|<)\s*([^,;\s]+)")

REMEDY = ("activeseg_torchvision.py", "activeseg_torchvision.pth")
"""Lets torchvision of the Python Package Index work beside a CPU build of torch; see its docstring."""

_FOLLOWS_TORCH = frozenset({"torch", "torchvision", "sympy", "mpmath", "setuptools", "networkx", "fsspec", "timm"})


@dataclass(frozen=True)
class Lock:
    """A set of packages.

    Attributes
    ----------
    requirements : direct requirements with lower and upper bounds, one a line
    pins : the tested versions of these and of what they bring, as constraints
    excludes : names of packages that are never installed, even as requirements of others
    imports : modules that must import afterwards
    remedy : files that are put beside the packages
    """

    requirements: str
    pins: str
    excludes: str = ""
    imports: tuple[str, ...] = ()
    remedy: tuple[Path, ...] = ()

    @property
    def digest(self) -> str:
        """Changes with everything that decides what is installed."""
        parts = (self.requirements, self.pins, self.excludes, *(path.read_text("utf-8") for path in self.remedy))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    @property
    def uses_torch(self) -> bool:
        return "torch" in self.bounds()

    def bounds(self) -> dict[str, str]:
        """Direct requirements: normalised name -> specifier such as ``>=2.8,<2.9``."""
        return {normalised(name): rest for name, rest in _entries(self.requirements)}

    def with_free_torch(self) -> Lock:
        """The same with any version of torch within the bounds, for machines that the tested one has no build for."""
        kept = [line for line in self.pins.splitlines() if normalised(_package(line)) not in _FOLLOWS_TORCH]
        return Lock(self.requirements, "\n".join(kept) + "\n", self.excludes, self.imports, self.remedy)

    def outside(self, versions: Mapping[str, str]) -> list[str]:
        """Sentences about packages that are missing in ``versions`` (name -> version) or outside the bounds."""
        found = {normalised(name): version for name, version in versions.items()}
        wrong = []
        for name, specifier in self.bounds().items():
            if name not in found:
                wrong.append(f"{name} is missing (needs {specifier or 'any version'})")
            elif not satisfies(found[name], specifier):
                wrong.append(f"{name} is {found[name]} (needs {specifier})")
        return wrong


def engine_lock() -> Lock:
    """The packages of ActiveSeg's engine, from the files beside this one."""
    requirements, pins, excludes = (
        (_HERE / f"engine-{name}.txt").read_text("utf-8") for name in ("requirements", "lock", "excludes")
    )
    modules = ("torch", "nnunetv2", "totalsegmentator", "cc3d", "SimpleITK", "nibabel", "filelock", "psutil")
    return Lock(requirements, pins, excludes, modules, tuple(_remedy_file(name) for name in REMEDY))


def _remedy_file(name: str) -> Path:
    """In the repository and in Slicer it lies beside the package, in a wheel's environment in the same folder."""
    beside = _ROOT / "environment" / name
    return beside if beside.is_file() else _ROOT / name


def normalised(name: str) -> str:
    """A package's name as PEP 503 compares them."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _package(line: str) -> str:
    match = _NAME.match(line.strip())
    return match[0] if match else ""


def _entries(text: str) -> list[tuple[str, str]]:
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    return [(_package(line), line[len(_package(line)) :].strip()) for line in lines if line]


def count(text: str) -> int:
    """How many packages a list of requirements names."""
    return len(_entries(text))


def names(text: str) -> list[str]:
    """The normalised names in a list of requirements."""
    return [normalised(name) for name, _ in _entries(text)]


def release(version: str) -> tuple[int, ...]:
    """The numbers of a version, ``2.13.0+cpu`` -> (2, 13, 0); a pre-release counts as its release."""
    match = re.match(r"\d+(?:\.\d+)*", version.strip())
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def satisfies(version: str, specifier: str) -> bool:
    """Whether a version lies within bounds. Enough of PEP 440 for the files here: releases, and ``==`` with ``.*``."""
    return all(_clause_holds(release(version), kind, value) for kind, value in _CLAUSE.findall(specifier))


def _clause_holds(version: Sequence[int], kind: str, value: str) -> bool:
    wanted = release(value)
    if value.endswith(".*"):
        same = tuple(version[: len(wanted)]) == wanted
        return same if kind == "==" else not same
    length = max(len(version), len(wanted))
    left = tuple(version) + (0,) * (length - len(version))
    right = wanted + (0,) * (length - len(wanted))
    if kind == "~=":
        return left >= right and left[: len(wanted) - 1] == right[: len(wanted) - 1]
    comparisons = {
        "==": left == right,
        "===": left == right,
        "!=": left != right,
        ">=": left >= right,
        "<=": left <= right,
        ">": left > right,
        "<": left < right,
    }
    return comparisons[kind]
