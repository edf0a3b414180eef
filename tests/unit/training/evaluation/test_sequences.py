"""Few labelled sequences and masked residues, judged on a manifest of one's own."""

from pathlib import Path

import numpy as np
import pytest

from enfold import settings
from enfold.errors import WrongUse
from training import recipe
from training.artefacts import fresh_encoder
from training.evaluation import Subject, few_sequences, residue_perplexity
from training.recipe import Evaluate
from training.run import Run

KINDS = {"basic": "KRHKRAG", "acid": "DEDEDNQ"}


def run_of(folder: Path, encoder: str) -> Run:
    """Ninety chains of two kinds, told by what they are made of."""
    rng, lines = np.random.default_rng(0), []
    folder.mkdir()
    for number in range(90):
        kind = list(KINDS)[number % 2]
        lines.append(f"{''.join(rng.choice(list(KINDS[kind]), 30 + number % 7))},{kind}")
    (folder / "manifest.csv").write_text("\n".join(["protein,label", *lines]))
    overrides = [f"data.source={folder / 'manifest.csv'}", f"stage.functions.encoder={encoder}"]
    facts = recipe.load("tape", smoke=True, overrides=overrides)
    taken = [one for one in facts.stage if one.name in ("pretrain", "perplexity", "functions")]
    return Run(facts.model_copy(update={"stage": tuple(taken)}), settings.load())


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = run_of(tmp_path / "kinds", "{name='one_hot', config={special=5}}")
    made.carry_out()
    return made


def stage_of(run: Run, name: str) -> Evaluate:
    return next(one for one in run.recipe.stage if isinstance(one, Evaluate) and one.name == name)


def test_masked_residues_are_judged_beside_their_frequency(run):
    figures = residue_perplexity.evaluate(Subject(None, run, run.dataset, stage_of(run, "perplexity")))
    assert figures.keys() == {"residue_perplexity", "frequency"}
    sequences = [one.value for one in run.dataset.split("test").records]
    shares = np.unique(list("".join(sequences)), return_counts=True)[1] / len("".join(sequences))
    assert figures["frequency"] == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=0.2)
    assert figures["residue_perplexity"] > figures["frequency"], "four steps teach less than counting"
    needless = Subject(None, run, run.dataset, stage_of(run, "perplexity").model_copy(update={"needs": ()}))
    with pytest.raises(WrongUse, match="let it need a pretrain stage"):
        residue_perplexity.evaluate(needless)


def test_what_residues_alone_tell_is_learnt_from_twenty_of_each_by_every_way(run, monkeypatch):
    monkeypatch.setattr(few_sequences, "EPOCHS", 40)

    stage = stage_of(run, "functions")
    encoder = fresh_encoder(run, stage).eval()
    assert type(encoder).__name__ == "OneHot", "a stage that needs nothing has an encoder of its own"
    before = {name: weight.clone() for name, weight in encoder.state_dict().items()}
    figures = few_sequences.evaluate(Subject(encoder, run, run.dataset, stage))
    assert figures["frozen"] == figures["ngram"] == 1.0
    assert figures["accuracy"] > 0.9
    assert figures["chance"] == pytest.approx(0.5, abs=0.1)
    assert all((weight == before[name]).all() for name, weight in encoder.state_dict().items())
