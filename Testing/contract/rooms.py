"""The rooms of ``activeseg`` and the floors that they lie on, as the code's imports have it.

``python3 Testing/contract/rooms.py`` writes the table in ``docs/architecture.md``.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Collection, Mapping
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


@functools.cache
def imports(path: Path, whole: bool = True) -> tuple[str, ...]:
    """Every module that a file imports: when it is imported, and, in the ``whole`` of it, in functions or for types."""
    tree = ast.parse(path.read_text("utf-8"))
    nodes = list(ast.walk(tree))
    inside: set[ast.AST] = set()
    if not whole:
        later: list[ast.AST] = [node for node in nodes if isinstance(node, ast.FunctionDef)]
        later += [node for node in nodes if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
        inside = {inner for node in later for inner in ast.walk(node)}
    found = []
    for node in nodes:
        if node in inside:
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:  # else its own package
            assert node.module is not None
            # ``from activeseg.io import nifti`` imports a module of that name, if there is one.
            folder = PACKAGE / Path(*node.module.split("."))
            for alias in node.names:
                found.append(f"{node.module}.{alias.name}" if (folder / f"{alias.name}.py").is_file() else node.module)
    return tuple(found)


PYTHON_FILES = [path for path in files(ACTIVESEG) if path.suffix == ".py"]


def arrows() -> dict[str, set[str]]:
    """Which rooms each room imports from, as the code has it."""
    found: dict[str, set[str]] = {}
    for path in PYTHON_FILES:
        here = room(module_name(path))
        there = {room(name) for name in imports(path) if name.startswith("activeseg.")}
        found.setdefault(here, set()).update(there - {here, ""})
    return {here: there for here, there in found.items() if here}


def floors(arrows: Mapping[str, Collection[str]]) -> dict[str, int]:
    """1 for what imports nothing, else one more than the highest that it imports. A circle is an AssertionError."""
    found: dict[str, int] = {}

    def floor(name: str, above: tuple[str, ...] = ()) -> int:
        assert name not in above, f"a circle: {' > '.join([*above[above.index(name) :], name])}"
        if name not in found:
            found[name] = 1 + max((floor(there, (*above, name)) for there in arrows[name]), default=0)
        return found[name]

    for name in arrows:
        floor(name)
    return found


def purpose(name: str) -> str:
    """The first sentence of what a room says about itself."""
    path = ACTIVESEG / name / "__init__.py" if (ACTIVESEG / name).is_dir() else ACTIVESEG / f"{name}.py"
    words = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return words.partition("\n\n")[0].replace("\n", " ").replace("``", "`")


def table() -> str:
    """Rooms from the lowest floor to the highest, with what each is for and imports from."""
    found = arrows()
    floor = floors(found)
    lines = ["| floor | room | what it is | imports from |\n|---|---|---|---|\n"]
    for name in sorted(floor, key=lambda name: (floor[name], name)):
        lines.append(f"| {floor[name]} | `{name}` | {purpose(name)} | {', '.join(sorted(found[name])) or '-'} |\n")
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
