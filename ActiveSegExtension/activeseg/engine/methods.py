"""Which methods there are, where each runs, and the function that does it. Importing this imports none of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Lane(StrEnum):
    """Processes of the engine besides the supervisor; each does one thing after the other."""

    WORKER = "worker"
    CLERK = "clerk"


@dataclass(frozen=True)
class Method:
    """A method that one of the processes runs.

    Attributes
    ----------
    function : ``module:name`` below ``activeseg.engine.jobs``
    is_job : takes long: it is listed, reports progress and can be cancelled
    keeps_scratch : its result names files, which stay until ``job.release``
    """

    lane: Lane
    function: str
    is_job: bool = True
    keeps_scratch: bool = False


def _quick(function: str) -> Method:
    return Method(Lane.CLERK, function, is_job=False)


METHODS = {
    "segment": Method(Lane.WORKER, "segmenting:segment", keeps_scratch=True),
    "regions.find": Method(Lane.WORKER, "segmenting:find_again", keeps_scratch=True),
    "refine.open": Method(Lane.WORKER, "refining:open_case"),
    "refine": Method(Lane.WORKER, "refining:refine", keeps_scratch=True),
    "spread": Method(Lane.WORKER, "refining:propose", keeps_scratch=True),
    "spread.taken": Method(Lane.WORKER, "refining:find_on_new_state", keeps_scratch=True),
    "engine.warm": Method(Lane.WORKER, "models:warm"),
    "models.check": Method(Lane.WORKER, "models:check"),
    "weights.add": Method(Lane.CLERK, "weights:add"),  # not behind a segmentation that runs on
    "licence.set": Method(Lane.CLERK, "weights:licence"),
    "export": Method(Lane.WORKER, "datasets:export"),
    "dataset.add": Method(Lane.WORKER, "datasets:add"),
    "dataset.recover": Method(Lane.WORKER, "datasets:recover"),
    "dataset.verify": Method(Lane.WORKER, "datasets:verify"),
    "dataset.open": Method(Lane.WORKER, "datasets:open_case", keeps_scratch=True),
    "dataset.migrate": Method(Lane.WORKER, "datasets:migrate"),
    "dataset.remove": Method(Lane.WORKER, "datasets:remove"),
    "dataset.create": Method(Lane.WORKER, "datasets:create"),
    "draft.save": Method(Lane.CLERK, "drafts:save"),  # not behind a segmentation that runs on
    "draft.open": Method(Lane.CLERK, "drafts:open_draft", keeps_scratch=True),
    "draft.discard": Method(Lane.CLERK, "drafts:discard"),
    "draft.list": _quick("drafts:list_all"),
    "project.new": Method(Lane.CLERK, "learning:new"),
    "project.show": _quick("learning:show"),
    "project.match": Method(Lane.CLERK, "learning:match"),
    "project.reviewed": _quick("learning:reviewed"),
    "project.admit": _quick("learning:admit"),
    "finetune.plan": Method(Lane.WORKER, "learning:plan"),
    "finetune.start": Method(Lane.CLERK, "learning:start"),
    "finetune.state": _quick("learning:state"),
    "finetune.control": _quick("learning:control"),
    "versions.compare": Method(Lane.WORKER, "learning:compare"),
    "versions.promote": _quick("learning:promote"),
    "versions.rollback": _quick("learning:rollback"),
    "versions.export": Method(Lane.WORKER, "learning:export"),
    "versions.import": Method(Lane.WORKER, "learning:import_file"),
    "dataset.show": _quick("datasets:show"),
    "dataset.sweep": _quick("datasets:sweep"),
    "dataset.folder": _quick("datasets:folder"),
    "models.list": _quick("models:list_all"),
    "refiners.list": _quick("refiners:list_all"),
    "refiners.add": _quick("refiners:add"),
    "refiners.confirm": _quick("refiners:confirm"),
    "system.info": _quick("system:system_info"),
}
