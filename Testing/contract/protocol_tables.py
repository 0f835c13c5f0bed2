"""The protocol's requests and results as tables, from the dataclasses in ``activeseg/client/messages``.

``python3 Testing/contract/protocol_tables.py`` writes them into ``docs/protocol.md``.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from repository import ACTIVESEG, ROOT

sys.path.insert(0, str(ACTIVESEG.parent))

from activeseg.client.messages.calls import METHODS
from activeseg.core.records import names_by_key
from activeseg.engine.methods import METHODS as RUN

PAGE = ROOT / "docs" / "protocol.md"
BEGIN, END = "<!-- messages: written by Testing/contract/protocol_tables.py -->\n", "<!-- end of messages -->"
PLAIN = {str: "text", bool: "true or false", int: "whole number", float: "number", Path: "path", Any: "any"}


def tables() -> str:
    """Every method with its parameters, then every result and what it is made of."""
    lines, shapes = ["## Methods", ""], dict[type, None]()
    for method, request in sorted(METHODS.items()):
        job = method in RUN and RUN[method].is_job
        lines += [f"### `{method}`{' (job)' if job else ''}", "", *told(request)]
        lines += rows(request, "parameter")
        result = request.RESULT
        if dataclasses.fields(result):
            lines += [f"Result: {link(result)}", ""]
        for kind in (request, result):
            shapes |= dict.fromkeys(inner for inner in parts(kind) if inner is not request)
    lines += ["## Results and their parts", ""]
    for shape in sorted((s for s in shapes if dataclasses.fields(s)), key=lambda shape: shape.__name__):
        lines += [f"### {shape.__name__}", "", *told(shape), *rows(shape, "field")]
    return "\n".join(lines)


def parts(kind: Any) -> Iterator[type]:
    """A dataclass and those that its fields hold."""
    if dataclasses.is_dataclass(kind):
        yield kind
        for hint in get_type_hints(kind).values():
            yield from parts(hint)
    for inner in get_args(kind):
        yield from parts(inner)


def rows(kind: type, what: str) -> list[str]:
    """The fields of a dataclass as a table; nothing for one without."""
    keys = {name: key for key, name in names_by_key(kind).items()}
    fields = [field for field in dataclasses.fields(kind) if field.name in keys]
    if not fields:
        return []
    hints, meanings = get_type_hints(kind), {}
    for base in reversed(kind.__mro__):
        meanings |= attributes(base.__dict__.get("__doc__") or "")
    head = [f"| {what} | type | if left out | |", "|---|---|---|---|"]
    return [
        *head,
        *(
            f"| `{keys[f.name]}` | {type_text(hints[f.name])} | {default(f)} | {meanings.get(f.name, '')} |"
            for f in fields
        ),
        "",
    ]


def told(kind: type) -> list[str]:
    """What a class says about itself, without its attributes."""
    text = inspect.cleandoc(kind.__doc__ or "").partition("\nAttributes\n")[0]
    return [marked(" ".join(text.split())), ""]


def attributes(doc: str) -> dict[str, str]:
    """Name -> what the numpydoc section Attributes says about it."""
    _, _, section = inspect.cleandoc(doc).partition("\nAttributes\n----------\n")
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section.splitlines():
        if line and not line.startswith(" "):
            head, _, rest = line.partition(" : ")
            names = head.split(", ")
            found |= dict.fromkeys(names, rest)
        else:
            found |= {name: f"{found[name]} {line.strip()}".strip() for name in names}
    return {name: marked(text) for name, text in found.items()}


def marked(text: str) -> str:
    """As Markdown, with JSON's word for None."""
    text = re.sub(r"\bNone\b", "null", text)
    return re.sub(r"`{2}(.*?)`{2}", r"`\1`", text).replace("|", "\\|")


def link(kind: type) -> str:
    return f"[{kind.__name__}](#{kind.__name__.lower()})"


def type_text(hint: Any) -> str:
    """A type in words."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return type_text(inner[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return ", ".join(f"`{member.value}`" for member in hint)
    if dataclasses.is_dataclass(hint):
        return link(hint)
    if hint in PLAIN:
        return PLAIN[hint]
    if origin is tuple:
        return f"list of {type_text(inner[0])}" if inner[-1] is ... else f"list of {len(inner)}: {type_text(inner[0])}"
    if origin is not None and issubclass(origin if isinstance(origin, type) else type(None), Mapping):
        return "object" if inner[1] is Any else f"object: {type_text(inner[0])} -> {type_text(inner[1])}"
    return " or ".join("null" if one is type(None) else type_text(one) for one in inner)


def default(field: dataclasses.Field[Any]) -> str:
    """What stands for a field that is left out; empty where it must be given."""
    if field.default_factory is not dataclasses.MISSING:
        return "its defaults" if dataclasses.is_dataclass(field.default_factory) else "empty"
    if field.default is dataclasses.MISSING:
        return ""
    named = {None: "null", True: "true", False: "false", "": "empty", (): "empty"}
    value = field.default
    return named[value] if type(value) in (type(None), bool, tuple) or value == "" else f"`{value}`"


def split_page() -> tuple[str, str, str]:
    """The page before the tables, the tables, and after them."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    inside, _, after = rest.partition(END)
    return before, inside, after


def write_tables() -> None:
    before, _, after = split_page()
    PAGE.write_text(f"{before}{BEGIN}{tables()}{END}{after}", "utf-8")


if __name__ == "__main__":
    write_tables()
