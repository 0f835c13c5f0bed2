"""Nothing in the repository belongs to one machine."""

from __future__ import annotations

import re
from pathlib import Path

from repository import relative, text_files

EVERYWHERE = ("/root/", "/work/", r"[A-Za-z]:\\Users\\")
IN_THE_PRODUCT = ("/home/", "/tmp/", "/opt/", "/Users/")


def lines_with(patterns, paths):
    pattern = re.compile("|".join(rf"(?<![\w.:/]){text}" for text in patterns))
    return [
        f"{relative(path)}:{number}"
        for path in paths
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if pattern.search(line)
    ]


def test_no_path_of_the_machine_that_it_was_written_on():
    others = [path for path in text_files() if path != Path(__file__).resolve()]
    assert not lines_with(EVERYWHERE, others)


def test_the_product_names_no_absolute_path():
    product = [path for path in text_files() if not relative(path).startswith("Testing/")]
    assert not lines_with(IN_THE_PRODUCT, product)
