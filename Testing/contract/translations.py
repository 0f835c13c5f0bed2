"""The panel's texts and their translations: what the code and the ``.ui`` files hold, and what the ``.ts`` files say.

``python3 Testing/contract/translations.py`` writes new texts into the ``.ts`` files and takes out those that are
gone. It keeps all translations, lists what is to be translated, and makes the ``.qm`` files that Slicer reads.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

from repository import MODULE, ROOT, files

FOLDER = MODULE / "Resources" / "Translations"
GERMAN = FOLDER / "ActiveSeg_de.ts"
PLACEHOLDER = re.compile(r"\{[^{}]*\}|%\d|%p")

Text = tuple[str, str]
"""Qt's context and the English text."""


def context_of(path: Path) -> str:
    """As Slicer finds it for a Python file: with the name of its folder where that is a package."""
    package = (path.parent / "__init__.py").is_file()
    return f"{path.parent.name}.{path.stem}" if package else path.stem


def in_code(path: Path) -> Iterator[Text]:
    """The texts of ``_("...")`` in a Python file, in its order."""
    calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
    for call in sorted(calls, key=lambda call: (call.lineno, call.col_offset)):
        if isinstance(call.func, ast.Name) and call.func.id == "_":
            (text,) = call.args
            if not isinstance(text, ast.Constant) or not isinstance(text.value, str):
                raise ValueError(f"{path.name}:{call.lineno} translates something that is not a plain text.")
            yield context_of(path), text.value


def in_form(path: Path) -> Iterator[Text]:
    """The texts of a ``.ui`` file that are not marked ``notr``."""
    root = ElementTree.parse(path).getroot()
    kept = {text for texts in root.iter("stringlist") if texts.get("notr") for text in texts}
    for text in root.iter("string"):
        if text.text and not text.get("notr") and text not in kept:
            yield root.findtext("class", ""), text.text


def texts() -> list[Text]:
    """All that the panel says, each once, sorted by context."""
    found: dict[Text, None] = {}
    for path in files(MODULE):
        if path.suffix in (".py", ".ui"):
            found.update(dict.fromkeys(in_code(path) if path.suffix == ".py" else in_form(path)))
    return sorted(found, key=lambda text: text[0])


def translations(path: Path = GERMAN) -> dict[Text, str]:
    """What a ``.ts`` file says; empty where something is not translated."""
    found = {}
    for context in ElementTree.parse(path).getroot().iter("context"):
        for message in context.iter("message"):
            unfinished = message.find("translation[@type='unfinished']") is not None
            german = "" if unfinished else message.findtext("translation", "")
            found[context.findtext("name", ""), message.findtext("source", "")] = german
    return found


def fits(text: str, translation: str) -> bool:
    """Whether the same things are put into both; Slicer shows English where they are not."""
    return sorted(PLACEHOLDER.findall(text)) == sorted(PLACEHOLDER.findall(translation))


def write(known: dict[Text, str], path: Path) -> None:
    """The ``.ts`` file of today's texts with the translations that are known."""
    root = ElementTree.Element("TS", version="2.1", language=path.stem.partition("_")[2], sourcelanguage="en")
    context, name = None, None
    for text in texts():
        if text[0] != name or context is None:
            name, context = text[0], ElementTree.SubElement(root, "context")
            ElementTree.SubElement(context, "name").text = name
        message = ElementTree.SubElement(context, "message")
        ElementTree.SubElement(message, "source").text = text[1]
        translation = ElementTree.SubElement(message, "translation")
        translation.text = known.get(text) or elsewhere(text[1], known)
        if not translation.text:
            translation.set("type", "unfinished")
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    path.write_text(f'<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE TS>\n{body}\n', "utf-8")


def elsewhere(text: str, known: dict[Text, str]) -> str:
    """How the same English is translated in another file; most often a text has moved."""
    return next((known[other] for other in known if other[1] == text and known[other]), "")


def release(path: Path) -> Path:
    """The ``.qm`` file of a ``.ts`` file, written by Qt's own lrelease, which comes with PySide6."""
    found = sorted((ROOT / ".venv-slicer").glob("lib/python3*/site-packages/PySide6/lrelease"))
    if not found:
        raise FileNotFoundError("There is no lrelease: run 'python3 Testing/run.py test --only panel' once.")
    made = path.with_suffix(".qm")
    subprocess.run([str(found[-1]), "-silent", str(path), "-qm", str(made)], check=True)
    return made


if __name__ == "__main__":
    total = 0
    for file in sorted(FOLDER.glob("*.ts")):
        write(translations(file), file)
        missing = [text for text, translation in translations(file).items() if not translation]
        for where, text in missing:
            print(f"{where}: {text!r}")
        print(f"{release(file).relative_to(ROOT)} is written; {len(missing)} texts are not translated.")
        total += len(missing)
    sys.exit(bool(total))
