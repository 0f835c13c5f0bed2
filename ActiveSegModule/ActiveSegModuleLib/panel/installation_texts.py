"""What the user reads about an installation: sizes, what it will do, what it is doing, and how the engine is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from ..logic.environment_action import Working
from ..logic.installation import Installation, PythonOrigin
from ..logic.situation import Situation

LONGEST_PATH = 46
"""Letters of a path that fit beside its label."""


def size_text(size: float) -> str:
    """GB of 10^9 bytes, as disks and downloads are counted; MB where that is little."""
    if size < 1e8:
        return _("{size:.0f} MB").format(size=size / 1e6)
    return _("{size:.1f} GB").format(size=size / 1e9)


def amount_text(done: float, total: float) -> str:
    """How much of how much, in one unit."""
    return _("{done:.0f} of {total:.0f} MB").format(done=done / 1e6, total=total / 1e6)


def path_text(path: Path) -> str:
    """A path that fits into a line: the home folder as ~, and without its middle where it is long."""
    text = str(path)
    home = str(Path.home())
    if text.startswith(home) and len(home) > 1:
        text = "~" + text[len(home) :]
    if len(text) > LONGEST_PATH:
        text = f"{text[: LONGEST_PATH // 2 - 1]}…{text[-LONGEST_PATH // 2 :]}"
    return text


def download_text(plan: Mapping[str, Any]) -> str:
    """How large an installation is, from ``Plan.to_dict``."""
    if not plan["download_bytes"]:
        told = _("{disk} on disk; nothing is downloaded").format(disk=size_text(plan["disk_bytes"]))
    else:
        told = _("about {download} to download, {disk} on disk").format(
            download=size_text(plan["download_bytes"]), disk=size_text(plan["disk_bytes"])
        )
    if plan.get("free_bytes"):
        told += " " + _("({free} free)").format(free=size_text(plan["free_bytes"]))
    if plan.get("present_bytes"):
        told += "; " + _("{size} are there already").format(size=size_text(plan["present_bytes"]))
    return told


def time_text(plan: Mapping[str, Any]) -> str:
    """How long an installation takes."""
    if not plan["download_bytes"]:
        return _("about {minutes} min").format(minutes=plan["minutes"])
    return _("about {minutes} min at {rate} Mbit/s").format(minutes=plan["minutes"], rate=plan["mbit_per_s"])


def weights_text(plan: Mapping[str, Any]) -> str:
    """What comes on top of an installation."""
    sizes = sorted(plan.get("weights_bytes", {}).values()) or [0.1e9, 1.2e9]
    return _("weights of models, {least} to {most}, at their first use").format(
        least=size_text(sizes[0]), most=size_text(sizes[-1])
    )


def build_text(accelerator: str) -> str:
    """Which PyTorch is installed."""
    return {
        "cuda": _("PyTorch for NVIDIA graphics cards, nnU-Net, TotalSegmentator"),
        "cpu": _("PyTorch for the CPU, nnU-Net, TotalSegmentator"),
    }[accelerator]


def question_text(plan: Mapping[str, Any]) -> str:
    """What a repair or an update will do to the computer, from ``Plan.to_dict``."""
    lines = [
        _("Folder: {folder}").format(folder=plan["folder"]),
        _("Size: {size}").format(size=download_text(plan)),
        _("Time: {time}").format(time=time_text(plan)),
        _("Packages: {count}, with {build}").format(count=plan["packages"], build=build_text(plan["accelerator"])),
        _("Nothing outside of the folder is changed, and nothing in Slicer's own Python."),
    ]
    return "\n".join(lines)


def working_text(working: Working) -> str:
    """What happens to the environment now, and at which step it is."""
    stages = {
        "uv": _("getting the installer"),
        "python": _("looking for a Python"),
        "packages": _("getting the packages"),
        "check": _("trying the packages"),
    }
    actions = {
        "plan": _("Looking at what an installation needs"),
        "plan-again": _("Looking at what this needs"),
        "check": _("Checking the engine's files"),
        "remove": _("Removing the engine"),
        "use": _("Trying your Python"),
    }
    stage = stages.get(working.stage)
    if working.action in actions:
        return actions[working.action]
    if stage is not None and working.steps > 1:
        return _("Step {step} of {steps}: {stage}").format(step=working.step, steps=working.steps, stage=stage)
    return _("Starting")


def bar_text(working: Working) -> str:
    """What stands in the bar: bytes where they are counted, else the part that is done."""
    if working.total_bytes:
        return amount_text(working.done_bytes, working.total_bytes)
    return _("{percent:.0f} %").format(percent=100 * working.fraction) if working.stage else ""


def title_text(situation: Situation) -> str:
    """The head of the card."""
    titles = {
        Situation.INCOMPLETE: _("The installation was not completed"),
        Situation.GONE: _("The engine is not there any more"),
        Situation.VARIABLE: _("The engine cannot be found"),
        Situation.BUSY: _("The engine is in use by another Slicer"),
        Situation.INSTALL: _("Installing the engine"),
        Situation.UPDATE: _("Updating the engine"),
        Situation.REPAIR: _("Repairing the engine"),
        Situation.REMOVE: _("Removing the engine"),
        Situation.USE: _("Setting up your Python"),
    }
    return titles.get(situation, _("Install the engine"))


def situation_text(situation: Situation, installation: Installation) -> str:
    """How the engine is, in one or two sentences."""
    return {
        Situation.MISSING: _("The engine is not installed. It is a Python environment, apart from Slicer's own."),
        Situation.INCOMPLETE: _("The installation of the engine was not completed. What was downloaded is kept."),
        Situation.INSTALL: _("The engine is being installed."),
        Situation.UPDATE: _("The engine is being updated."),
        Situation.REPAIR: _("The engine is being repaired."),
        Situation.REMOVE: _("The engine is being removed."),
        Situation.USE: _("Your Python is being tried."),
        Situation.BUSY: _("Another Slicer is changing the engine. Wait until it is done there."),
        Situation.DAMAGED: _("The engine is damaged. {what} {way_out}").format(
            what=installation.damage, way_out=damage_way_out(installation)
        ),
        Situation.FIRST_START: _("The engine is starting for the first time. This can take a minute."),
        Situation.STARTING: _("The engine is starting."),
        Situation.OUTDATED: _("ActiveSeg was updated, its engine was not. It works until you update it."),
        Situation.RUNNING: _("The engine is running."),
        Situation.READY: _("The engine is ready; it starts when it is needed."),
    }.get(situation) or str(installation.obstacle)


def damage_way_out(installation: Installation) -> str:
    """What to do about a damaged environment."""
    if installation.origin is PythonOrigin.OURS:
        return _("Press Repair.")
    return _("Install what is missing into that Python, or let ActiveSeg install an environment of its own.")


WRONG = frozenset({Situation.INCOMPLETE, Situation.GONE, Situation.VARIABLE, Situation.DAMAGED})
"""What is shown in red."""
