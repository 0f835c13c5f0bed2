"""Models as the engine lists them, without an engine."""

from __future__ import annotations

from typing import Any

from activeseg.core.segmenter import ModelGroup

ABDOMEN = ("spleen", "kidney_right", "kidney_left", "liver", "stomach", "pancreas", "aorta")
RIBS = tuple(f"rib_{side}_{number}" for side in ("left", "right") for number in range(1, 13))


def listed_models() -> list[Any]:
    """Some of each group, in each state of their weights."""
    from ActiveSegModuleLib.logic.models import Model

    def task(name: str, structures: tuple[str, ...], state: str = "ready", **more: Any) -> Model:
        told = f"{structures[0]} and others"
        return Model(f"totalsegmentator:{name}", "totalsegmentator", told, "CT", structures, state, **more)

    whole, total = ModelGroup.WHOLE_BODY, ABDOMEN + RIBS
    fine, coarse = (1.5, 1.5, 1.5), (3.0, 3.0, 3.0)
    coarser = "totalsegmentator:total-fast"
    project = "project:/data/projects/livers"
    folder = "nnunet:/data/nnUNet_results/Dataset700_Pancreas/nnUNetTrainer__nnUNetPlans__3d_fullres"
    yours = ("pancreas", "tumour")
    return [
        Model("demo", "demo", "Demo", "CT", ABDOMEN, "ready", group=ModelGroup.DEMONSTRATION),
        Model("hounsfield", "hounsfield", "Rules", "CT", ("body", "bone"), "ready", group=whole),
        task("total", total, "missing", group=whole, spacing_mm=fine, download_bytes=1_170_000_000, coarser=coarser),
        task("total-fast", total, group=whole, spacing_mm=coarse),
        task("lung_vessels", ("lung_vessels", "lung_trachea_bronchia"), "missing", download_bytes=None),
        task("tissue_types", ("subcutaneous_fat", "torso_fat", "skeletal_muscle"), "licence", licence_page="https://x"),
        task("liver_segments", ("liver_segment_1", "liver_segment_2"), "damaged", download_bytes=None),
        Model(folder, "nnunet", "nnU-Net model", "CT", yours, "ready", group=ModelGroup.YOUR_MODELS),
        Model(project, "project", "Version 'v0002'", "CT", ABDOMEN, "ready", group=ModelGroup.YOUR_PROJECTS),
    ]
