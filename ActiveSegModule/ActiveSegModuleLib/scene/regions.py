"""The regions to review: a table of them, a box around one, and views that jump there and frame it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import slicer
import vtk

from activeseg.core.correction import Region, RegionState
from activeseg.core.errors import InputError
from activeseg.core.geometry import FloatArray, Geometry
from activeseg.core.records import damaged, from_json

from ..slicer_types import Node, Scene, VtkObject
from .hierarchy import place_under
from .placement import put_under_transform_of, to_world, vtk_matrix
from .views import put_crosshair, show_around

COLUMNS = ("Region", "Structures", "Score", "Size (ml)", "State", "R (mm)", "A (mm)", "S (mm)")
_CT_ROLE = "ActiveSeg.CT"
_REGIONS_ATTRIBUTE = "ActiveSeg.Regions"
_GEOMETRY_ATTRIBUTE = "ActiveSeg.Geometry"
_STATES = frozenset(RegionState)
_SMALLEST_VIEW_MM = 60.0
_MOST_ROWS = 10_000
_AROUND = 1.6  # the shorter side of a view, in longest sides of the region's box


class RegionTable:
    """A vtkMRMLTableNode with one row for each region, and what is needed to go there.

    Attributes
    ----------
    node : the vtkMRMLTableNode; it refers to its CT and keeps the regions as a node attribute
    """

    def __init__(self, node: Node) -> None:
        self.node = node

    @classmethod
    def create(
        cls, scene: Scene, ct_node: Node, regions: Iterable[Mapping[str, Any]], geometry: Geometry, name: str
    ) -> RegionTable:
        """Make the table from entries of ``regions.json``; ``geometry`` is the grid of the prediction's label map."""
        entries = [dict(region) for region in regions]
        listed = [_region(entry) for entry in entries]
        node = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
        node.SetNodeReferenceID(_CT_ROLE, ct_node.GetID())
        node.SetAttribute(_REGIONS_ATTRIBUTE, json.dumps(entries))
        node.SetAttribute(_GEOMETRY_ATTRIBUTE, json.dumps(geometry.to_dict()))
        node.SetUseColumnTitleAsColumnHeader(True)
        made = cls(node)
        rows = [
            (
                r.number,
                ", ".join(r.structures),
                r.score,
                r.size_mm3 / 1000,
                str(r.state),
                *to_world(ct_node, r.center_ras),
            )
            for r in listed
        ]
        table = vtk.vtkTable()
        for column, column_name in enumerate(COLUMNS):
            table.AddColumn(_column(column_name, [row[column] for row in rows]))
        node.SetAndObserveTable(table)
        place_under(scene, ct_node, node)
        return made

    @property
    def ct_node(self) -> Node:
        """Raises InputError when the CT was removed from the scene."""
        ct_node = self.node.GetNodeReference(_CT_ROLE)
        if ct_node is None:
            raise InputError(f"The CT of '{self.node.GetName()}' is no longer in the scene.", "Load the CT again.")
        return ct_node

    def set_ct(self, ct_node: Node) -> None:
        """Belong to another volume node with the same voxels."""
        self.node.SetNodeReferenceID(_CT_ROLE, ct_node.GetID())

    @property
    def geometry(self) -> Geometry:
        """The grid that the regions' boxes count on."""
        return _geometry_in(self.node.GetAttribute(_GEOMETRY_ATTRIBUTE) or "")

    @property
    def is_readable(self) -> bool:
        """Whether it says what it should; it may come from any scene, where anything may be written."""
        try:
            return bool(self.geometry) and self.regions is not None
        except InputError:
            return False

    @property
    def regions(self) -> tuple[Region, ...]:
        """All regions as they were made, worst first; their states now are in ``states``. Raises InputError."""
        return tuple(region for _entry, region in self._listed().values())

    def entry(self, number: int) -> Mapping[str, Any]:
        """The region as ``regions.json`` has it. Raises InputError when there is no region of that number."""
        return self._at(number)[0]

    def region(self, number: int) -> Region:
        """Raises InputError when there is no region of that number."""
        return self._at(number)[1]

    def states(self) -> dict[int, RegionState]:
        """What the table says now, by region number; a region whose row was removed has the state that it came with.

        Where another word was written into the table the region is open: nobody has decided on it.
        """
        found = {region.number: region.state for region in self.regions}
        column = COLUMNS.index("State")
        for row, number in self._rows():
            text = self.node.GetCellText(row, column).strip().lower()
            found[number] = RegionState(text) if text in _STATES else RegionState.OPEN
        return found

    def set_state(self, number: int, state: RegionState) -> None:
        """Write a state into the table. Raises InputError when the region has no row."""
        for row, row_number in self._rows():
            if row_number == number:
                self.node.SetCellText(row, COLUMNS.index("State"), str(state))
                return
        raise InputError(f"Region {number} has no row in '{self.node.GetName()}'.")

    def center_world(self, number: int) -> tuple[float, float, float]:
        """The region's centre in RAS mm of the scene, after the CT's parent transforms as they are now."""
        return to_world(self.ct_node, self.region(number).center_ras)

    def update_centers(self) -> None:
        """Write the centres again, after the CT was moved by a transform."""
        for row, number in self._rows():
            for name, value in zip(COLUMNS[-3:], self.center_world(number), strict=True):
                self.node.SetCellText(row, COLUMNS.index(name), f"{value:.2f}")

    def jump_to(self, number: int, frame: bool = True) -> None:
        """Show a region in all views of the scene.

        ``frame`` centres the slice views on it at a zoom that shows the region and what lies around it, and turns 3D
        views towards it; without, only the slices move. The crosshair, where it is shown, goes there in any case.
        """
        scene, center = self.node.GetScene(), self.center_world(number)
        if frame:
            show_around(scene, center, max(_SMALLEST_VIEW_MM, max(self._box_mm(number)) * _AROUND))
        else:
            put_crosshair(scene, center)
            slicer.vtkMRMLSliceNode.JumpAllSlices(scene, *center, slicer.vtkMRMLSliceNode.OffsetJumpSlice)

    def corners_world(self, number: int) -> FloatArray:
        """The corners of the region's box, (8, 3), RAS mm of the scene."""
        spans = [(start - 0.5, stop - 0.5) for start, stop in self.region(number).box_kji]
        corners_ijk = np.array([[i, j, k] for k in spans[0] for j in spans[1] for i in spans[2]])
        return np.array([to_world(self.ct_node, ras) for ras in self.geometry.ras_of_ijk(corners_ijk)])

    def _box_mm(self, number: int) -> tuple[float, ...]:
        """The lengths of the region's box."""
        spans = self.region(number).box_kji[::-1]
        return tuple((stop - start) * mm for (start, stop), mm in zip(spans, self.geometry.spacing_xyz, strict=True))

    def _listed(self) -> Mapping[int, tuple[Mapping[str, Any], Region]]:
        return _listed_in(self.node.GetAttribute(_REGIONS_ATTRIBUTE) or "")

    def _at(self, number: int) -> tuple[Mapping[str, Any], Region]:
        listed = self._listed()
        if number not in listed:
            raise InputError(f"There is no region {number}.", f"There are {len(listed)} regions.")
        return listed[number]

    def _rows(self) -> Iterator[tuple[int, int]]:
        """Row and region number, in whatever order the user sorted them; rows of no region are left out."""
        table, known = self.node.GetTable(), self._listed()
        column = table.GetColumnByName(COLUMNS[0]) if table is not None else None
        if column is None or table.GetNumberOfColumns() < len(COLUMNS):
            return
        for row in range(min(self.node.GetNumberOfRows(), _MOST_ROWS)):
            number = column.GetVariantValue(row).ToDouble()
            if math.isfinite(number) and int(number) in known:
                yield row, int(number)


