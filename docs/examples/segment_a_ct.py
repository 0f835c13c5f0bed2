"""Segments a CT and reads where the model is uncertain.

python docs/examples/segment_a_ct.py                    a phantom that is made here, with the demo model
python docs/examples/segment_a_ct.py CT.nii.gz case1    your own CT, with rules on HU
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import activeseg
from activeseg.samples.phantom import Domain, make_phantom


def main(image: str = "", folder: str = "segmented-phantom") -> None:
    if image:
        ct, model = activeseg.read_volume(image), activeseg.open_model("hounsfield")
    else:
        ct, model = make_phantom(Domain.NATIVE, seed=40).ct, activeseg.open_model("demo")
    prediction = activeseg.segment({"CT": ct}, model, regions=5)

    print(f"{prediction.model}: {len(prediction.members)} ensemble members, agreement {prediction.agreement:.2f}")
    for label in prediction.schema.labels:
        voxels = np.count_nonzero(prediction.labels.array == label.value)
        print(f"  {label.name:20} {voxels * ct.geometry.voxel_mm3 / 1000:8.1f} mL")

    # The uncertainty lies on the network's grid: 0 certain, 1 undecided, NaN where it was not computed.
    uncertain = np.nanmean(prediction.uncertainty.array > prediction.threshold)
    print(f"{prediction.measure} is above {prediction.threshold:.2f} in {uncertain:.1%} of the image")
    for region in prediction.regions:  # worst first
        where = ", ".join(f"{mm:.0f}" for mm in region.center_ras)
        print(
            f"  region {region.number}: {region.about}, {region.reason_text}, {region.doubt_text} at RAS ({where}) mm"
        )

    prediction.save(Path(folder), {"CT": ct}, overwrite=True)
    print(f"Written to {folder}; overview.png shows the regions, segmentation.seg.nrrd opens in 3D Slicer.")


if __name__ == "__main__":
    main(*sys.argv[1:])
