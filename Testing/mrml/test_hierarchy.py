"""Whose CT it is, as Slicer's Data tree knows it."""

from __future__ import annotations

import numpy as np
import slicer
from slicer_application import SlicerCore

from activeseg.core.geometry import Geometry
from ActiveSegModuleLib.scene.hierarchy import patient_of, place_under


def test_the_patient_of_a_ct_that_came_from_dicom_is_known_and_of_others_not() -> None:
    core = SlicerCore.start()
    geometry = Geometry.from_ijk_to_ras(np.eye(4), (2, 3, 4))
    ct, other = (core.add_volume(np.zeros((2, 3, 4), np.int16), geometry, name) for name in ("CT", "Other"))
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(core.scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Doe")
    hierarchy.SetItemAttribute(patient, "DICOM.PatientID", "P-17")
    study = hierarchy.CreateStudyItem(patient, "CT of the abdomen")
    place_under(core.scene, other, ct)
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(ct), study)
    assert patient_of(ct) == "P-17"
    assert patient_of(other) == ""
