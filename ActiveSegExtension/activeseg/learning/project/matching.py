"""Which structure of a project's dataset is which one of its base model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from activeseg.core.errors import InputError
from activeseg.core.labels import LabelSchema


def with_new(schema: LabelSchema, new: Sequence[str]) -> LabelSchema:
    """The structures of a model and further ones. Raises InputError for one that the model knows."""
    for name in new:
        if name in schema.names:
            raise InputError(f"The base model knows '{name}' already.", "Leave it out.")
    added = LabelSchema.from_names([*schema.names, *new])
    return LabelSchema((*schema.labels, *added.labels[len(schema) :]))


def matched(dataset: LabelSchema, model: LabelSchema, given: Mapping[str, str | None]) -> dict[str, str | None]:
    """Structure of the dataset -> of the model: as given, else by name, whatever case, spaces and hyphens it has.

    Raises InputError for a structure that neither has, or that would be matched twice.
    """
    for name, structure in given.items():
        dataset.named(name)
        if structure is not None:
            model.named(structure)
        elif name in model.names:
            raise InputError(f"The base model knows '{name}', so it cannot be new.", "Give it another name.")
    plain = {_plain(name): name for name in model.names}
    found = {name: given[name] if name in given else plain.get(_plain(name)) for name in dataset.names}
    taken = [structure for structure in found.values() if structure is not None]
    for structure in taken:
        if taken.count(structure) > 1:
            raise InputError(
                f"Two structures of the dataset are '{structure}' in the model.", "Match only one of them."
            )
    return found


def _plain(name: str) -> str:
    return name.casefold().replace(" ", "_").replace("-", "_")
