"""One case at a time: the CT and the segmentation that are chosen, and that alone are in the views."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

from ..scene.case import Case
from ..scene.uncertainty import ROLE_ATTRIBUTE
from ..scene.views import show_volume, take_out
from ..slicer_types import Node
from .section import Panel, Section
from .steps import Step


class CurrentCase(Section):
    """The selectors *CT* and *Segmentation*, and what Slicer's views show of them."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self._scene = panel.scene
        self._current: tuple[str | None, str | None] | None = None  # what the views show; None in a new scene
        self._active_volume: str | None = None  # shown last by the panel; Slicer names another when one is loaded
        self._hidden_maps: list[str] = []
        self._arrived: Case | None = None  # chosen while another module was shown
        self._other_frame: str | None = None  # id of the case that was told to lie over another image

    def enter(self) -> None:
        """The module is shown, with a parameter node."""
        self.take_cts_again()
        self.choose_loaded_ct()
        self._show_ct(self._panel.parameter_node.ct)  # another module may have shown another volume
        if self._arrived is not None and self._scene.IsNodePresent(self._arrived.node):
            self.choose(self._arrived, arrival_text(self._arrived))
        self._arrived = None

    def update(self) -> None:
        """Turn to what was chosen: a segmentation brings its CT, a CT its newest segmentation."""
        self.hide_maps()
        self._take_out_helpers()
        self._turn_to_what_was_chosen()

    def forget(self) -> None:
        """The scene is closed."""
        self._current = self._active_volume = None

    def arrived(self, case: Case) -> None:
        """A case is new in the scene: go on with it, unless the user has turned to another CT meanwhile."""
        node = self._panel.parameter_node
        if node is not None and case.has_ct and node.ct not in (None, case.ct_node):
            case.node.SetDisplayVisibility(False)
            ready = _("{name} is ready.").format(name=case.name)
            self._panel.message.notice(ready, _("Show"), lambda: self.choose(case))
        elif case.is_preview:
            self._turn_to(case)
            self._panel.message.notice(
                _("This is a quick preview by a coarser model. The result will take its place when it is ready.")
            )
        else:
            self.choose(case, arrival_text(case))

    def warn_of_frame(self) -> None:
        """The voxels of the CT are others now: say so when they are not those that were segmented."""
        case = self._panel.logic.review.case
        if case is None or not case.has_ct:
            return
        changed = case.image_has_changed
        if changed and case.id != self._other_frame:
            self._panel.message.warning(
                _(
                    "'{ct}' shows another image than the one that was segmented, such as another frame of a sequence. "
                    "{name} does not belong to it."
                ).format(ct=case.ct_node.GetName(), name=case.name)
            )
        self._other_frame = case.id if changed else None

    def choose(self, case: Case, told: str = "") -> None:
        """Turn to a case, and to its CT, and lead to its review; ``told`` says why."""
        if self._panel.scene.IsNodePresent(case.node):
            self._turn_to(case)
            if self._panel.parameter_node is not None:
                self._panel.steps.lead(Step.REVIEW, told or _("{name} is open.").format(name=case.name))

    def _turn_to(self, case: Case) -> None:
        """Show a case; when the module is shown again, if it is not."""
        node = self._panel.parameter_node
        if node is None:
            self._arrived = case
            self._show_only(case.node)
            return
        ct_node = case.ct_node if case.has_ct else node.ct  # it may have been removed meanwhile
        modifying = node.StartModify()
        node.ct = ct_node
        node.segmentation = case.node
        node.EndModify(modifying)
        self._show_only(case.node if case.has_ct else None)  # at once: the views must never show two
        self._current = None  # what was current is not shown any more, even if the next choice is that again

    def choose_loaded_ct(self) -> None:
        """The loaded CT is chosen already: the one in the views, or the only one.

        What is loaded while another CT is chosen takes its place when Slicer shows it.
        """
        node = self._panel.parameter_node
        if node is None:
            return
        volumes = [volume for volume in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if is_ct(volume)]
        active_id = slicer.app.applicationLogic().GetSelectionNode().GetActiveVolumeID()
        active = next((volume for volume in volumes if volume.GetID() == active_id), None)
        if node.ct is None:
            node.ct = active or (volumes[-1] if volumes else None)
        elif active is not None and self._current is not None and active_id != self._active_volume:
            node.ct = active

    def take_cts_again(self) -> None:
        """A CT that was removed and is loaded again is taken by the segmentations that were made of it."""
        orphans = [case for case in Case.all_in(self._scene) if not case.has_ct]
        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if orphans else []
        for case in orphans:
            ct = next((volume for volume in volumes if is_ct(volume) and case.fits(volume)), None)
            if ct is not None:
                case.take_ct(ct)
                self._current = None  # so that the views turn to what belongs together now
                self._panel.message.notice(
                    _("{ct} is the CT of {name}: both belong together again.").format(ct=ct.GetName(), name=case.name)
                )

    def hide_maps(self) -> None:
        """Uncertainty maps are volumes, too, but nothing to segment."""
        volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        hidden = [volume.GetID() for volume in volumes if not is_ct(volume)]
        if hidden != self._hidden_maps:
            self._hidden_maps = hidden
            self._ui.ctSelector.sortFilterProxyModel().hiddenNodeIDs = hidden

    def _turn_to_what_was_chosen(self) -> None:
        node = self._panel.parameter_node
        chosen = _id(node.ct), _id(node.segmentation)
        if chosen == self._current:
            return
        had_ct, had_segmentation = self._current or (None, None)
        case = Case.of(node.segmentation)
        if case is not None and case.has_ct and (chosen[1] != had_segmentation or case.ct_node is node.ct):
            ct, segmentation = case.ct_node, case.node
        elif (node.ct is not None or (case is not None and case.has_ct)) and chosen[0] != had_ct:
            newest = Case.newest_of(self._scene, node.ct) if node.ct is not None else None
            ct, segmentation = node.ct, newest.node if newest is not None else None
        else:
            ct, segmentation = node.ct, node.segmentation
        modifying = node.StartModify()
        node.ct, node.segmentation = ct, segmentation
        node.EndModify(modifying)
        self._current = _id(ct), _id(segmentation)
        self._show_ct(ct)
        orphan = case is not None and case.node is segmentation and not case.has_ct
        self._show_only(None if orphan else segmentation)  # what the views show behind is another patient

    def _show_ct(self, ct: Node) -> None:
        if ct is not None:
            show_volume(self._scene, ct, slicer.app.applicationLogic())
            self._active_volume = ct.GetID()

    def _show_only(self, segmentation: Node) -> None:
        """Of all that ActiveSeg made only this segmentation is visible; others' stay as they are."""
        for case in Case.all_in(self._scene):
            if bool(case.node.GetDisplayVisibility()) != (case.node is segmentation):
                case.node.SetDisplayVisibility(case.node is segmentation)

    def _take_out_helpers(self) -> None:
        """No view shows what only ActiveSeg reads: what was predicted, and maps that are not the chosen one."""
        volumes = slicer.util.getNodesByClass("vtkMRMLVolumeNode")
        helpers = {case.original_node.GetID() for case in Case.all_in(self._scene) if case.original_node is not None}
        helpers |= {
            volume.GetID()
            for volume in volumes
            if volume.GetHideFromEditors() and volume.GetAttribute(ROLE_ATTRIBUTE) is not None
        }
        take_out(self._scene, helpers)


def arrival_text(case: Case) -> str:
    """Says that a segmentation is ready, and what is to be done with it."""
    if case.regions is None:
        return _("{name} is ready.").format(name=case.name)
    count = len(case.regions.regions)
    if not count:
        return _("Segmented: no region to review was found.")
    return (
        _("Segmented: 1 region to review.")
        if count == 1
        else _("Segmented: {count} regions to review.").format(count=count)
    )


def _id(node: Node) -> str | None:
    return str(node.GetID()) if node is not None else None


def is_ct(node: Node) -> bool:
    """Whether a node can be segmented: a scalar volume that is neither a label map, nor ActiveSeg's own, nor hidden."""
    return (
        node.GetClassName() == "vtkMRMLScalarVolumeNode"
        and not node.GetHideFromEditors()
        and node.GetAttribute(ROLE_ATTRIBUTE) is None
    )
