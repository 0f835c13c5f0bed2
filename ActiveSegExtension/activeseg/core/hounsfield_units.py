"""Whether what a CT model is given can be a CT in HU: what is odd is told, and never refused."""

from __future__ import annotations

from collections.abc import Mapping

from activeseg.core.volume import Volume

_OTHER_MODALITIES = {
    "MR": "an MR image",
    "PT": "a PET image",
    "NM": "a nuclear medicine image",
    "US": "an ultrasound image",
    "XA": "an X-ray angiography or cone beam CT",
    "CR": "a radiograph",
    "DX": "a radiograph",
    "MG": "a mammogram",
    "RTDOSE": "a dose map",
}
"""DICOM's words (PS3.3 C.7.3.1.1.1), which ``Volume.name`` holds for a series."""
_LIGHTEST, _DENSEST = -200.0, -500.0


def doubts(images: Mapping[str, Volume]) -> list[str]:
    """Sentences for the user, of each image that is given as a CT and does not look like one in HU.

    ``images`` are by the model's or dataset's channel; those named CT (CT_2 and so on) are looked at. A CT has air
    (-1000 HU, at least fat) and something denser than lung in it.
    """
    found = []
    for channel, volume in images.items():
        if not channel.casefold().startswith("ct"):
            continue
        other = _OTHER_MODALITIES.get(volume.name)
        if other:
            found.append(f"The image for channel '{channel}' is {other} ({volume.name}); the model was made for CT.")
        low, high = (float(end) for end in (volume.array.min(), volume.array.max()))
        if low > _LIGHTEST or high < _DENSEST:
            found.append(
                f"The values of the image for channel '{channel}' go from {low:g} to {high:g}. That does not look like "
                "HU, in which air is near -1000 and tissue near 0: check that rescale slope and intercept were applied."
            )
    return found
