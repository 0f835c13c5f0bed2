"""The rooms of ``activeseg`` and the floors that they lie on, as the code's imports have it.

``python3 Testing/contract/rooms.py`` writes the table in ``docs/architecture.md``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from repository import ACTIVESEG, PACKAGE, ROOT, files

PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- rooms: written by Testing/contract/rooms.py -->\n", "<!-- end of rooms -->"


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module: str) -> str:
    """The room on top of ``activeseg`` that a module lies in; empty for the package's face."""
    return module.partition(".")[2].partition(".")[0]


def imports(path: Path, whole: bool = True) -> Iterator[str]:
    """Every module that a file imports, at its top and, in the ``whole`` of it, inside of functions.

    What is imported for type checkers only does not count.
    """
    tree = ast.parse(path.read_text("utf-8"))
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    inside = {inner for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if node in for_types or (not whole and node in inside):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                continue  # its own package
            assert node.module is not None
            # ``from activeseg.io import nifti`` imports a module of that name, if there is one.
            folder = PACKAGE / Path(*node.module.split("."))
            for alias in node.names:
                yield f"{node.module}.{alias.name}" if (folder / f"{alias.name}.py").is_file() else node.module


PYTHON_FILES = [path for path in files(ACTIVESEG) if path.suffix == ".py"]


def arrows() -> dict[str, set[str]]:
    """Which rooms each room imports from, as the code has it."""
    found: dict[str, set[str]] = {}
    for path in PYTHON_FILES:
        here = room(module_name(path))
        there = {room(name) for name in imports(path) if name.startswith("activeseg.")}
        found.setdefault(here, set()).update(there - {here, ""})
    return {here: there for here, there in found.items() if here}


def floor_of(name: str, arrows: dict[str, set[str]], above: tuple[str, ...] = ()) -> int:
    """1 for a room that imports from no other, else one more than the highest that it imports from."""
    assert name not in above, f"a circle: {' > '.join([*above[above.index(name) :], name])}"
    return 1 + max((floor_of(there, arrows, (*above, name)) for there in arrows[name]), default=0)


def purpose(name: str) -> str:
    """The first sentence of what a room says about itself."""
    path = ACTIVESEG / name / "__init__.py" if (ACTIVESEG / name).is_dir() else ACTIVESEG / f"{name}.py"
    words = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return words.partition("\n\n")[0].replace("\n", " ").replace("``", "`")


def table() -> str:
    """Rooms from the lowest floor to the highest, with what each is for and imports from."""
    found = arrows()
    floors = {name: floor_of(name, found) for name in found}
    lines = ["| floor | room | what it is | imports from |\n|---|---|---|---|\n"]
    for name in sorted(floors, key=lambda name: (floors[name], name)):
        lines.append(f"| {floors[name]} | `{name}` | {purpose(name)} | {', '.join(sorted(found[name])) or '-'} |\n")
    return "".join(lines)


def split_page() -> tuple[str, str, str]:
    """The page before the table, the table, and the page behind it."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    inside, _, after = rest.partition(END)
    return before, inside, after


def write_table() -> None:
    before, _, after = split_page()
    PAGE.write_text(f"{before}{BEGIN}{table()}{END}{after}", "utf-8")


if __name__ == "__main__":
    write_table()
