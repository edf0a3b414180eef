"""A run: one resolved recipe carried out, in a folder that tells its whole story.

    <run id>/
      run.json             state, stages with figures and seconds, lineage, machine
      recipe.json          the resolved recipe
      resources/           a tokenizer, where the recipe trains one, and what its modality learns of the items
      stages/<name>/       what each stage made: encoder, head, curves, checkpoints, figures.json

The id is the digest of recipe and data, so the same command finds the same run and goes on where it stopped; a stage
whose fingerprint is already there is skipped.
"""

import fcntl
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from enfold.errors import WrongUse
from enfold.modalities import Modality
from enfold.modalities.text import TOKENIZER
from enfold.settings import Settings
from training import tokenizer
from training.data.dataset import Dataset
from training.data.fetch import model_file
from training.data.sources import open_dataset
from training.recipe import Data, Recipe, Select, Stage, Tokenizer, digest, side_of

Report = Callable[[str, dict[str, Any]], None]  # (stage name, its record) as each stage ends


class Run:
    """The folder of one run and what its stages share: data, modality, seed, threads."""

    def __init__(self, recipe: Recipe, settings: Settings, *, folder: Path | None = None):
        self.recipe, self.settings, self.seed = recipe, settings, recipe.seed
        self.threads = settings.threads
        self._opened: dict[str, Dataset] = {}  # by the facts, as JSON
        # Without defaults, so that a recipe keeps its runs when recipes learn a new key; a claim's runs are their own.
        self.resolved = recipe.model_dump(mode="json", exclude={"claim"}, exclude_defaults=True)
        self.id = f"{recipe.slug}-{digest(self.resolved, self.dataset.fingerprint)[:8]}"
        self.path = folder or settings.runs / self.id
        self.modality: Modality[Any] = recipe.modality_of(self.path)
        self.sides: dict[str, Modality[Any]] = recipe.sides_of(self.path)
        self.mixed: dict[str, Modality[Any]] = recipe.mixed_of(self.path)

    @property
    def dataset(self) -> Dataset:
        return self._open(self.recipe.data)

    def data(self, stage: Stage) -> Dataset:
        """What a stage works on: its own data set, or the recipe's, or a column beside its items."""
        found, side = self._open(stage.data or self.recipe.data), side_of(stage)
        return found if side is None else found.beside(side, self.sides[side])

    def seen_by(self, stage: Stage) -> "Run":
        """The run, with a reader of the stage's own where the stage has preprocessing of its own, or other items."""
        if stage.preprocess is None and side_of(stage) is None:
            return self
        seen = copy(self)
        seen.modality = self.recipe.modality_of(self.path, stage)
        return seen

    def mixed_data(self) -> list[Dataset]:
        """What pretraining takes beside the recipe's own items."""
        return [self._open(one.data) for one in self.recipe.mixed.values()]

    def reader(self, data: Dataset) -> Modality[Any]:
        """What reads the items of one of the recipe's data sets."""
        return self.mixed.get(data.modality, self.modality)

    def seed_of(self, stage: Stage) -> int:
        """The run's, unless the stage is the same for every seed."""
        return self.seed if stage.seed is None else stage.seed

    def _open(self, facts: Data) -> Dataset:
        if (key := facts.model_dump_json()) in self._opened:
            return self._opened[key]
        modality = self.recipe.modality_in(facts)
        data = open_dataset(facts.source, data=self.settings.data, modality=modality)
        if data.modality != modality:
            raise WrongUse(
                f"recipe '{self.recipe.slug}' takes {modality} items; "
                f"data set '{data.name}' holds {data.modality} items"
            )
        self._opened[key] = facts.chosen(data)
        return self._opened[key]

    def folder(self, stage: str) -> Path:
        return self.path / "stages" / stage

    def carry_out(self, report: Report = lambda name, record: None) -> dict[str, Any]:
        """Every stage in order; returns the story, which run.json holds too."""
        from training.stages import VERBS

        prints: dict[str, str] = {}  # of every stage before the first begins: what is missing is told at once
        for stage in self.recipe.stage:
            prints[stage.name] = self._fingerprint(stage, prints)
        self.path.mkdir(parents=True, exist_ok=True)
        _write(self.path / "recipe.json", self.resolved)
        if self.recipe.tokenizer is not None:
            self._place_tokenizer(self.recipe.tokenizer)
        self._learn()
        story = self._story()
        for stage in self.recipe.stage:
            done = self.folder(stage.name) / "done.json"
            record = json.loads(done.read_bytes()) if done.exists() else {}
            if record.get("fingerprint") != prints[stage.name]:
                if record:  # of what is no longer so: nothing of it may be gone on from
                    shutil.rmtree(self.folder(stage.name))
                story["stages"][stage.name] = {"state": "running"}
                _write(self.path / "run.json", story)
                with self._shared(stage, prints[stage.name]) as known:
                    if not known:
                        self.folder(stage.name).mkdir(parents=True, exist_ok=True)
                        started = time.monotonic()
                        figures = VERBS[stage.verb](stage, self.seen_by(stage))
                        seconds = round(time.monotonic() - started, 1)
                        _write(done, {"fingerprint": prints[stage.name], "seconds": seconds, "figures": figures})
                record = json.loads(done.read_bytes())
            story["stages"][stage.name] = {"state": "done", **record}
            _write(self.path / "run.json", story)
            report(stage.name, record)
        story["state"] = "done"
        _write(self.path / "run.json", story)
        return story

    @contextmanager
    def _shared(self, stage: Stage, fingerprint: str) -> Iterator[bool]:
        """Whether another run has done this very stage, its folder copied here then; else others wait for this one.

        Arms of a claim share what they begin with. An export is never shared: its bundle names its run.
        """
        if stage.verb == "export":
            yield False
            return
        place = self.settings.runs / ".stages" / fingerprint[:32]
        place.parent.mkdir(parents=True, exist_ok=True)
        with place.open("a+") as pointer:
            fcntl.flock(pointer, fcntl.LOCK_EX)
            pointer.seek(0)
            before, own = Path(pointer.read() or os.devnull), self.folder(stage.name)
            done = before / "done.json"
            same = done.is_file() and before != own and json.loads(done.read_bytes())["fingerprint"] == fingerprint
            if same:
                shutil.rmtree(own, ignore_errors=True)
                shutil.copytree(before, own, copy_function=os.link)
            yield same
            pointer.truncate(0)
            pointer.write(str(own.absolute()))

    def _fingerprint(self, stage: Stage, before: dict[str, str]) -> str:
        data, recipe = self.data(stage), self.recipe
        seed = self.seed_of(stage)
        shared = {"data": data.fingerprint, "preprocess": recipe.preprocess, "seed": seed}
        if recipe.sides:
            beside = {name: data.state_of(name, side) for name, side in self.sides.items()}
            shared |= {"sides": [beside, recipe.model_dump(mode="json", include={"sides"}, exclude_defaults=True)]}
        if recipe.mixed:
            others = [other.fingerprint for other in self.mixed_data()]
            shared |= {"mixed": [others, recipe.model_dump(mode="json", include={"mixed"}, exclude_defaults=True)]}
        if recipe.tokenizer is not None:
            own = recipe.tokenizer.model_dump(exclude_defaults=True)
            # As runs of before tokenizers could be taken are known.
            shared |= {"tokenizer": own["vocabulary"] if list(own) == ["vocabulary"] else own}
        needed = {name: before[name] for name in stage.needs}
        if isinstance(stage, Select):
            pools = [
                open_dataset(name, data=self.settings.data, modality=self.recipe.modality).fingerprint
                for name in stage.pool
            ]
            needed |= dict(zip(stage.pool, pools, strict=True))
        plain = [facts.model_dump(mode="json", exclude_defaults=True) for facts in (stage, self.recipe.encoder)]
        return digest(*plain, shared, needed)

    def _place_tokenizer(self, facts: Tokenizer) -> None:
        """A published model's, or one trained on every text of the training split, which items and sides share."""
        file = self.path / TOKENIZER
        if file.exists():
            return
        file.parent.mkdir(exist_ok=True)
        if facts.model is not None:
            shutil.copyfile(model_file(facts.model, "tokenizer.json", data=self.settings.data), file)
            return
        data = self.dataset.split("train")
        readers = [
            (name, side)
            for name, side in self.sides.items()
            if self.recipe.reads_words(side.name)
            and self.recipe.sides[name].tokens
            and self.recipe.sides[name].joins is None
        ]
        texts = [
            text for name, side in readers for i in range(len(data)) for text in side.texts(data.side(i, name, side))
        ]
        if self.recipe.reads_words(self.modality.name):
            texts += [text for i in range(len(data)) for text in self.modality.texts(data.read(i, self.modality))]
        assert facts.vocabulary is not None
        file.write_text(tokenizer.train(texts, facts.vocabulary, pairs=facts.pairs, ends=facts.ends))

    def _learn(self) -> None:
        """What the modality must know of the training split, and each side's of its column, written once."""
        data = self.dataset.split("train")
        sides = {name: side for name, side in self.sides.items() if self.recipe.sides[name].joins is None}
        for own, reader in [(data, self.modality), *((data.beside(name, side), side) for name, side in sides.items())]:
            values = map(partial(own.read, modality=reader), range(len(own)))  # of most modalities none is read
            for path, content in reader.learnt(values).items():
                file = self.path / path
                file.parent.mkdir(exist_ok=True)
                if not file.exists():
                    file.write_bytes(content)

    def _story(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "recipe": self.recipe.slug,
            "recipe_digest": digest(self.resolved),
            "data": {"name": self.dataset.name, "fingerprint": self.dataset.fingerprint, "items": len(self.dataset)},
            "seed": self.seed,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(self.threads),
            "state": "running",
            "stages": {},
        }


def machine(threads: int) -> dict[str, Any]:
    """What a figure was measured on."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "python": platform.python_version(),
        "torch": version("torch"),
        "enfold": version("enfold"),
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(content, indent=1, default=str))
    os.replace(draft, path)