class RegionBox:
    """A thin frame around one region, which the user can neither drag nor select.

    Attributes
    ----------
    node : vtkMRMLMarkupsROINode
    """

    def __init__(self, node: Node) -> None:
        self.node = node

    @classmethod
    def create(cls, scene: Scene, ct_node: Node, name: str = "Region", saved: bool = False) -> RegionBox:
        """A frame under the CT's transform, not shown yet; ``saved``: written with the scene, and offered by lists."""
        node = slicer.vtkMRMLMarkupsROINode()
        node.SetName(name)
        node.SetHideFromEditors(not saved)
        node = scene.AddNode(node)
        put_under_transform_of(node, ct_node)
        node.SetSaveWithScene(saved)
        node.SetSelectable(False)
        node.SetLocked(True)
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        display.SetHandlesInteractive(False)
        display.SetFillVisibility(False)
        display.SetPropertiesLabelVisibility(False)
        display.SetPointLabelsVisibility(False)
        display.SetUseGlyphScale(False)
        display.SetGlyphSize(0.01)
        display.SetSelectedColor(1.0, 0.85, 0.1)
        display.SetColor(1.0, 0.85, 0.1)
        display.SetOccludedVisibility(True)  # in 3D it is inside of the body
        display.SetOccludedOpacity(0.6)
        display.SetVisibility(False)
        place_under(scene, ct_node, node)
        return cls(node)

    def move_to(self, table: RegionTable, number: int) -> None:
        """Show the frame around a region."""
        region, geometry = table.region(number), table.geometry
        low, high = (np.array([span[end] for span in region.box_kji[::-1]]) for end in (0, 1))
        axes = np.diag([-1.0, -1.0, 1.0]) @ geometry.direction_matrix
        if np.linalg.det(axes) < 0:  # a box looks the same from either end, and the node wants a right-handed frame
            axes = axes @ np.diag([1.0, 1.0, -1.0])
        box_to_ras = np.eye(4)
        box_to_ras[:3, :3] = axes
        box_to_ras[:3, 3] = geometry.ras_of_ijk((low + high - 1) / 2)
        was_modifying = self.node.StartModify()
        self.node.SetAndObserveObjectToNodeMatrix(vtk_matrix(box_to_ras))
        self.node.SetSize(*((high - low) * np.array(geometry.spacing_xyz)))
        self.node.EndModify(was_modifying)
        self.node.GetDisplayNode().SetVisibility(True)

    def follow(self, ct_node: Node) -> None:
        """Lie under the CT's transform, which the user may have changed."""
        put_under_transform_of(self.node, ct_node)

    def hide(self) -> None:
        self.node.GetDisplayNode().SetVisibility(False)


@lru_cache(maxsize=32)
def _listed_in(text: str) -> Mapping[int, tuple[Mapping[str, Any], Region]]:
    """What the attribute says, by number; read once, for every click asks for it. Raises InputError."""
    try:
        entries = [(dict(entry), _region(entry)) for entry in json.loads(text)]
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError("The list of regions is damaged.", "Find the regions again.") from error
    return {region.number: (entry, region) for entry, region in entries}


@lru_cache(maxsize=32)
def _geometry_in(text: str) -> Geometry:
    try:
        return Geometry.from_dict(json.loads(text))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError("The list of regions is damaged.", "Find the regions again.") from error


def _region(entry: Mapping[str, Any]) -> Region:
    with damaged(InputError, "The region", "Choose the regions.json of a prediction."):
        return from_json(Region, entry)


def _column(name: str, values: list[Any]) -> VtkObject:
    """A vtkTable column of whole numbers, floats or texts."""
    if all(isinstance(value, str) for value in values):
        column = vtk.vtkStringArray()
    elif all(isinstance(value, int) for value in values):
        column = vtk.vtkIntArray()
    else:
        column = vtk.vtkDoubleArray()
    column.SetName(name)
    for value in values:
        column.InsertNextValue(value)
    return column
