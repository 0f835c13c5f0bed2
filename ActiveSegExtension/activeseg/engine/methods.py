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
    function : ``module:name`` below ``activeseg.engine``
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
    "segment": Method(Lane.WORKER, "segment_job:segment", keeps_scratch=True),
    "regions.find": Method(Lane.WORKER, "segment_job:find_again", keeps_scratch=True),
    "engine.warm": Method(Lane.WORKER, "segment_job:warm"),
    "models.check": Method(Lane.WORKER, "segment_job:check"),
    "weights.add": Method(Lane.CLERK, "weights_jobs:add"),  # not behind a segmentation that runs on
    "licence.set": Method(Lane.CLERK, "weights_jobs:licence"),
    "export": Method(Lane.WORKER, "dataset_jobs:export"),
    "dataset.add": Method(Lane.WORKER, "dataset_jobs:add"),
    "dataset.recover": Method(Lane.WORKER, "dataset_jobs:recover"),
    "dataset.verify": Method(Lane.WORKER, "dataset_jobs:verify"),
    "dataset.open": Method(Lane.WORKER, "dataset_jobs:open_case", keeps_scratch=True),
    "dataset.migrate": Method(Lane.WORKER, "dataset_jobs:migrate"),
    "dataset.remove": Method(Lane.WORKER, "dataset_jobs:remove"),
    "dataset.create": Method(Lane.WORKER, "dataset_jobs:create"),
    "draft.save": Method(Lane.CLERK, "draft_jobs:save"),  # not behind a segmentation that runs on
    "draft.open": Method(Lane.CLERK, "draft_jobs:open_draft", keeps_scratch=True),
    "draft.discard": Method(Lane.CLERK, "draft_jobs:discard"),
    "draft.list": _quick("draft_jobs:list_all"),
    "project.new": Method(Lane.CLERK, "learning_jobs:new"),
    "project.show": _quick("learning_jobs:show"),
    "project.match": Method(Lane.CLERK, "learning_jobs:match"),
    "project.reviewed": _quick("learning_jobs:reviewed"),
    "project.admit": _quick("learning_jobs:admit"),
    "finetune.plan": Method(Lane.WORKER, "learning_jobs:plan"),
    "finetune.start": Method(Lane.CLERK, "learning_jobs:start"),
    "finetune.state": _quick("learning_jobs:state"),
    "finetune.control": _quick("learning_jobs:control"),
    "versions.compare": Method(Lane.WORKER, "learning_jobs:compare"),
    "versions.promote": _quick("learning_jobs:promote"),
    "versions.rollback": _quick("learning_jobs:rollback"),
    "versions.export": Method(Lane.WORKER, "learning_jobs:export"),
    "versions.import": Method(Lane.WORKER, "learning_jobs:import_file"),
    "dataset.show": _quick("dataset_jobs:show"),
    "dataset.sweep": _quick("dataset_jobs:sweep"),
    "dataset.folder": _quick("dataset_jobs:folder"),
    "models.list": _quick("segment_job:list_all"),
    "system.info": _quick("system_info:system_info"),
}
