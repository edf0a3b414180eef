"""What makes it GraphMAE and no other: the card's invariants."""

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from enfold.errors import WrongUse
from enfold.modalities.graph import Graph, GraphPreprocess
from tests.unit.training import tiny
from training.encoders import build
from training.encoders.gnn import flattened
from training.methods import Item
from training.methods.graphmae import GraphMAE, masked, scaled_cosine_error

READER = Graph(GraphPreprocess(features=5, neighbours=4, max_nodes=12))


def method(layer: str = "gat", **config) -> GraphMAE:
    torch.manual_seed(0)
    encoder = build("gnn", {"layer": layer, "dim": 8, "heads": 2, "attention_dropout": 0, "feature_dropout": 0}, 5)
    return GraphMAE.build(encoder, config, READER.preprocess, reader=READER)


def graph(count: int, seed: int = 0, isolated: int = 0):
    """A ring of so many nodes with random numbers, and nodes that nothing joins."""
    x = np.random.default_rng(seed).normal(size=(count + isolated, 5))
    return READER.read({"x": x.tolist(), "edges": [[i, (i + 1) % count] for i in range(count)]})


def batch(made: GraphMAE, *graphs):
    examples = [made.example(Item(one, -1, i), np.random.default_rng(i)) for i, one in enumerate(graphs)]
    return default_collate(examples)


@pytest.mark.parametrize(("count", "rate", "replaced"), [(11, 0.5, 0.05), (40, 0.5, 0.1), (73, 0.75, 0.0), (1, 0.5, 1)])
def test_as_many_nodes_are_masked_and_replaced_as_configured(count, rate, replaced):
    for seed in range(20):
        shown = masked(count, rate, replaced, np.random.default_rng(seed))
        hidden = int(rate * count)
        assert (shown < 0).sum() == hidden
        assert (shown < -1).sum() == int(replaced * hidden)
        kept = shown > 0
        assert (shown[kept] == np.arange(1, count + 1)[kept]).all()
        assert (-1 - shown[shown < -1] <= count).all()


def test_a_masked_node_shows_the_token_or_another_nodes_features():
    made = method(mask_rate=0.9, replace_rate=0.5)
    with torch.no_grad():
        made.mask_token.fill_(7)
    given = batch(made, graph(10))
    seen, features, shown = made.corrupted(given), given["features"][0, :10], given["shown"][0, :10]
    for node, which in enumerate(shown.tolist()):
        wanted = torch.full((5,), 7.0) if which == -1 else features[abs(which) - 1 - (which < -1)]
        torch.testing.assert_close(seen[node], wanted)
    assert (shown < -1).sum() == 4


def spread(made: GraphMAE, given) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient of the loss at what the decoder gives for every node [n, F], and which of them are masked [n]."""
    kept = []
    made.decoder.register_forward_hook(lambda module, inputs, output: kept.append(output))
    loss = made(given)["loss"]
    [gradient] = torch.autograd.grad(loss, kept)
    return gradient, given["shown"][given["kinds"] > 0] < 0


@pytest.mark.parametrize("error", ["sce", "mse"])
def test_only_masked_nodes_are_learnt_from_replaced_ones_among_them(error):
    made = method(error=error, replace_rate=0.5)
    gradient, hidden = spread(made, batch(made, graph(10), graph(8, 1)))
    assert (gradient[hidden].abs().sum(1) > 0).all()
    assert not gradient[~hidden].any()


def test_a_masked_node_is_decoded_from_its_neighbours_alone():
    """Its code is nought in the decoder; without neighbours it is rebuilt the same whatever it was."""
    made, seen = method(mask_rate=0.9), []
    made.decoder.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    given = batch(made, graph(6, isolated=4))
    with torch.no_grad():
        made(given)
    [(codes, rebuilt)] = seen
    hidden = given["shown"][0, :10] < 0
    assert not codes[hidden].any()
    assert codes[~hidden].any()
    alone = hidden & (torch.arange(10) >= 6)
    assert alone.sum() > 1
    torch.testing.assert_close(rebuilt[alone], rebuilt[alone][:1].expand(int(alone.sum()), -1))
    made.config = made.config.model_copy(update={"remask": False})
    with torch.no_grad():
        made(given)
    assert seen[1][0][hidden].any()


def test_features_of_a_masked_node_reach_nothing_but_the_target():
    made = method(replace_rate=0)
    given = batch(made, graph(10))
    other = given | {"features": given["features"].clone()}
    other["features"][given["shown"] == -1] += 3
    torch.testing.assert_close(made.corrupted(other), made.corrupted(given))


def test_the_scaled_cosine_error_is_the_papers():
    wanted, found = torch.randn(6, 5), torch.randn(6, 5)
    by_hand = [
        (1 - float(x @ z) / (float(x.norm()) * float(z.norm()))) ** 3 for x, z in zip(wanted, found, strict=True)
    ]
    error = scaled_cosine_error(wanted, found, gamma=3)
    assert error.item() == pytest.approx(np.mean(by_hand), rel=1e-5)
    scale = torch.rand(6, 1) * 9 + 0.1
    torch.testing.assert_close(scaled_cosine_error(wanted, found * scale, gamma=3), error)
    assert scaled_cosine_error(wanted, wanted, gamma=2).item() == pytest.approx(0, abs=1e-6)


def test_gamma_weighs_what_is_known_already_less():
    """Of a node at cosine 0.9 and one at 0, the share of the gradient that the known one takes falls with gamma."""
    wanted = torch.tensor([[1.0, 0], [1, 0]])

    def share(gamma: float) -> float:
        found = torch.tensor([[0.9, (1 - 0.81) ** 0.5], [0, 1]], requires_grad=True)
        scaled_cosine_error(wanted, found, gamma=gamma).backward()
        known, unknown = found.grad.norm(dim=1).tolist()
        return known / unknown

    assert share(1) > share(2) > share(3)


def test_nodes_without_features_or_none_at_all_give_no_gradient_that_is_no_number():
    found = torch.randn(2, 5, requires_grad=True)
    error = scaled_cosine_error(torch.zeros(2, 5), found, gamma=3)
    error.backward()
    assert error.item() == 1
    assert not found.grad.any()
    made = method()
    assert made(batch(made, graph(1)))["loss"].item() == 0


def test_adjacency_is_never_a_target_and_nothing_is_masked_at_inference():
    """What is rebuilt has as many columns as a node has numbers; the encoder sees every node as it is."""
    for layer in ("gat", "gin"):
        made = method(layer)
        given = batch(made, graph(10), graph(7, 2))
        seen = []
        made.decoder.register_forward_hook(lambda module, inputs, output, seen=seen: seen.append(output))
        made(given)
        assert seen[0].shape == (17, 5)
        made.eval()
        with torch.no_grad():
            encoded = made.encoder({name: given[name] for name in ("features", "neighbours", "kinds")})
            alone = made.encoder.along_edges(*flattened(given))
        torch.testing.assert_close(encoded.tokens[given["kinds"] > 0], alone)


def test_it_needs_an_encoder_of_graphs():
    with pytest.raises(WrongUse, match="needs encoder 'gnn'"):
        GraphMAE.build(tiny.vit(), {}, READER.preprocess, reader=READER)
