"""The export gate: publishing is refused unless a bundle gives, on real held-out items, what its encoder gives.

The bundle's folder is opened as a server opens it, so that preprocessing, graph, pooling and heads are judged
together. fp32 answers to the trained encoder; every other variant answers to fp32 and is dropped where it fails.
"""

from collections.abc import Mapping, Sequence

from enfold.errors import GateRefused
from enfold.model import Model
from export.draft import Draft
from export.parity import Witnesses, against_reference, alone_and_together, enough, overheard
from export.report import Check, Report
from export.survey import Survey


def judge(draft: Draft, models: Mapping[str, Model], seen: Witnesses) -> Report:
    """Every check of every variant. Raises GateRefused if fp32 must not be published.

    models   variant -> the bundle opened with it; "fp32" is there
    """
    checks = against_reference(models["fp32"], seen)
    _refuse(draft, checks)  # what follows takes longer and would only say the same again
    for model in models.values():
        checks += alone_and_together(model, seen)
    checks += overheard(models["fp32"], seen)
    _refuse(draft, checks)
    failed = {check.variant for check in checks if not check.passed}
    survey = Survey(draft, {variant: model for variant, model in models.items() if variant not in failed})
    enough(draft.held_out, survey.count)
    checks += survey.spread()
    _refuse(draft, checks)
    for variant in survey.seen:
        checks += survey.against_fp32(variant) if variant != "fp32" else []
    if draft.size is not None:
        checks = [check.model_copy(update={"name": f"size {draft.size}: {check.name}"}) for check in checks]
    return Report(
        data=draft.held_out.name,
        data_fingerprint=draft.held_out.fingerprint,
        items=survey.count,
        checks=tuple(checks),
        items_per_second=survey.items_per_second(),
    )


def _refuse(draft: Draft, checks: Sequence[Check]) -> None:
    """Raise if any check of fp32 failed, naming the first three."""
    failed = [str(check) for check in checks if check.variant == "fp32" and not check.passed]
    if failed:
        size = f"size {draft.size}: " if draft.size is not None else ""
        more = f"; and {len(failed) - 3} more" if len(failed) > 3 else ""
        raise GateRefused(
            f"not published, for the bundle is not fit to stand for its encoder on {draft.held_out.name}: {size}"
            f"{'; '.join(failed[:3])}{more}"
        )
