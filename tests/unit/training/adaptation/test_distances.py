"""Distances of atoms: symmetric, by bonds alone, of each molecule as beside a larger one, learnt beyond the usual."""

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from enfold.errors import WrongUse
from enfold.modalities.molecule import Molecule, MoleculePreprocess
from enfold.tasks import Prepared
from enfold.tasks.relations import Relations, RelationsOptions, RelationsSpec, between
from tests.examples import ASPIRIN, folded, sdf
from training.adaptation.distances import DistanceTuner
from training.encoders import build
from training.heads import load_head, run_by, save_head
from training.methods import Item

READER = Molecule(MoleculePreprocess(max_atoms=24))
FORMULAS = (ASPIRIN, "CCN(CC)C#N", "CC(C)Cl")


def tuner() -> DistanceTuner:
    torch.manual_seed(0)
    facts = {"dim": 16, "depth": 2, "heads": 4, "kernels": 8, "dropout": 0, "attention_dropout": 0, "drop_path": 0}
    made = DistanceTuner.build(build("transformer_m", facts, 24), {"pair_dim": 8}, READER.preprocess)
    made.reader = READER
    made.head.mean.copy_(torch.arange(12) * 1.2 - 1.2)
    return made


@pytest.fixture(scope="module")
def items() -> list[Item]:
    return [Item(READER.read(sdf(folded(one))), -1, i) for i, one in enumerate(FORMULAS)]


def batch(made: DistanceTuner, items):
    return default_collate([made.example(one, np.random.default_rng(0)) for one in items])


def test_it_is_symmetric_nought_to_itself_and_blind_to_places(items):
    made = tuner().eval()
    given = batch(made, items)
    given.pop("clean")
    assert not given["places"].any()
    assert not given["placed"].any()
    found = made.head(made.encoder(given).tokens, given["hops"], given["ways"])
    torch.testing.assert_close(found, found.transpose(1, 2))
    assert not found.diagonal(dim1=1, dim2=2).any()
    assert (found >= 0).all()


def test_the_error_is_of_the_clean_geometry_over_pairs_of_a_molecule_alone(items):
    made = tuner().eval()
    together = batch(made, items)
    own = []
    for item, one in zip(
        items, (dict(zip(together, row, strict=True)) for row in zip(*together.values(), strict=True)), strict=True
    ):
        inputs = {name: values[None] for name, values in one.items() if name != "clean"}
        n = len(item.value.atoms)
        found = made.head(made.encoder(inputs).tokens, inputs["hops"], inputs["ways"])[0, :n, :n].detach().numpy()
        own.append((found - between(item.value.places))[np.triu_indices(n, 1)])
    apart = np.concatenate(own)
    losses = made(together)
    assert losses["loss"].item() == pytest.approx((apart**2).mean(), rel=1e-4)
    assert losses["mae"].item() == pytest.approx(np.abs(apart).mean(), rel=1e-4)


def test_what_is_learnt_is_answered_in_the_order_of_the_item(items, tmp_path):
    made = tuner()
    given, optimizer = batch(made, items), torch.optim.AdamW(made.parameters(), 5e-3)
    before = made(given)["mae"].item()
    for _ in range(150):
        optimizer.zero_grad()
        made(given)["loss"].backward()
        optimizer.step()
    made.eval()
    save_head(tmp_path, made.head)
    saved = load_head(tmp_path, made.encoder)
    task = Relations(RelationsSpec(**saved.spec), tmp_path)
    samples = [READER.prepare(item.value) for item in items]
    graphs = run_by(saved.head.graphs(made.encoder, READER.collate([one for [one] in samples])))
    answers = task.run(graphs, Prepared(samples, {}), RelationsOptions())
    orders = [np.argsort(item.value.numbers) for item in items]
    truth = [between(item.value.places[order]) for item, order in zip(items, orders, strict=True)]
    assert task.measure(answers, truth)["mae"] < 0.6 * before
    assert answers[2].atoms == ["C1", "C2", "C3", "Cl4"]
    assert answers[2].distances[1][3] > answers[2].distances[1][0], "chlorine is larger than carbon"
    assert task.measure([answers[0]], [np.array(answers[0].distances)]) == {"mae": 0}


def test_it_is_fitted_to_molecules_that_have_bonds_and_places():
    with pytest.raises(WrongUse, match="item 7 has no bonds or no coordinates"):
        tuner().example(Item(READER.read(ASPIRIN), -1, 7), np.random.default_rng(0))
