"""All instants of a power failure, with several worst folders for each: ``Testing/unit/test_lost_flushes.py``, long."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "unit"), str(Path(__file__).parents[2] / "ActiveSegExtension")]


def main() -> None:
    """Print a line for each kind and one for all; exit code 1 when a folder could not be used."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the folders that are drawn")
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is done")
    arguments = parser.parse_args()
    import test_lost_flushes as tests

    predicted = tests.test_a_prediction_is_the_old_one_or_the_new_one_with_all_of_the_users_files
    tests.EVERY = 1
    tried = failed = 0
    counted = tests.worst_folders

    def counting(*given: object) -> int:
        nonlocal tried
        found = counted(*given)  # type: ignore[arg-type]
        tried += found
        return found

    tests.worst_folders = counting
    for round in range(arguments.rounds):
        tests.SEED = arguments.seed + round
        kinds = [
            (change.__name__, tests.test_a_dataset_is_the_old_one_or_the_new_one, (change,))
            for change in (tests.add, tests.update, tests.remove)
        ]
        kinds += [
            ("private file", tests.test_a_private_file_keeps_what_was_confirmed, ()),
            ("project", tests.test_a_project_and_its_key_are_whole, ()),
            ("version", tests.test_a_version_appears_with_all_of_its_files, ()),
        ]
        kinds += [
            (f"draft, {name}", tests.test_a_draft_is_restored_as_it_was_kept_last_or_before, (name,))
            for name in tests.DRAFT_CHANGES
        ]
        kinds += [(f"prediction, {'first' if first else 'replaced'}", predicted, (first,)) for first in (True, False)]
        for name, test, given in kinds:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    test(*given, Path(folder))
                except Exception as error:
                    failed += 1
                    print(f"seed {tests.SEED}, {name}: {type(error).__name__}: {error}", flush=True)
    print(f"seed {arguments.seed}: {tried} worst folders in {arguments.rounds} rounds, {failed} failures")
    raise SystemExit(failed > 0)


if __name__ == "__main__":
    main()
