"""uv, the installer: fetched as a wheel, verified, and unpacked into a folder of its own."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import platform
import re
import ssl
import stat
import sys
import urllib.request
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from activeseg.client.environment.failure import failure_of, without_secrets
from activeseg.client.environment.lock import release, satisfies
from activeseg.core.errors import EngineError, InputError
from activeseg.core.progress import Progress

TESTED = "0.13.8"
BOUNDS = ">=0.13,<1"
DEFAULT_INDEX = "https://pypi.org/simple"
WHEEL_BYTES, UNPACKED_BYTES = 19_000_000, 40_000_000

_WHEEL = re.compile(r"uv-(\d+(?:\.\d+)*)-py3-none-([a-z0-9_.]+)\.whl")
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem")
_CHUNK = 1 << 18
Suits = Callable[[str], bool]


@dataclass(frozen=True)
class Wheel:
    """A wheel of uv: where it is, its version, and its SHA-256 as the index gives it ("" for a local file)."""

    url: str
    version: str
    sha256: str = ""

    @property
    def name(self) -> str:
        return unquote(urlsplit(self.url).path).rsplit("/", 1)[-1]


def program_in(folder: Path, system: str = sys.platform) -> Path:
    """Where uv lies in the folder that it was unpacked into."""
    return folder / ("uv.exe" if system == "win32" else "uv")


def index_url(environment: Mapping[str, str], chosen: str = "") -> str:
    """The package index: the chosen one, else what uv's and pip's variables say, else the Python Package Index."""
    named = (environment.get(name, "") for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"))
    url = next((url for url in (chosen, *named) if url), DEFAULT_INDEX)
    return url.rpartition("=")[2] if re.match(r"[\w-]+=\w+://", url) else url  # uv allows a name before it


def platform_suits(
    tags: str, system: str = sys.platform, machine: str = "", libc: tuple[str, str] | None = None
) -> bool:
    """Whether a wheel with these platform tags (``a.b.c``) holds a program for this machine."""
    kind = (machine or platform.machine()).lower()
    name, version = libc if libc is not None else platform.libc_ver()
    return any(_tag_suits(tag, system, kind, name, version) for tag in tags.split("."))


def _tag_suits(tag: str, system: str, machine: str, libc: str, libc_version: str) -> bool:
    if system == "win32":
        return tag == {"amd64": "win_amd64", "x86_64": "win_amd64", "arm64": "win_arm64", "x86": "win32"}.get(machine)
    if system == "darwin":
        return tag.startswith("macosx_") and tag.endswith(f"_{machine}")
    processor = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
    if not tag.endswith(f"_{processor}"):
        return False
    if libc != "glibc":
        return tag.startswith("musllinux_")
    needs = re.match(r"manylinux_(\d+)_(\d+)_", tag)
    return needs is not None and (int(needs[1]), int(needs[2])) <= release(libc_version)


class _Links(HTMLParser):
    """The links of a page of the simple index (PEP 503) that were not yanked."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "a" and values.get("href") and "data-yanked" not in values:
            self.found.append(str(values["href"]))


def best_wheel(urls: Iterable[str], base: str = "", tested: str = TESTED, suits: Suits | None = None) -> Wheel | None:
    """The wheel of uv for this machine: the tested version if it is among them, else the newest within the bounds."""
    suits = suits or platform_suits
    suiting = []
    for url in urls:
        address, fragment = urldefrag(urljoin(base, url))
        match = _WHEEL.fullmatch(unquote(urlsplit(address).path).rsplit("/", 1)[-1])
        if match and satisfies(match[1], BOUNDS) and suits(match[2]):
            suiting.append(Wheel(address, match[1], fragment.removeprefix("sha256=") if "sha256=" in fragment else ""))
    return max(suiting, key=lambda wheel: (wheel.version == tested, release(wheel.version)), default=None)


def wheel_in_index(index: str, proxy: str = "") -> Wheel:
    """Ask a package index for uv. Raises EngineError when it does not answer or has none that can be verified."""
    page = index.rstrip("/") + "/uv/"
    shown = without_secrets(page)
    try:
        with _open(page, proxy, accept="text/html") as answer:
            text, base = answer.read().decode("utf-8", "replace"), answer.geturl()
        if base == _without_credentials(page)[0]:  # relative links need the same name and password
            base = page
    except (OSError, ValueError) as error:
        raise failure_of(f"The package index {shown} did not answer", error) from error
    links = _Links()
    links.feed(text)
    wheel = best_wheel(links.found, base)
    if wheel is None:
        raise EngineError(
            f"The package index {shown} has no uv {BOUNDS} for this computer ({sys.platform}, {platform.machine()}).",
            "Take another package index, or install from a folder of wheels.",
            cause="missing",
        )
    if not re.fullmatch(r"[0-9a-f]{64}", wheel.sha256):
        raise EngineError(
            f"The package index {shown} gives no SHA-256 for '{wheel.name}', so it cannot be verified.",
            "Take another package index, or install from a folder of wheels.",
            cause="damaged",
        )
    return wheel


