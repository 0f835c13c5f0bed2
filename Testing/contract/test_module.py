"""The module's promises that can be read from its files: names in the ``.ui``, texts, imports, where it looks."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest
from repository import MODULE, PACKAGE, relative

UI = sorted((MODULE / "Resources" / "UI").glob("*.ui"))
MAIN = MODULE / "ActiveSegModule.py"
PANEL = sorted((MODULE / "ActiveSegModuleLib" / "panel").glob("*.py"))
SHOWN = [MAIN, *PANEL]
"""Files that hold texts for users."""

INNER_NAMES = {"Slider", "SpinBox", "qt_spinbox_lineedit"}  # parts of widgets that Slicer lists beside ours
PASSIVE = {"QLabel", "QFrame", "QSplitter", "QWidget", "ctkCollapsibleButton", "ctkCollapsibleGroupBox", "qMRMLWidget"}
QT_WIDGETS = re.compile(r"Q[A-Z]\w+")


def elements(kind: str) -> Iterator[ElementTree.Element]:
    """All elements of a kind, of all files."""
    for path in UI:
        yield from ElementTree.parse(path).getroot().iter(kind)


def widgets() -> dict[str, str]:
    """Object name -> class."""
    return {widget.attrib["name"]: widget.attrib["class"] for widget in elements("widget")}


def parameters() -> dict[str, str]:
    """Object name -> the parameter that it is bound to."""
    return {
        widget.attrib["name"]: found[1]
        for widget in elements("widget")
        for prop in widget.findall("property")
        if prop.attrib["name"] == "SlicerParameterName" and (found := (None, prop.findtext("string") or ""))
    }


def touched(text: str) -> set[str]:
    """Names of widgets in code: what follows ``ui.``."""
    return set(re.findall(r"\b_?ui\.([A-Za-z]\w*)", text))


def test_every_widget_has_a_name_of_its_own():
    names = [element.attrib["name"] for kind in ("widget", "layout") for element in elements(kind)]
    assert len(names) == len(set(names))
    assert not INNER_NAMES & set(names)


@pytest.mark.parametrize("path", UI, ids=relative)
def test_every_class_that_is_not_qts_is_declared(path):
    root = ElementTree.parse(path).getroot()
    declared = {entry.findtext("class") for entry in root.iter("customwidget")}
    used = {widget.attrib["class"] for widget in root.iter("widget")}
    assert {name for name in used if not QT_WIDGETS.fullmatch(name)} == declared


def test_every_widget_of_the_scene_is_given_the_scene():
    connected = {(c.findtext("receiver"), c.findtext("signal"), c.findtext("slot")) for c in elements("connection")}
    wanted = {
        (name, "mrmlSceneChanged(vtkMRMLScene*)", "setMRMLScene(vtkMRMLScene*)")
        for name, kind in widgets().items()
        if kind.startswith("qMRML") and kind != "qMRMLWidget"
    }
    assert connected == wanted


def test_every_parameter_of_a_widget_exists():
    (node,) = (n for n in ast.walk(ast.parse(MAIN.read_text("utf-8"))) if _is_class(n, "ActiveSegModuleParameterNode"))
    fields = {statement.target.id for statement in node.body if isinstance(statement, ast.AnnAssign)}
    assert set(parameters().values()) <= fields
    assert len(set(parameters().values())) == len(parameters())


@pytest.mark.parametrize("path", [*SHOWN, MODULE / "ActiveSegModuleLib" / "self_test.py"], ids=relative)
def test_every_widget_that_code_touches_is_in_the_ui(path):
    assert touched(path.read_text("utf-8")) <= set(widgets())


def test_every_widget_that_can_be_used_does_something():
    in_code = set().union(*(touched(path.read_text("utf-8")) for path in SHOWN)) | set(parameters())
    assert {name for name, kind in widgets().items() if kind not in PASSIVE} <= in_code


TIP_FROM_CODE = {"segmentButton", "modelStateButton"}
LABEL_SAYS_IT = {"messageActionButton", "messageOtherButton", "engineActionButton", "setupButton"}
"""Their text changes with what they do, and is all there is to say."""


def test_every_control_has_a_tool_tip():
    kinds = "QPushButton QToolButton QCheckBox QLineEdit QComboBox QSpinBox QPlainTextEdit QTextBrowser ctkSearchBox"
    kinds += " QTableWidget QTableView QListWidget QTreeWidget ctkPathLineEdit ctkDoubleSlider qMRMLNodeComboBox"
    found = {
        widget.get("name")
        for path in sorted((MODULE / "Resources" / "UI").glob("*.ui"))
        for widget in ElementTree.parse(path).iter("widget")
        if widget.get("class") in kinds.split() and not widget.findtext("property[@name='toolTip']/string")
    }
    assert found == TIP_FROM_CODE | LABEL_SAYS_IT


def test_a_long_path_does_not_widen_the_panel():
    """A ctkPathLineEdit wants the width of its text, also as its least width, unless it is told otherwise."""
    for widget in elements("widget"):
        if widget.attrib["class"] == "ctkPathLineEdit":
            told = {prop.attrib["name"]: prop.findtext("enum") for prop in widget.findall("property")}
            assert told.get("sizeAdjustPolicy") == "ctkPathLineEdit::AdjustToMinimumContentsLength", widget.attrib


def test_texts_of_the_ui_can_be_translated_and_names_cannot():
    for prop in elements("property"):
        string = prop.find("string")
        if string is not None and prop.attrib["name"] in ("SlicerParameterName", "shortcut"):
            assert string.attrib.get("notr") == "true", string.text


# Texts in code.

SHOWING_CALLS = {
    *("setText", "setToolTip", "setTitle", "setWindowTitle", "setPlaceholderText", "addItem", "QPushButton"),
    *("notice", "confirm", "infoDisplay", "errorDisplay", "confirmYesNoDisplay", "getExistingDirectory"),
    *("getOpenFileName", "showStatusMessage"),
}
SHOWING_ATTRIBUTES = {"text", "toolTip", "title", "placeholderText", "helpText", "acknowledgementText"}


def untranslated(source: str) -> Iterator[str]:
    """Words that a user would read and that are not wrapped in ``_()``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _name(node.func) in SHOWING_CALLS and node.args:
            shown = [node.args[0]] if _name(node.func) != "getExistingDirectory" else node.args[1:2]
        elif isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Attribute) and target.attr in SHOWING_ATTRIBUTES for target in node.targets
        ):
            shown = [node.value]
        elif isinstance(node, ast.Call) and _name(node.func) == "_":
            if not (node.args and isinstance(node.args[0], ast.Constant)):
                yield f"line {node.lineno}: _() takes a literal"
            continue
        else:
            continue
        for value in shown:
            if isinstance(value, ast.JoinedStr | ast.Constant) and re.search(r"[A-Za-z]{3}", _literal(value)):
                yield f"line {node.lineno}: {_literal(value)!r}"


