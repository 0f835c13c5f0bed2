"""The rules of Slicer's Extensions Index that can be checked without a network."""

from __future__ import annotations

import json
import re

from repository import ROOT, files, relative, text_files

CMAKE = (ROOT / "CMakeLists.txt").read_text("utf-8")
RAW = "https://raw.githubusercontent.com/"
LICENCE_NAMES = {"LICENSE", "LICENCE", "License.txt", "license.txt", "LICENSE.txt", "COPYING", "COPYING.txt"}


def extension(variable):
    """The value of ``set(EXTENSION_... "value")`` in the one form that the index reads."""
    found = re.findall(rf'set\(EXTENSION_{variable} "([^"]*)"\)', CMAKE)
    assert len(found) == 1, variable
    return found[0]


def test_the_first_thing_called_project_is_activeseg():
    first = re.search(r"project\s*\(\s*(\w+)", CMAKE)
    assert first
    assert first[1] == "ActiveSeg"


def test_the_description_of_the_extension_is_complete():
    assert extension("HOMEPAGE").startswith("https://")
    assert extension("CONTRIBUTORS")
    assert 40 < len(extension("DESCRIPTION")) < 300
    assert extension("DEPENDS") == "NA"


def test_pictures_are_png_files_of_this_repository_by_their_raw_address():
    urls = [extension("ICONURL"), *extension("SCREENSHOTURLS").split()]
    assert len(urls) >= 2
    for url in urls:
        assert url.startswith(RAW)
        _owner, name, _branch, path = url.removeprefix(RAW).split("/", 3)
        assert name == "SlicerActiveSeg"
        assert (ROOT / path).read_bytes().startswith(b"\x89PNG\r\n"), path


def test_there_is_a_licence_in_the_root():
    assert LICENCE_NAMES & {path.name for path in ROOT.iterdir()}


def test_the_repository_is_small_and_holds_no_compiled_code():
    everything = list(files())
    assert sum(path.stat().st_size for path in everything) < 30e6
    assert not [relative(p) for p in everything if p.suffix in {".h", ".cxx", ".cpp", ".so", ".dll", ".exe", ".whl"}]


def test_text_files_end_their_lines_as_unix_does():
    wrong = [relative(path) for path in text_files() if b"\r" in path.read_bytes()]
    assert not wrong


def test_text_files_have_no_tabs_or_blanks_at_the_end_of_lines():
    wrong = [
        f"{relative(path)}:{number}"
        for path in text_files()
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if "\t" in line or line != line.rstrip()
    ]
    assert not wrong


def test_text_files_end_with_a_newline():
    wrong = [relative(p) for p in text_files() if (text := p.read_bytes()) and not text.endswith(b"\n")]
    assert not wrong


def test_json_files_parse():
    for path in text_files():
        if path.suffix == ".json":
            json.loads(path.read_text("utf-8"))
