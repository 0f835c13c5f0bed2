"""The exact command lines and variables that uv is called with; nothing here runs anything."""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from activeseg.client.environment import interpreter
from activeseg.client.launch import engine_environment

CONFIGURATION = "uv.toml"
"""An empty file of this name where uv runs keeps the settings of other projects away; the user's own are read."""

_KEPT = {
    "UV_CONFIG_FILE",
    "UV_CONCURRENT_BUILDS",
    "UV_CONCURRENT_DOWNLOADS",
    "UV_CONCURRENT_INSTALLS",
    "UV_DEFAULT_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_HTTP_CONNECT_TIMEOUT",
    "UV_HTTP_RETRIES",
    "UV_HTTP_TIMEOUT",
    "UV_INDEX",
    "UV_INDEX_STRATEGY",
    "UV_INDEX_URL",
    "UV_INSECURE_HOST",
    "UV_KEYRING_PROVIDER",
    "UV_NATIVE_TLS",
    "UV_PYTHON_DOWNLOADS_JSON_URL",
    "UV_PYTHON_INSTALL_MIRROR",
    "UV_SYSTEM_CERTS",
}
"""Variables of uv that say where things come from. All others decide what is done, and that we do."""

_FROM_PIP = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS": "UV_FIND_LINKS",
    "PIP_PROXY": "HTTPS_PROXY",
    "PIP_CERT": "SSL_CERT_FILE",
}
_PROXIES = {"http": "HTTP_PROXY", "https": "HTTPS_PROXY", "all": "ALL_PROXY", "no": "NO_PROXY"}


@dataclass(frozen=True)
class Source:
    """Where packages come from.

    Attributes
    ----------
    index : address of a package index; "" takes the variables of uv and pip, else the Python Package Index
    wheels : a folder of wheels; with ``offline`` nothing else is used, else it is looked into as well
    offline : the internet is not used at all
    proxy : address of a proxy; "" takes the system's
    torch : ``auto`` chooses the build of torch for this computer's graphics card, ``cpu`` or ``cu130`` and the like
        that build, "" takes what the index has
    """

    index: str = ""
    wheels: Path | None = None
    offline: bool = False
    proxy: str = ""
    torch: str = "auto"

    def arguments(self, torch: str | None = None) -> list[str]:
        """For commands of uv that look for packages; ``torch`` replaces the own choice.

        The index goes by a variable (``uv_environment``): its address may hold a password.
        """
        found = [] if self.wheels is None else ["--find-links", str(self.wheels)]
        if self.offline:
            return ["--offline", "--no-index", *found]
        backend = self.torch if torch is None else torch
        return [*found, *([f"--torch-backend={backend}"] if backend else [])]


def uv_environment(
    folder: Path,
    source: Source,
    environment: Mapping[str, str] | None = None,
    proxies: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """What uv is started with: the cleaned variables, the user's proxies and indexes, and our own folders.

    ``proxies`` as ``urllib.request.getproxies`` gives them; None asks it, which knows the system's settings too.
    """
    cleaned = engine_environment(environment)
    kept = {k: v for k, v in cleaned.items() if not k.startswith("UV_") or k in _KEPT or k.startswith("UV_INDEX_")}
    for pip, uv in _FROM_PIP.items():
        if kept.get(pip) and not kept.get(uv):
            if uv == "UV_DEFAULT_INDEX" and kept.get("UV_INDEX_URL"):
                continue
            # pip separates by blanks, and so does uv its indexes, but not its folders
            kept[uv] = ",".join(kept[pip].split()) if uv == "UV_FIND_LINKS" else kept[pip]
    replaced = {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} if source.index or source.offline else set()
    if source.offline:
        replaced |= {"UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS"}
    for name in replaced & set(kept):
        del kept[name]
    if source.index and not source.offline:
        kept["UV_DEFAULT_INDEX"] = source.index
    known = urllib.request.getproxies() if proxies is None else proxies
    for scheme, name in _PROXIES.items():
        if known.get(scheme) and not (kept.get(name) or kept.get(name.lower())):
            kept[name] = known[scheme]
    if source.proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            kept.pop(name.lower(), None)
            kept[name] = source.proxy
    if not {"UV_SYSTEM_CERTS", "UV_NATIVE_TLS", "SSL_CERT_FILE"} & set(kept):
        kept["UV_SYSTEM_CERTS"] = "1"  # companies put their own certificates there
    return {
        **kept,
        "UV_CACHE_DIR": str(folder / "cache"),
        "UV_PYTHON_INSTALL_DIR": str(folder / "python"),
        "UV_NO_PROGRESS": "1",
        "NO_COLOR": "1",
        "RUST_BACKTRACE": "0",
    }


def find_python(uv: Path, request: str, managed: bool = False) -> list[str]:
    """Prints the path of a Python; ``request`` is a version such as 3.12."""
    kind = ["--managed-python"] if managed else []
    return [str(uv), "python", "find", "--no-project", "--system", "--no-python-downloads", *kind, request]


def install_python(
    uv: Path, folder: Path, version: str = interpreter.DOWNLOADED, downloads: Path | None = None
) -> list[str]:
    """Puts a Python into ``folder``, and nothing on the user's path or into Windows' registry.

    It is downloaded, or unpacked from where a list of ``downloads`` says (``interpreter.downloads_of``).
    """
    known = [] if downloads is None else ["--offline", "--python-downloads-json-url", str(downloads)]
    return [str(uv), "python", "install", "--install-dir", str(folder), "--no-bin", "--no-registry", *known, version]


def make_venv(uv: Path, python: Path, target: Path, source: Source) -> list[str]:
    """An empty environment that can be moved to its place when it is complete."""
    offline = ["--offline"] if source.offline else []
    return [
        *(str(uv), "venv", "--no-project", "--relocatable", "--clear", "--force", "--no-python-downloads", *offline),
        *("--python", str(python), str(target)),
    ]


def resolve(
    uv: Path,
    python: Path,
    source: Source,
    requirements: Path,
    pins: Path,
    excludes: Path,
    output: Path,
    torch: str | None = None,
) -> list[str]:
    """Writes to ``output`` which version of every package suits this computer and that build of torch."""
    return [
        *(str(uv), "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python", str(python)),
        *("--constraints", str(pins), "--excludes", str(excludes), *source.arguments(torch)),
        *("--output-file", str(output), str(requirements)),
    ]


def sync(
    uv: Path, python: Path, source: Source, packages: Path, torch: str | None = None, system: str = sys.platform
) -> list[str]:
    """Makes an environment hold exactly these packages. Files are shared with the cache where the disk can do it."""
    mode = "clone" if system == "darwin" else "hardlink"
    return [
        *(str(uv), "pip", "sync", "--python", str(python), "--link-mode", mode),
        *(*source.arguments(torch), str(packages)),
    ]


def shown(command: Sequence[str]) -> str:
    """A command line for the log."""
    return " ".join(f'"{part}"' if " " in part else part for part in command)