def wheel_in_folder(folder: Path) -> Wheel:
    """uv in a folder of wheels. Raises InputError when there is none for this machine."""
    wheel = best_wheel(path.as_uri() for path in folder.glob("uv-*.whl"))
    if wheel is None:
        raise InputError(
            f"There is no wheel of uv {BOUNDS} for this computer in '{folder}'.",
            f"Put it there; on a computer with internet: pip download --no-deps uv=={TESTED}",
            cause="missing",
        )
    return wheel


def unpack(wheel: Wheel, folder: Path, proxy: str = "", progress: Progress | None = None) -> Path:
    """Fetch a wheel, verify it and put its program into ``folder``, which appears in one step; the program.

    Of the wheel one file is taken, by its name in the archive; nothing else can leave it. Raises EngineError when the
    bytes are not those that the index or the wheel's own record promises, and Cancelled.
    """
    progress = progress or Progress()
    try:
        data = _fetch(wheel, proxy, progress)
    except (OSError, ValueError) as error:
        raise failure_of(f"'{wheel.name}' could not be loaded", error) from error
    digest = hashlib.sha256(data).hexdigest()
    if wheel.sha256 and digest != wheel.sha256:
        raise EngineError(
            f"'{wheel.name}' is not the file that the index promises: its SHA-256 is {digest}, not {wheel.sha256}.",
            "Try again; if it stays so, something on the network changes files.",
            cause="damaged",
        )
    program = _program_of(wheel, data)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target = program_in(folder)
        unfinished = folder / f".{target.name}.part"
        unfinished.write_bytes(program)
        unfinished.chmod(unfinished.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        os.replace(unfinished, target)
    except OSError as error:
        raise failure_of(f"uv could not be written to '{folder}'", error) from error
    return target


def _fetch(wheel: Wheel, proxy: str, progress: Progress) -> bytes:
    with _open(wheel.url, proxy) as answer:
        total = int(answer.headers.get("Content-Length") or WHEEL_BYTES)
        parts, done = [], 0
        while part := answer.read(_CHUNK):
            parts.append(part)
            done += len(part)
            progress("uv", done / total, f"uv {wheel.version}, {done / 1e6:.0f} of {total / 1e6:.0f} MB")
    return b"".join(parts)


def _program_of(wheel: Wheel, data: bytes) -> bytes:
    """The program in the wheel, compared with the wheel's own record."""
    top = f"uv-{wheel.version}"
    record = f"{top}.dist-info/RECORD"
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            recorded = {row[0]: row[1] for row in csv.reader(archive.read(record).decode("utf-8").splitlines()) if row}
            name = next(n for n in (f"{top}.data/scripts/uv", f"{top}.data/scripts/uv.exe") if n in recorded)
            program = archive.read(name)
    except (zipfile.BadZipFile, KeyError, StopIteration, ValueError) as error:
        raise EngineError(
            f"'{wheel.name}' is damaged: it is no wheel of uv.", "Download it again.", cause="damaged"
        ) from error
    digest = base64.urlsafe_b64encode(hashlib.sha256(program).digest()).rstrip(b"=").decode()
    if recorded[name] != f"sha256={digest}":
        raise EngineError(
            f"'{wheel.name}' is damaged: the program in it is not the one in its record.",
            "Download it again.",
            cause="damaged",
        )
    return program


def _open(url: str, proxy: str, accept: str = "*/*"):  # type: ignore[no-untyped-def]
    """Open an address, through the chosen proxy or the one of the system and its variables."""
    scheme = urlsplit(url).scheme
    if scheme not in ("https", "http", "file"):
        raise EngineError(f"'{without_secrets(url)}' is no address of a package index.", "It begins with https://.")
    handlers: list[urllib.request.BaseHandler] = [urllib.request.HTTPSHandler(context=_certificates())]
    if proxy:
        handlers.append(urllib.request.ProxyHandler({"https": proxy, "http": proxy}))
    address, credentials = _without_credentials(url)
    request = urllib.request.Request(address, headers={"Accept": accept, "User-Agent": "activeseg"})
    if credentials:
        request.add_unredirected_header("Authorization", credentials)
    return urllib.request.build_opener(*handlers).open(request, timeout=60)


def _without_credentials(url: str) -> tuple[str, str]:
    """urllib does not understand ``https://name:password@host``; the address and the header for it."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, ""
    encoded = base64.b64encode(unquote(user).encode()).decode()
    return parts._replace(netloc=host).geturl(), f"Basic {encoded}"


def _certificates() -> ssl.SSLContext:
    """What Python trusts, which inside Slicer is Slicer's own list, and what the system trusts."""
    context = ssl.create_default_context()
    for bundle in _BUNDLES:
        if sys.platform.startswith("linux") and Path(bundle).is_file():
            context.load_verify_locations(bundle)
    return context
