"""The lists of files in the CMakeLists.txt of both parts: what they hold, what they should hold.

``python3 Testing/contract/cmake_lists.py`` writes what is missing into them, and the tables in ``docs/``.
"""

from __future__ import annotations

import re
from pathlib import Path

from repository import MODULE, PACKAGE, files
from rooms import write_table

PARTS = {PACKAGE: ("activeseg", "environment", "pyproject.toml", "LICENSE.txt"), MODULE: (".",)}
LISTS = ("SCRIPTS", "RESOURCES")


def pattern(name: str) -> re.Pattern[str]:
    return re.compile(rf"(set\({name}\n)(.*?)(  \))", re.DOTALL)


def listed(folder: Path, name: str) -> list[str]:
    """The files that ``set(NAME ...)`` names."""
    found = pattern(name).search((folder / "CMakeLists.txt").read_text("utf-8"))
    assert found, f"{folder.name}/CMakeLists.txt has no set({name} ...)"
    return found[2].split()


def on_disk(folder: Path, *parts: str) -> list[str]:
    """The files of ``parts`` (folders or files), relative to ``folder``, sorted."""
    paths = [p for part in parts for p in ([folder / part] if (folder / part).is_file() else files(folder / part))]
    return sorted(path.relative_to(folder).as_posix() for path in paths if path.name != "CMakeLists.txt")


def wanted(folder: Path, name: str) -> list[str]:
    """What ``set(NAME ...)`` should hold: Python files are scripts, all others resources."""
    return [file for file in on_disk(folder, *PARTS[folder]) if file.endswith(".py") == (name == "SCRIPTS")]


if __name__ == "__main__":
    for folder in PARTS:
        text = (folder / "CMakeLists.txt").read_text("utf-8")
        for name in LISTS:
            lines = "".join(f"  {file}\n" for file in wanted(folder, name))
            text = pattern(name).sub(rf"\g<1>{lines}\g<3>", text)
        (folder / "CMakeLists.txt").write_text(text, "utf-8")
    write_table()

    from protocol_tables import write_tables  # needs numpy

    write_tables()
