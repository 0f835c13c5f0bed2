"""Where the engine's packages come from, as the user chose it, and how that is remembered."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from activeseg.core.errors import InputError

from ..slicer_types import Settings

_WHEELS, _OFFLINE, _PROXY, _TORCH = (f"ActiveSeg/{name}" for name in ("wheels", "offline", "proxy", "torch"))
_PASSWORD = re.compile(r"(?<=://)([^/@]*?):[^/]*@")


@dataclass(frozen=True)
class Sources:
    """Where packages come from; the defaults suit a computer with internet."""

    wheels: str = ""
    offline: bool = False
    proxy: str = ""
    torch: str = "auto"

    def options(self) -> list[str]:
        """Arguments of ``environment_command``; all but the proxy, whose password every user could read there."""
        options = [f"--torch={self.torch}"]
        options += [f"--wheels={self.wheels}"] if self.wheels else []
        return options + (["--offline"] if self.offline else [])

    def refuse_incomplete(self) -> None:
        """Raise InputError where it is plain already that nothing can come from there."""
        if self.offline and not self.wheels:
            raise InputError("Without internet a folder of wheels is needed, and none is named.", "Choose the folder.")
        if self.wheels and not Path(self.wheels).is_dir():
            raise InputError(f"There is no folder '{self.wheels}'.", "Choose the folder of wheels.")


def remembered_sources(settings: Settings) -> Sources:
    """As they were chosen last, in this session of Slicer or an earlier one."""
    value = settings.value
    return Sources(
        wheels=str(value(_WHEELS) or ""),
        offline=str(value(_OFFLINE) or "").lower() == "true",
        proxy=str(value(_PROXY) or ""),
        torch=str(value(_TORCH) or "auto"),
    )


def remember_sources(settings: Settings, sources: Sources) -> None:
    """Keep them for the next start, all but the proxy's password."""
    proxy = _PASSWORD.sub(r"\1@", sources.proxy)
    offline = "true" if sources.offline else ""
    for key, value in ((_WHEELS, sources.wheels), (_OFFLINE, offline), (_PROXY, proxy), (_TORCH, sources.torch)):
        settings.setValue(key, value)
