"""A pipeline as an entry of a bundle's manifest: the next version has it."""

from pathlib import Path

from enfold import editions, wire
from enfold.bundle import Bundle, seal


def make(asked: wire.NewPipeline, bundle: Bundle, bundles: Path) -> wire.Pipeline:
    """Publish the bundle again with the pipeline among its own, in the place of one of the same name.

    bundles   the store
    """
    steps = ", ".join(step.step for step in asked.steps)
    with editions.next_of(bundle, bundles) as (draft, manifest):
        editions.tell(draft, f"Pipeline `{asked.name}`", f"A way to search texts: {steps}.")
        named = {**manifest.pipelines, asked.name: asked.steps}
        made = seal(draft, manifest.model_copy(update={"pipelines": named}))
    return wire.Pipeline(model=f"{made.name}@{made.version}", name=asked.name, steps=asked.steps)
