"""Why the environment could not be made, in words: what failed, the cause, and one thing to do about it."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable
from dataclasses import dataclass

from activeseg.core.errors import EngineError, Remedy


@dataclass(frozen=True)
class Cause:
    """A kind of failure: how programs name it, how it is recognised, what the user reads and can do."""

    name: str
    pattern: re.Pattern[str]
    words: str
    action: str
    remedy: Remedy | None = None


def _cause(name: str, pattern: str, words: str, action: str, remedy: Remedy | None = None) -> Cause:
    return Cause(name, re.compile(pattern, re.IGNORECASE), words, action, remedy)


# In this order: a proxy's refusal and a bad certificate also say "error sending request".
CAUSES = (
    _cause(
        "disk",
        r"no space left|not enough space|os error (28|112|39)\b|disk quota|os error 122|errno 28",
        "the disk is full",
        "Free some disk space or choose a folder on another disk, then install again.",
    ),
    _cause(
        "path",
        r"os error 206|file ?name,? too long|name or extension is too long|os error 36\b",
        "a file's path would be too long for this system",
        "Choose a folder with a shorter path, such as C:\\ActiveSeg.",
    ),
    _cause(
        "busy",
        r"os error 32\b|used by another process|text file busy|winerror 32",
        "another program holds a file of it open",
        "Close other windows of Slicer and of Python, then try again.",
    ),
    _cause(
        "permission",
        r"permission denied|access is denied|operation not permitted|os error (13|5|1)\b|read-only file system"
        r"|os error 30\b|blocked by your administrator|os error 1260|bad cpu type|noexec",
        "writing or running programs there is not allowed",
        "Choose a folder of your own, or ask the administrator of this computer.",
    ),
    _cause(
        "proxy",
        r"\b407\b|proxy authentication|proxyconnect|proxy ?error|tunnel error|unsuccessful tunnel|tunnel connection",
        "the proxy server refused the connection",
        "Check the proxy's address, name and password.",
    ),
    _cause(
        "certificate",
        r"certificate|unknownissuer|\bssl\b|tls handshake",
        "the server's certificate is not trusted",
        "If your network inspects encrypted traffic, set SSL_CERT_FILE to your organisation's certificates.",
    ),
    _cause(
        "credentials",
        r"\b401\b|\b403\b|unauthorized|forbidden",
        "the package index refused access",
        "Check the address of the package index, and the name and password in it.",
    ),
    _cause(
        "network",
        r"dns error|failed to lookup address|name or service not known|getaddrinfo|nodename nor servname"
        r"|error sending request|connection (refused|reset|aborted)|network is unreachable|timed? ?out"
        r"|request failed after|no route to host|tcp connect|remote end closed|connection broken|failed to resolve",
        "the server could not be reached",
        "Check the internet connection or the proxy, or install from a folder of wheels. What was loaded is kept.",
    ),
    _cause(
        "missing",
        r"no solution found|not found in the (package registry|provided package locations)|no usable wheels"
        r"|no wheels with a matching|unsatisfiable|was not found|no matching distribution",
        "a package, or a build of it for this computer, is not available there",
        "Complete the folder of wheels, or use another package index.",
    ),
    _cause(
        "python",
        r"no interpreter found|no download found|no managed installation|could not find a python",
        "no suitable Python was found",
        "Install Python 3.12 and choose it.",
    ),
    _cause(
        "build",
        r"failed to build|build backend",
        "a package could not be built from its source",
        "Put built wheels of it into the folder of wheels, or report this to ActiveSeg.",
    ),
    _cause(
        "damaged",
        r"do not match the hashes",
        "it is not the file that was tested",
        "Try again; if it stays so, something on the network, or the package index, changes files.",
    ),
    _cause(
        "damaged",
        r"hash mismatch|failed to (extract|unzip)|invalid (zip|gzip)|end of central directory|crc",
        "a downloaded file is damaged",
        "Repair the environment: everything is downloaded again.",
        Remedy.REPAIR_ENVIRONMENT,
    ),
)
_UNKNOWN = Cause("unknown", re.compile(""), "the reason is in the log", "Look at the log, and report it to ActiveSeg.")
_SAID = re.compile(r"^\s*(error|cause|hint|×|╰|├|warning: retrying|could not fetch url)", re.IGNORECASE)
"""The lines of uv and pip about a failure. pip has its reasons in these two, not in its errors."""
_SECRET = re.compile(r"(?<=://)[^/\s]+@")


def without_secrets(text: str) -> str:
    """A text in which addresses have lost the name and password in them."""
    return _SECRET.sub("***@", text)


def without_password(address: str) -> str:
    """An address without name and password."""
    return _SECRET.sub("", address)


def cause_of(text: str) -> Cause:
    """The first known cause that a program's words, or an exception's, name."""
    return next((cause for cause in CAUSES if cause.pattern.search(text)), _UNKNOWN)


def failure(what: str, said: Iterable[str], log: str = "") -> EngineError:
    """The error for a step that failed: ``what`` is the start of a sentence, ``said`` what the program printed."""
    lines = [without_secrets(line.rstrip()) for line in said if line.strip()]
    errors = [line for line in lines if _SAID.match(line)] or lines[-3:]
    cause = cause_of("\n".join(errors)) if errors else _UNKNOWN
    if cause is _UNKNOWN:
        cause = cause_of("\n".join(lines))
    fitting = [line for line in errors if cause is not _UNKNOWN and cause.pattern.search(line)] or errors
    told = re.sub(r"^(error|cause|warning):\s*", "", fitting[-1].strip(), flags=re.IGNORECASE) if fitting else ""
    quote = f" ({told[:300]})" if told else ""
    message = f"{what}: {cause.words}{quote}."
    remedy = {} if cause.remedy is None else {"remedy": cause.remedy}
    return EngineError(message, cause.action, cause=cause.name, output=lines[-40:], log=log, **remedy)


def failure_of(what: str, error: BaseException, log: str = "") -> EngineError:
    """The error for an exception of the file system."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return failure(what, ["No space left on device"], log)
    return failure(what, [f"{error}" or type(error).__name__], log)
