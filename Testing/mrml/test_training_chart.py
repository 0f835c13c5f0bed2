"""Loss and Dice of a training in the scene."""

from __future__ import annotations

from typing import Any

import pytest
from slicer_application import SlicerCore

from ActiveSegModuleLib.scene.training_chart import TrainingChart


def epochs(count: int) -> list[dict[str, Any]]:
    return [{"loss": -0.1 * n, "dice": {"liver": 0.5, "spleen": 0.1 * n}} for n in range(count)]


@pytest.fixture
def core() -> SlicerCore:
    return SlicerCore.start()


def nodes(core: SlicerCore) -> list[int]:
    kinds = ("vtkMRMLPlotChartNode", "vtkMRMLPlotSeriesNode", "vtkMRMLTableNode")
    return [core.scene.GetNumberOfNodesByClass(kind) for kind in kinds]


def test_one_epoch_is_no_line_yet(core: SlicerCore) -> None:
    chart = TrainingChart(core.scene)
    chart.show(epochs(1))
    assert chart.node is None
    assert nodes(core) == [0, 0, 0]


def test_loss_and_mean_dice_grow_with_the_epochs(core: SlicerCore) -> None:
    chart = TrainingChart(core.scene)
    chart.show(epochs(2))
    first = chart.node
    chart.show(epochs(5))
    assert chart.node is first
    assert nodes(core) == [1, 2, 1]
    series = first.GetNthPlotSeriesNode(1)
    table = series.GetTableNode().GetTable()
    assert (series.GetXColumnName(), series.GetYColumnName(), table.GetNumberOfRows()) == ("epoch", "mean Dice", 5)
    assert table.GetValueByName(4, "mean Dice").ToDouble() == pytest.approx(0.45)
    assert table.GetValueByName(4, "loss").ToDouble() == pytest.approx(-0.4)


def test_it_comes_again_after_the_scene_was_closed_and_goes_whole(core: SlicerCore) -> None:
    chart = TrainingChart(core.scene)
    chart.show(epochs(3))
    core.scene.Clear(0)
    assert chart.node is None
    chart.show(epochs(3))
    assert nodes(core) == [1, 2, 1]
    chart.remove()
    assert nodes(core) == [0, 0, 0]


def test_it_is_not_saved_with_the_scene(core: SlicerCore) -> None:
    chart = TrainingChart(core.scene)
    chart.show(epochs(2))
    assert not chart.node.GetSaveWithScene()
