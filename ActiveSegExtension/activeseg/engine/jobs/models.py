"""The jobs about models: the list of what there is, whether one can run, and getting ready for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from activeseg.core.segmenter import Mode, Resample, Settings
from activeseg.engine.worker import devices
from activeseg.engine.worker.kept import Kept
from activeseg.engine.worker.params import Params, WrongParams
from activeseg.engine.worker.worker import Job


def list_all(job: Job, kept: Kept) -> dict[str, Any]:
    """Every model that can be named without a folder."""
    from activeseg.segmenters import list_models

    with job.params:
        pass
    return {"models": [asdict(model) for model in list_models()]}


def check(job: Job, kept: Kept) -> dict[str, Any]:
    """Whether a model can run with these settings. Raises what ``Segmenter.check`` raises."""
    with job.params as params:
        model, settings = params.text("model"), read_settings(params.mapping("settings"))
    segmenter = kept.models.get(model)
    job.progress("check", 0.0)
    segmenter.check(settings)
    return {
        "model": segmenter.name,
        "channels": list(segmenter.channels),
        "schema": segmenter.schema.to_dict(),
    }


def warm(job: Job, kept: Kept) -> dict[str, Any]:
    """Import what a network needs, so that the next job does not; open ``model`` if one is given."""
    with job.params as params:
        model = params.text("model", "")
    job.progress("import", 0.0)
    version = devices.load_libraries(job.progress, model.startswith("totalsegmentator"))
    if model:
        kept.models.get(model)
    kept.tell_state()
    return {"torch": version, "device": devices.kind_of("auto")}


def read_settings(message: Mapping[str, Any]) -> Settings:
    """Settings from a request. Raises WrongParams."""
    default = Settings()
    with Params("settings", message) as params:
        members: str | int = default.members
        if params.has("members") and message["members"] != "auto":
            members = params.count("members", 1)
            if members < 1:
                raise WrongParams("The setting 'members' is 0.", "Give 'auto' or a number from 1.")
        return Settings(
            device=params.text("device", default.device),
            members=members,
            mode=params.choice("mode", Mode, default.mode),
            resample=params.choice("resample", Resample, default.resample),
            structures=params.texts("structures"),
            mirroring=params.flag("mirroring") if params.has("mirroring") else None,
            threads=params.count("threads", default.threads),
            usage_statistics=params.flag("usage_statistics"),
            offload=params.flag("offload"),
        )
