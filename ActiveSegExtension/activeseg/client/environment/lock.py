"""What is installed into the engine's environment: bounds, tested versions, and what is left out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parents[2]

REMEDY = ("activeseg_torchvision.py", "activeseg_torchvision.pth")
"""Lets torchvision of the Python Package Index work beside a CPU build of torch; see its docstring."""

_FOLLOWS_TORCH = frozenset({"torch", "torchvision", "sympy", "mpmath", "setuptools", "networkx", "fsspec", "timm"})


@dataclass(frozen=True)
class Lock:
    """A set of packages.

    Attributes
    ----------
    requirements
        Direct requirements with lower and upper bounds, one a line.
    pins
        The tested versions of these and of what they bring, as constraints.
    excludes
        Names of packages that are never installed, even as requirements of others.
    imports
        Modules that must import afterwards.
    remedy
        Files that are put beside the packages.
    may_lack
        Direct requirements that a Python which the user already has need not have.
    """

    requirements: str
    pins: str
    excludes: str = ""
    imports: tuple[str, ...] = ()
    remedy: tuple[Path, ...] = ()
    may_lack: frozenset[str] = frozenset()

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
        return dict(_entries(self.requirements))

    def with_free_torch(self) -> Lock:
        """The same with any version of torch within the bounds, for machines that the tested one has no build for."""
        lines = [line for line in self.pins.splitlines() if line.partition("#")[0].strip()]
        kept = [line for line, name in zip(lines, names(self.pins), strict=True) if name not in _FOLLOWS_TORCH]
        return replace(self, pins="\n".join(kept) + "\n")

    def outside(self, versions: Mapping[str, str]) -> list[str]:
        """Sentences about packages that are missing in ``versions`` (name -> version) or outside the bounds."""
        found: dict[str, str] = {canonicalize_name(name): version for name, version in versions.items()}
        wrong = []
        for name, specifier in self.bounds().items():
            if name not in found:
                if name in self.may_lack:
                    continue
                wrong.append(f"{name} is missing (needs {specifier or 'any version'})")
            elif not _lies_within(found[name], specifier):
                wrong.append(f"{name} is {found[name]} (needs {specifier})")
        return wrong


def engine_lock() -> Lock:
    """The packages of ActiveSeg's engine, from the files beside this one."""
    requirements, pins, excludes = (
        (_HERE / f"engine-{name}.txt").read_text("utf-8") for name in ("requirements", "lock", "excludes")
    )
    modules = ("torch", "nnunetv2", "totalsegmentator", "cc3d", "SimpleITK", "nibabel", "filelock", "psutil")
    remedy = tuple(_remedy_file(name) for name in REMEDY)
    return Lock(requirements, pins, excludes, modules, remedy, frozenset({"nninteractive"}))


def _remedy_file(name: str) -> Path:
    """In the repository and in Slicer it lies beside the package, in a wheel's environment in the same folder."""
    beside = _ROOT / "environment" / name
    return beside if beside.is_file() else _ROOT / name


def _entries(text: str) -> list[tuple[str, str]]:
    """Normalised names and specifiers in a list of requirements. The specifiers keep their order, for the user."""
    lines = [line for line in (line.partition("#")[0].strip() for line in text.splitlines()) if line]
    found = [(Requirement(line).name, line.partition(";")[0].strip()) for line in lines]
    return [(canonicalize_name(name), line.removeprefix(name).strip()) for name, line in found]


def names(text: str) -> list[str]:
    """The normalised names in a list of requirements."""
    return [name for name, _ in _entries(text)]


def release(version: str) -> tuple[int, ...]:
    """The numbers of a version, ``2.13.0+cpu`` -> (2, 13, 0); a pre-release counts as its release, nonsense as ()."""
    try:
        return Version(version.removesuffix("+")).release  # Pythons between two releases end in "+"
    except InvalidVersion:
        return ()


def _lies_within(version: str, specifier: str) -> bool:
    try:
        return SpecifierSet(specifier).contains(version, prereleases=True)
    except InvalidVersion:
        return False