def _literal(value: ast.expr) -> str:
    if isinstance(value, ast.Constant):
        return value.value if isinstance(value.value, str) else ""
    return "".join(part.value for part in value.values if isinstance(part, ast.Constant))


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _is_class(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.ClassDef) and node.name == name


@pytest.mark.parametrize("path", SHOWN, ids=relative)
def test_every_text_that_users_see_can_be_translated(path):
    assert list(untranslated(path.read_text("utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        'label.text = "Ready"',
        'button.toolTip = f"Load {name}"',
        'combo.addItem("Automatic", "auto")',
        'panel.confirm("Remove it?")',
        '_(f"Load {name}")',
        "_(sentence)",
    ],
)
def test_that_check_can_fail(source):
    assert list(untranslated(source))


# Names.

VIEW_ONLY = {
    "panel": "puts the sections together",
    "section": "what sections know of the panel",
    "current_case": "turns selectors and views to a case; what belongs to it is in scene/case",
    "case_observer": "observes a case for the panel",
    "editing": "Slicer's own editor; what keeps it inside of a region is in scene/region_mask",
    "editor_parts": "the widgets of Slicer's own editor",
    "segment_search": "a search field, and rows of Slicer's own table",
    "closing": "a question when Slicer's window is closed",
    "elided": "the text of a label",
    "at_start": "a button in the status bar about what logic/drafts and logic/training know",
    "installation_texts": "the words of installation and situation",
    "setup": "the card about installation",
    "earlier": "the list of earlier messages",
    "export_texts": "the words of exporting",
    "dataset_cases": "a table; what it asks is in logic/exporting",
    "unclear_segments": "a table",
    "scene_events": "observes the scene for the panel",
    "next_case": "which CT comes next",
    "message": "the bar under the steps",
    "pages": "loads the widgets",
    "steps": "which page is shown",
    "question": "a dialog",
    "check_list": "a list to tick",
    "model_tree": "a tree of models to choose from",
    "run_progress": "bar, stage and time left of a run",
    "region_table": "the list of the page Review; its logic is in logic/review",
    "region_icons": "draws colours, states and bars",
    "alternatives": "a list of what scene/alternatives and scene/slice_picture know",
    "thumbnail": "draws what scene/slice_picture found",
    "heat_map": "buttons for scene/uncertainty",
    "focus": "structures to tick; their regions are found by logic/segmenting",
    "view_3d": "a button for scene/surfaces",
    "undoing": "two buttons for the editor's steps and logic/decisions",
    "keys_card": "tells keys",
    "refining_texts": "the words of refining",
    "prompt_structure": "a combo box of refining",
    "slice_views": "where refining finds Slicer's views",
    "project_cases": "the cases of logic/project",
    "training_plan": "the plan of logic/training",
    "shape_warnings": "a button for scene/shape_warnings",
    "tables": "fills tables, and writes reports as HTML",
}
"""Files of the panel without logic of their own, and why."""

LOGIC_ONLY = {
    "parts": "puts the logic together",
    "warming": "is never seen",
    "decisions": "what the review takes back",
    "case_session": "what refining and spreading ask the engine through",
    "environment_action": "a part of installation",
    "situation": "its words are in panel/installation_texts",
    "run": "what segmenting runs",
    "countdown": "is shown by run_progress",
    "dataset_folder": "what is wrong with a folder; the page exporting says it",
    "export_summary": "what would be stored; the page exporting says it",
}
FOLDERS = {
    name: {p.stem for p in (MODULE / "ActiveSegModuleLib" / name).glob("[a-z]*.py")} for name in ("panel", "logic")
}


def test_logic_and_panel_of_a_section_have_the_same_name():
    assert FOLDERS["panel"] - set(VIEW_ONLY) == FOLDERS["logic"] - set(LOGIC_ONLY)
    assert set(VIEW_ONLY) <= FOLDERS["panel"]
    assert not set(VIEW_ONLY) & FOLDERS["logic"]


def test_logic_knows_no_widgets():
    for path in (MODULE / "ActiveSegModuleLib" / "logic").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert "panel" not in (node.module or ""), path
            elif isinstance(node, ast.Import):
                assert not {alias.name for alias in node.names} & {"qt", "ctk"}, path


@pytest.mark.parametrize("path", sorted(MODULE.rglob("*.py")), ids=relative)
def test_a_file_of_the_module_fits_on_a_few_screens(path):
    assert len(path.read_text("utf-8").splitlines()) <= 400


# Imports.


@pytest.mark.parametrize("path", sorted(MODULE.rglob("*.py")), ids=relative)
def test_nothing_is_installed_or_started_by_importing(path):
    source = path.read_text("utf-8")
    assert "pip_install" not in source
    assert "pip_ensure" not in source
    for node in ast.parse(source).body:  # at file scope nothing is called but what defines names, and the path is set
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            assert ast.unparse(node.value) == "find_activeseg()"


@pytest.mark.parametrize("layout", ["installed", "checkout"])
def test_activeseg_is_found_beside_the_module_and_in_a_checkout(tmp_path, layout):
    module = tmp_path / "ActiveSegModule"
    library = module / "ActiveSegModuleLib"
    library.mkdir(parents=True)
    for name in ("__init__.py", "paths.py"):
        shutil.copy(MODULE / "ActiveSegModuleLib" / name, library)
    project = (module if layout == "installed" else tmp_path) / "ActiveSegExtension"
    shutil.copytree(PACKAGE / "activeseg", project / "activeseg", ignore=shutil.ignore_patterns("*.pth", "__pycache__"))
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from ActiveSegModuleLib.paths import find_activeseg\n"
        "find_activeseg(); find_activeseg()\n"
        "import activeseg; print(activeseg.__file__); print(sys.path.count(sys.argv[2]))"
    )
    command = [sys.executable, "-I", "-c", code, str(module), str(project)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found, count = done.stdout.split("\n")[:2]
    assert Path(found) == project / "activeseg" / "__init__.py"
    assert count == "1"


def test_without_activeseg_the_error_says_where_it_was_looked_for(tmp_path):
    library = tmp_path / "ActiveSegModule" / "ActiveSegModuleLib"
    library.mkdir(parents=True)
    shutil.copy(MODULE / "ActiveSegModuleLib" / "paths.py", library)
    code = "import sys; sys.path.insert(0, sys.argv[1]); import paths; paths.find_activeseg()"
    done = subprocess.run([sys.executable, "-I", "-c", code, str(library)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert str(tmp_path) in done.stderr
    assert "Install ActiveSeg again" in done.stderr


def test_nothing_uses_slicers_single_shot_which_keeps_what_it_is_given() -> None:
    for path in [MODULE / "ActiveSegModule.py", *(MODULE / "ActiveSegModuleLib").rglob("*.py")]:
        assert ".singleShot(" not in path.read_text(encoding="utf-8"), path
