"""What makes it MoleBLEND and no other: the card's invariants."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch.utils.data import default_collate

from enfold.errors import WrongUse
from enfold.modalities.molecule import Molecule, MoleculePreprocess
from tests.examples import ASPIRIN, folded, sdf
from tests.unit.training import tiny
from training.encoders import build
from training.encoders.transformer_m import HOPS, PLACES, WAYS, Shown
from training.methods import Item
from training.methods.moleblend import Moleblend, framed, off_course, parted

READER = Molecule(MoleculePreprocess(max_atoms=24))
SMALL = {"dim": 16, "depth": 2, "heads": 4, "kernels": 8, "dropout": 0, "attention_dropout": 0, "drop_path": 0}
FORMULAS = (ASPIRIN, "CCN(CC)C#N", "c1ccc2ccccc2c1CC(O)F", "CC(C)Cl")


def method(**config) -> Moleblend:
    torch.manual_seed(0)
    made = Moleblend.build(
        build("transformer_m", SMALL, 24), {"pair_dim": 4} | config, READER.preprocess, reader=READER
    )
    with torch.no_grad():  # biases of a fresh encoder are nearly nothing, and so would be what they change
        for name, weight in made.encoder.named_parameters():
            if name.startswith(("hops", "ways", "near", "degrees", "centrality")):
                weight.mul_(20)
    return made


@pytest.fixture(scope="module")
def items() -> list[Item]:
    return [Item(READER.read(sdf(folded(one))), -1, i) for i, one in enumerate(FORMULAS)]


def batch(made: Moleblend, items):
    return default_collate([made.example(one, np.random.default_rng(one.index)) for one in items])


def test_each_pair_shows_exactly_the_one_relation_that_was_drawn(items):
    made = method()
    inputs, own = parted(batch(made, items))
    kernels = made.encoder.kernels(inputs["atoms"][:, :, 0], inputs["places"])
    relations = torch.stack(made.encoder.relations(inputs, kernels))  # [3, B, H, N, N]
    blended = made.encoder.bias(inputs, kernels, Shown(own["pairs"], own["placed_atoms"] > 0))
    n = blended.shape[2]
    off = ~torch.eye(n, dtype=torch.bool)
    for b in range(len(items)):
        real = int((inputs["atoms"][b, :, 0] > 0).sum())
        for i, j in np.argwhere(off[:real, :real].numpy()):
            wanted = relations[own["pairs"][b, i, j], b, :, i, j]
            torch.testing.assert_close(blended[b, :, i, j], wanted)
            others = [relations[r, b, :, i, j] for r in range(3) if r != own["pairs"][b, i, j]]
            assert not any(torch.allclose(wanted, other) for other in others)


@pytest.mark.parametrize("shares", [(0.2, 0.2, 0.6), (0.5, 0.5, 0.0), (0.0, 0.0, 1.0)])
def test_relations_and_atoms_are_drawn_as_often_as_configured(items, shares):
    made, pairs, placed = method(shares=shares, degrees=0.4), [], []
    upper = np.triu_indices(13, 1)
    for seed in range(200):
        given = made.example(items[0], np.random.default_rng(seed))
        np.testing.assert_array_equal(given["pairs"][:13, :13], given["pairs"][:13, :13].T)
        pairs += given["pairs"][upper].tolist()
        placed += given["placed_atoms"][:13].tolist()
    np.testing.assert_allclose(np.bincount(pairs, minlength=3) / len(pairs), shares, atol=0.02)
    assert np.mean(placed) == pytest.approx(0.6, abs=0.02)


def test_every_molecule_of_a_batch_draws_by_itself(items):
    made = method()
    given = default_collate([made.example(items[0], np.random.default_rng(i)) for i in range(2)])
    assert (given["pairs"][0] != given["pairs"][1]).any()


@pytest.mark.parametrize("head", ["hops_head", "ways_head", "places_head"])
def test_all_three_are_learnt_of_every_pair_whatever_it_showed(items, head):
    made, kept = method(), []
    getattr(made, head).register_forward_hook(lambda module, inputs, output: kept.append(output))
    given = batch(made, items)
    [gradient] = torch.autograd.grad(made(given)["loss"], kept)
    inputs, own = parted(given)
    real = inputs["atoms"][:, :, 0] > 0
    pair = real[:, :, None] & real[:, None] & ~torch.eye(real.shape[1], dtype=torch.bool)
    learnt = gradient.abs().sum(3) > 0
    assert not learnt[~pair].any()
    for relation in (HOPS, WAYS, PLACES):
        assert learnt[pair & (own["pairs"] == relation)].all()


def test_padding_of_ways_and_molecules_counts_nowhere(items):
    """The losses of a molecule are the same beside a larger one, and of a way only the bonds that it has count."""
    made = method().eval()
    alone = made(batch(made, items[3:]))
    with_padding = batch(made, items)
    only = {name: values[3:] for name, values in with_padding.items()}
    for name, loss in made(only).items():
        torch.testing.assert_close(loss, alone[name])
    kept = []
    made.ways_head.register_forward_hook(lambda module, inputs, output: kept.append(output))
    [gradient] = torch.autograd.grad(made(with_padding)["ways"], kept)
    inputs, _ = parted(with_padding)
    there = (inputs["ways"][:, :, : gradient.shape[1]] > 0)[..., None]
    assert not (gradient.unflatten(3, (5, -1)) * ~there).any()


def test_the_target_is_the_clean_geometry_and_the_input_the_noised_one(items):
    made = method()
    given = made.example(items[0], np.random.default_rng(0))
    n = len(items[0].value.atoms)
    np.testing.assert_allclose(given["places"], given["clean"] + given["noise"], atol=1e-6)
    apart = [np.linalg.norm(one[:, None] - one, axis=2) for one in (given["clean"][:n], items[0].value.places)]
    np.testing.assert_allclose(apart[0], apart[1], atol=1e-4)
    assert given["noise"][:n].std() == pytest.approx(0.2, abs=0.05)
    assert not given["noise"][n:].any()


def test_noise_is_learnt_only_of_atoms_that_showed_their_place(items):
    made, kept = method(), []
    made.noise_head.register_forward_hook(lambda module, inputs, output: kept.append(output))
    given = batch(made, items)
    [gradient] = torch.autograd.grad(made(given)["noise"], kept)
    inputs, own = parted(given)
    shown = (own["placed_atoms"] > 0) & (inputs["atoms"][:, :, 0] > 0)
    assert (gradient.abs().sum(2) > 0)[shown].all()
    assert not gradient[~shown].any()
    flat = method(degrees=1.0)
    assert flat(batch(flat, items))["noise"].item() == 0


def tokens(made: Moleblend, inputs, shown=None) -> torch.Tensor:
    with torch.no_grad():
        return made.encoder.eval()(inputs, shown=shown).tokens


def test_where_no_place_is_shown_coordinates_change_nothing(items):
    made = method(shares=(0.5, 0.5, 0.0), degrees=1.0)
    inputs, own = parted(batch(made, items))
    shown, elsewhere = Shown(own["pairs"], own["placed_atoms"] > 0), inputs["places"] * 3 + 1
    moved = {**inputs, "places": elsewhere}
    torch.testing.assert_close(tokens(made, moved, shown), tokens(made, inputs, shown))
    flat = {**inputs, "placed": torch.zeros_like(inputs["placed"])}
    torch.testing.assert_close(tokens(made, {**flat, "places": elsewhere}), tokens(made, flat))
    assert not torch.allclose(tokens(made, moved), tokens(made, inputs))


def seen(item: Item, views: str, turned: np.ndarray | None = None):
    reader = Molecule(MoleculePreprocess(max_atoms=24, views=views))
    arrays = reader.prepare(item.value)[0].arrays
    if turned is not None:
        arrays = arrays | {"places": (arrays["places"] @ turned.T + [1, -2, 3]).astype(np.float32)}
    return {name: torch.from_numpy(values)[None] for name, values in arrays.items()}


def test_by_places_alone_a_molecule_is_the_same_in_any_place_and_turn(items):
    made = method()
    turn = Rotation.random(rng=0).as_matrix()
    for views in ("3d", "both"):
        one, other = (tokens(made, seen(items[0], views, turned)) for turned in (None, turn))
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_any_view_alone_is_enough_and_each_tells_something_else(items):
    made = method()
    found = [tokens(made, seen(items[0], views)) for views in ("2d", "3d", "both")]
    assert all(torch.isfinite(one).all() for one in found)
    assert not any(torch.allclose(found[i], found[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_the_order_of_atoms_is_nothing_but_the_order_of_tokens(items):
    made = method()
    inputs = seen(items[0], "both")
    order = torch.randperm(13)
    moved = {name: values[:, order] for name, values in inputs.items()}
    for name in ("hops", "ways"):
        moved[name] = torch.cat([moved[name][:, :, order], moved[name][:, :, 13:]], 2)
    wanted = torch.cat([torch.zeros(1, dtype=torch.long), 1 + order])
    torch.testing.assert_close(tokens(made, moved), tokens(made, inputs)[:, wanted], atol=1e-5, rtol=1e-5)


def test_the_noise_that_is_told_turns_with_the_molecule(items):
    made = method()
    inputs, _ = parted(batch(made, items))
    turn = torch.from_numpy(Rotation.random(rng=1).as_matrix()).float()
    real, atoms = inputs["atoms"][:, :, 0] > 0, torch.randn(len(items), inputs["atoms"].shape[1], 16)
    told, turned = (made.noise_head(atoms, places, real) for places in (inputs["places"], inputs["places"] @ turn.T))
    torch.testing.assert_close(turned, told @ turn.T, atol=1e-5, rtol=1e-5)


def test_the_frame_is_the_molecules_own_and_tells_mirror_images_apart():
    places = np.random.default_rng(0).normal(size=(9, 3)) * [3, 2, 1]
    for seed in range(5):
        turned = places @ Rotation.random(rng=seed).as_matrix().T + seed
        np.testing.assert_allclose(framed(turned), framed(places), atol=1e-5)
    assert np.abs(framed(places * [1, 1, -1]) - framed(places)).max() > 0.1
    for few in (places[:1], places[:2], np.zeros((4, 3))):
        assert np.isfinite(framed(few)).all()


def test_a_guess_costs_one_and_what_points_the_right_way_nothing():
    wanted = torch.randn(4000, 3)
    assert off_course(torch.randn(4000, 3), wanted).item() == pytest.approx(1, abs=0.05)
    assert off_course(wanted * 3, wanted).item() == pytest.approx(0, abs=1e-6)
    assert off_course(torch.zeros(0, 3), torch.zeros(0, 3)).item() == 0


def test_weights_are_those_of_the_release():
    made = method()
    losses = made(batch(made, [Item(READER.read(sdf(folded(ASPIRIN))), -1, 0)]))
    total = 0.1 * losses["hops"] + 0.1 * losses["ways"] + 0.5 * losses["places"] + 6 * losses["noise"]
    torch.testing.assert_close(losses["loss"], total)


def test_it_needs_both_views_and_an_encoder_of_molecules():
    with pytest.raises(WrongUse, match="no bonds or no coordinates"):
        method().example(Item(READER.read(ASPIRIN), -1, 7), np.random.default_rng(0))
    with pytest.raises(WrongUse, match="needs encoder 'transformer_m'"):
        Moleblend.build(tiny.vit(), {}, READER.preprocess, reader=READER)
    with pytest.raises(WrongUse, match="sum up to 1"):
        method(shares=(0.5, 0.5, 0.5))
