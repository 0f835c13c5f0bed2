"""Slicer's own slice and 3D views, drawn off screen, without Qt and without a display."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from slicer_application import SlicerCore, quiet
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

SLICE_MANAGERS = (
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
)
THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
)
BAR_PIXELS = 5

Pixels = np.ndarray
"""(height, width, 3), uint8, first row on top."""


class _View:
    """A render window off screen whose renderer is filled by displayable managers."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.window.SetAlphaBitPlanes(1)
        self.window.SetSize(*size)
        self.renderer = vtk.vtkRenderer()
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkGenericRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.interactor.Initialize()

    def fill(self, factory: Any, app: Any, managers: Iterable[str]) -> None:
        factory.SetMRMLApplicationLogic(app)
        for manager in managers:
            if not factory.IsDisplayableManagerRegistered(manager):
                factory.RegisterDisplayableManager(manager)
        self.managers = slicer.vtkMRMLDisplayableManagerGroup()
        self.managers.SetRenderer(self.renderer)
        self.managers.Initialize(factory, self.renderer)

    def caption(self, text: str) -> None:
        """Write into the upper left corner, as Slicer's corner annotation does."""
        if not hasattr(self, "annotation"):
            self.annotation = vtk.vtkCornerAnnotation()
            self.annotation.SetMaximumFontSize(16)
            self.annotation.GetTextProperty().ShadowOn()
            self.renderer.AddViewProp(self.annotation)
        self.annotation.SetText(vtk.vtkCornerAnnotation.UpperLeft, text)

    def pixels(self) -> Pixels:
        """The view as it looks now."""
        self.window.Render()
        shot = vtk.vtkWindowToImageFilter()
        shot.SetInput(self.window)
        shot.ReadFrontBufferOff()
        shot.Update()
        width, height, _ = shot.GetOutput().GetDimensions()
        rows = vtk_to_numpy(shot.GetOutput().GetPointData().GetScalars()).reshape(height, width, -1)
        return rows[::-1, :, :3].copy()


class SliceView(_View):
    """One slice view: ``node`` (vtkMRMLSliceNode), ``composite`` (vtkMRMLSliceCompositeNode), ``logic``."""

    def __init__(self, core: SlicerCore, name: str = "Red", size: tuple[int, int] = (480, 400)) -> None:
        with quiet():
            super().__init__(size)
            self.name = name
            self.renderer.GetActiveCamera().ParallelProjectionOn()
            # The image comes first: managers that add their actors before it would be hidden behind it.
            self.mapper = vtk.vtkImageMapper()
            self.mapper.SetColorWindow(255)
            self.mapper.SetColorLevel(127.5)
            image = vtk.vtkActor2D()
            image.SetMapper(self.mapper)
            image.GetProperty().SetDisplayLocationToBackground()
            self.renderer.AddViewProp(image)
            self.fill(slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance(), core.app, SLICE_MANAGERS)
            self.logic = slicer.vtkMRMLSliceLogic()
            self.logic.SetMRMLApplicationLogic(core.app)
            core.app.GetSliceLogics().AddItem(self.logic)
            self.logic.SetMRMLScene(core.scene)
            self.node = core.scene.GetSingletonNode(name, "vtkMRMLSliceNode")
            self.logic.SetSliceNode(self.node)
            self.managers.SetMRMLDisplayableNode(self.node)
            self.composite = self.logic.GetSliceCompositeNode()
            self.logic.ResizeSliceNode(*size)

    def fit(self) -> None:
        """Show the whole background volume."""
        self.logic.FitSliceToBackground(*self.size)
        self.logic.SnapSliceOffsetToIJK()

    def pixel_of(self, point_ras: Iterable[float]) -> tuple[int, int]:
        """Row and column of the pixel that shows a point (RAS mm of the scene) of this slice."""
        to_xy = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self.node.GetXYToRAS(), to_xy)
        x, y, _, _ = to_xy.MultiplyPoint([*point_ras, 1.0])
        return self.size[1] - 1 - round(y), round(x)

    def pixels(self) -> Pixels:
        self.mapper.SetInputConnection(self.logic.GetImageDataConnection())
        return super().pixels()


class ThreeDView(_View):
    """One 3D view: ``node`` (vtkMRMLViewNode)."""

    def __init__(self, core: SlicerCore, name: str = "1", size: tuple[int, int] = (480, 400)) -> None:
        with quiet():
            super().__init__(size)
            self.name = name
            self.renderer.GradientBackgroundOn()
            self.fill(slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance(), core.app, THREE_D_MANAGERS)
            self.node = core.scene.GetSingletonNode(name, "vtkMRMLViewNode")
            self.node.SetBoxVisible(False)
            self.node.SetAxisLabelsVisible(False)
            self.managers.SetMRMLDisplayableNode(self.node)

    def look_from_the_front(self, bounds_ras: Iterable[float] | None = None) -> None:
        """Point the camera at everything, or at a box (six numbers, mm), from anterior and slightly from above."""
        self.window.Render()
        camera = self.renderer.GetActiveCamera()
        camera.SetFocalPoint(0, 0, 0)
        camera.SetPosition(0.25, 1, 0.2)
        camera.SetViewUp(0, 0, 1)
        self.renderer.ResetCamera(*([bounds_ras] if bounds_ras is not None else []))
        camera.Zoom(1.25)
        self.renderer.ResetCameraClippingRange()


def four_up(red: SliceView, three_d: ThreeDView, green: SliceView, yellow: SliceView) -> Pixels:
    """The four views as Slicer's Four-Up layout places them, with its coloured bars."""
    rows = [np.hstack([_barred(left), _barred(right)]) for left, right in ((red, three_d), (green, yellow))]
    return np.vstack(rows)


def side_by_side(*views: _View) -> Pixels:
    """Views of one height in a row, with their coloured bars."""
    return np.hstack([_barred(view) for view in views])


def _barred(view: Any) -> Pixels:
    pixels = view.pixels()
    bar = np.zeros((BAR_PIXELS, pixels.shape[1], 3), np.uint8)
    bar[:] = np.round(np.array(view.node.GetLayoutColor()) * 255)
    framed = np.vstack([bar, pixels])
    framed[:, -2:] = 20
    framed[-2:, :] = 20
    return framed


def write_png(path: Path, pixels: Pixels) -> None:
    image = vtk.vtkImageData()
    image.SetDimensions(pixels.shape[1], pixels.shape[0], 1)
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(pixels[::-1]).reshape(-1, 3), deep=True))
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(image)
    writer.Write()
