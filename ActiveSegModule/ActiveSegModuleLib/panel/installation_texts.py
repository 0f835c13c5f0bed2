"""What the user reads about an installation: sizes, what it will do, and what it is doing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slicer.i18n import tr as _

from ..logic.installation import Working

USUAL_BITS_PER_S = 50e6
"""For an idea of how long a download takes."""


def size_text(size: float) -> str:
    """One unit for all sizes that are shown: GB of 10^9 bytes, as disks and downloads are counted."""
    if size < 1e8:
        return _("{size:.0f} MB").format(size=size / 1e6)
    return _("{size:.1f} GB").format(size=size / 1e9)


def question_text(plan: Mapping[str, Any]) -> str:
    """What an installation will do to the computer, from ``Plan.to_dict``."""
    lines = [
        _("Folder: {folder}").format(folder=plan["folder"]),
        _("Space: about {needed}; {free} are free").format(
            needed=size_text(plan["disk_bytes"]), free=size_text(plan["free_bytes"])
        ),
    ]
    if plan["download_bytes"]:
        minutes = max(1, round(plan["download_bytes"] * 8 / USUAL_BITS_PER_S / 60))
        told = _("Download: about {size}, {minutes} min with 50 Mbit/s; then some minutes to unpack and to try it")
        lines.append(told.format(size=size_text(plan["download_bytes"]), minutes=minutes))
    else:
        lines.append(_("Download: nothing, all comes from {wheels}").format(wheels=plan["options"]["wheels"]))
    if plan.get("present_bytes"):
        told = _("Already there from an earlier attempt: {size}. They are used again, so less is downloaded.")
        lines.append(told.format(size=size_text(plan["present_bytes"])))
    builds = {"cuda": _("PyTorch for NVIDIA graphics cards"), "cpu": _("PyTorch for the CPU")}
    lines.append(_("Packages: {count}, with {build}").format(count=plan["packages"], build=builds[plan["accelerator"]]))
    lines.append(_("The weights of a model (0.1 to 1.5 GB) are downloaded when it is first used."))
    lines.append(_("Nothing outside of the folder is changed, and nothing in Slicer's own Python."))
    return "\n".join(lines)


def working_text(working: Working) -> str:
    """What happens to the environment now."""
    if working.text:
        return working.text
    stages = {
        "uv": _("Getting the installer"),
        "python": _("Looking for a Python"),
        "packages": _("Getting the packages"),
        "check": _("Trying the packages"),
    }
    actions = {
        "plan": _("Looking at what an installation needs"),
        "plan-again": _("Looking at what this needs"),
        "check": _("Checking the engine's files"),
        "remove": _("Removing the engine"),
    }
    return stages.get(working.stage) or actions.get(working.action) or _("Starting")
