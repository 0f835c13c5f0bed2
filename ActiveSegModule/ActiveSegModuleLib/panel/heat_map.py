"""The line below the list of regions: the heat map of the uncertainty, and the structures as outlines."""

from __future__ import annotations

from slicer.i18n import tr as _

from activeseg.core.uncertainty_scale import shown_threshold

from ..engine.signals import connect
from ..scene.case import Case
from ..scene.uncertainty import UncertaintyVolume
from ..slicer_types import Widget
from .section import Panel


class HeatMap:
    """Shows one uncertainty map of the case that is reviewed, as the parameter node says."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._ui = ui = panel.ui
        self._review = panel.logic.review
        self._shown: UncertaintyVolume | None = None
        self._automatic: dict[str, tuple[str, float] | None] = {}  # by case: what was not chosen
        connect(ui.heatMapButton, "clicked()", self._on_heat_map)
        connect(ui.outlineButton, "clicked()", self._on_outline)

    def update(self, case: Case | None) -> None:
        """Show, hide and colour the map; the buttons follow."""
        node = self._panel.parameter_node
        maps = case.uncertainty if case is not None else {}
        wanted = maps.get(node.measure) or next(iter(maps.values()), None) if node.showUncertainty else None
        self._update_buttons(case, bool(maps))
        if self._shown is not None and (wanted is None or wanted.node is not self._shown.node):
            if self._panel.scene.IsNodePresent(self._shown.node):
                self._shown.hide()
                self._shown.node.SetHideFromEditors(True)
            self._shown = None
        if wanted is None or case is None or not case.has_ct:
            return
        if self._shown is None:
            wanted.node.SetHideFromEditors(False)
            wanted.show(case.ct_node, node.opacity)
            self._shown = wanted
        wanted.set_threshold(node.threshold)
        wanted.set_opacity(node.opacity)
        if node.legend:
            wanted.add_legend(self._panel.scene.GetNodeByID("vtkMRMLSliceNodeRed"))
        else:
            wanted.show_legend(False)

    def leave(self) -> None:
        """The scene is closed, or the panel goes away."""
        self._shown = None

    def new_case(self, case: Case) -> None:
        """It was made just now: the user has not chosen how it is shown."""
        self._automatic[case.id] = None

    def choose_measure(self, case: Case | None) -> None:
        """The case's own measure and threshold, as long as the user has not chosen others.

        They change when more members have been heard.
        """
        if case is None:
            return
        node, record = self._panel.parameter_node, case.record
        own = str(record.get("measure", "")), min(1.0, max(0.0, float(record.get("threshold", node.threshold))))
        if case.id not in self._automatic:
            if node.measure in case.uncertainty:
                return  # what was chosen, in this scene or in a saved one, stays
            self._automatic[case.id] = None
        before = self._automatic[case.id]
        if before is None or (own != before and (node.measure, node.threshold) == before):
            node.measure, node.threshold = own
            self._automatic[case.id] = own

    def take_measure(self, measure: str) -> None:
        """The user chooses how uncertainty is measured; the threshold goes along, unless it is the user's own."""
        node, case = self._panel.parameter_node, self._review.case
        before, node.measure = node.measure, measure
        if case is not None:
            self._automatic.pop(case.id, None)
        if node.threshold == shown_threshold(before):
            node.threshold = shown_threshold(measure)

    def _update_buttons(self, case: Case | None, has_maps: bool) -> None:
        ui, node = self._ui, self._panel.parameter_node
        ui.heatMapButton.setChecked(bool(node.showUncertainty))
        ui.heatMapButton.enabled = has_maps
        for widget in (ui.opacityLabel, ui.opacitySlider, ui.thresholdLabel, ui.thresholdSlider):
            widget.enabled = has_maps and bool(node.showUncertainty)
        display = case.node.GetDisplayNode() if case is not None else None
        ui.outlineButton.enabled = display is not None
        ui.outlineButton.setChecked(display is not None and not display.GetVisibility2DFill())

    def _on_heat_map(self) -> None:
        node = self._panel.parameter_node
        if node is not None:
            node.showUncertainty = not node.showUncertainty

    def _on_outline(self) -> None:
        case = self._review.case
        display = case.node.GetDisplayNode() if case is not None else None
        if display is not None:
            fill = not display.GetVisibility2DFill()
            display.SetVisibility2DFill(fill)
            display.SetVisibility2DOutline(True)
            self._ui.outlineButton.setChecked(not fill)

    def add_entries(self, menu: Widget) -> None:
        """The measures that the case has, and the legend."""
        node, case = self._panel.parameter_node, self._review.case
        for measure in case.uncertainty if case is not None else {}:
            entry = menu.addAction(measure_text(measure))
            entry.setCheckable(True)
            entry.setChecked(measure == node.measure)
            connect(entry, "triggered(bool)", lambda _checked, measure=measure: self.take_measure(measure))
        menu.addSeparator()
        legend = menu.addAction(_("Legend"))
        legend.setCheckable(True)
        legend.setChecked(bool(node.legend))
        connect(legend, "toggled(bool)", self._on_legend)

    def _on_legend(self, shown: bool) -> None:
        self._panel.parameter_node.legend = bool(shown)


def measure_text(measure: str) -> str:
    """What a measure is called; ``measure`` is its name in the case."""
    return {
        "variance": _("variance"),
        "entropy": _("entropy"),
        "mutual_information": _("mutual information"),
    }.get(measure, measure.replace("_", " "))
