"""What is unusual about the shapes of a case's structures, and going there."""

from __future__ import annotations

from activeseg.core.json_values import WrongField
from activeseg.core.records import from_json
from activeseg.core.shapes import ShapeWarning

from .case import Case
from .placement import to_world
from .views import show_around

_AROUND_MM = 120.0
"""The shorter side of a slice view: most organs fit in."""


def warnings_of(case: Case) -> tuple[ShapeWarning, ...]:
    """As the model said when it made the case; none where that cannot be read, for a scene may come from anywhere."""
    try:
        found = from_json(tuple[ShapeWarning, ...], case.record.get("warnings", []))
    except WrongField:
        return ()
    return tuple(warning for warning in found if warning.structure in case.decided)


def jump_to(case: Case, warning: ShapeWarning) -> None:
    """Show its place in all views, wherever the CT lies now. Raises InputError when the CT was removed."""
    show_around(case.node.GetScene(), to_world(case.ct_node, warning.center_ras), _AROUND_MM)
