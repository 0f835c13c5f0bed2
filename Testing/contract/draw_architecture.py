"""Draws ``docs/architecture.svg``: the processes, what they say to each other, and the folders that they share.

``python3 Testing/contract/draw_architecture.py`` writes it; the picture is SVG by hand, so that it needs no library.
"""

from __future__ import annotations

from html import escape

from repository import ROOT

WIDTH, HEIGHT = 1000, 560
FONT = "Helvetica, Arial, sans-serif"
INK, PALE = "#1f2933", "#52606d"
FILLS = {"slicer": "#e3f0fb", "engine": "#e8f5e9", "training": "#fff4e0", "disk": "#f1f3f5"}


def text(
    x: float, y: float, words: str, size: int = 14, bold: bool = False, fill: str = INK, middle: bool = False
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    anchor = ' text-anchor="middle"' if middle else ""
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{fill}"{weight}{anchor}>{escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, fill: str, title: str, *lines: str) -> str:
    """A rounded box with a title and what stands in it."""
    where = f'x="{x}" y="{y}" width="{width}" height="{height}"'
    frame = f'<rect {where} rx="8" fill="{fill}" stroke="{PALE}" stroke-width="1"/>'
    inside = [text(x + 14, y + 46 + 19 * n, line, 13, fill=PALE) for n, line in enumerate(lines)]
    return "\n".join([frame, text(x + 14, y + 24, title, 15, bold=True), *inside])


def arrow(x1: float, y1: float, x2: float, y2: float, words: str = "", both: bool = False, at: float = -8) -> str:
    start = ' marker-start="url(#head)"' if both else ""
    where = f'x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"'
    line = f'<line {where} stroke="{INK}" stroke-width="1.5" marker-end="url(#head)"{start}/>'
    return "\n".join([line, text((x1 + x2) / 2, (y1 + y2) / 2 + at, words, 12, middle=True)] if words else [line])


def drawing() -> str:
    """The picture as the text of an SVG file."""
    white = "#ffffff"
    parts = [
        box(20, 20, 300, 300, FILLS["slicer"], "3D Slicer", "what stock Slicer has, nothing installed"),
        box(40, 92, 260, 48, white, "panel: widgets"),
        box(40, 152, 260, 48, white, "logic: what a button does"),
        box(40, 212, 122, 88, white, "scene", "arrays to nodes", "and back"),
        box(178, 212, 122, 88, white, "engine", "client of the", "engine"),
        box(440, 20, 540, 300, FILLS["engine"], "Engine (its own Python environment)", "ends when its pipe closes"),
        box(460, 92, 230, 208, white, "supervisor", "answers at once", "keeps jobs in order", "no torch"),
        box(760, 92, 200, 96, white, "worker", "networks, exports,", "one long job at a time"),
        box(760, 204, 200, 96, white, "clerk", "drafts, projects, lists;", "never waits for a network"),
        arrow(302, 256, 456, 256, "JSON lines, pipes", both=True),
        arrow(692, 140, 756, 140, both=True),
        arrow(692, 252, 756, 252, both=True),
        box(760, 350, 220, 82, FILLS["training"], "training", "detached; survives Slicer,", "talks through its folder"),
        arrow(860, 302, 860, 346),
        text(890, 340, "starts", 12, middle=True),
        box(20, 350, 300, 82, FILLS["slicer"], "command line, Python", "the same functions", "in one process"),
        box(20, 462, 960, 82, FILLS["disk"], "Folders, each with one commit point (docs/formats.md)"),
        text(34, 514, "prediction: folder exchanged whole  |  draft: draft.json  |  dataset: dataset.json  |  "
             "project: project.json  |  version: folder renamed", 13, fill=PALE),
        arrow(170, 434, 170, 458, both=True),
        arrow(575, 322, 575, 458, both=True),
        arrow(870, 434, 870, 458, both=True),
    ]  # fmt: skip
    head = (
        '<marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        f'orient="auto-start-reverse"><path d="M0 0 L10 5 L0 10 z" fill="{INK}"/></marker>'
    )
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="{FONT}">'
    ground = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
    return "\n".join([opening, f"<defs>{head}</defs>", ground, *parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    (ROOT / "docs" / "architecture.svg").write_text(drawing(), "utf-8")
