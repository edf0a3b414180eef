"""Heads of proteins and molecules as graphs: what a bundle answers is what torch does, and the gate refuses another."""

import dataclasses

import numpy as np
import pytest
import torch

import enfold
from enfold.errors import GateRefused
from enfold.modalities import get
from enfold.modalities.protein import FIRST, MASK, STANDARD, tokens
from enfold.tasks.relations import unplaced
from export.draft import Draft, HeldOut, Reference, TaskGraph, encode_with
from export.onnx import encoder_graph, task_graph
from export.publish import publish
from tests.examples import ASPIRIN
from tests.unit.export.drafts import image_draft, vit
from training.encoders import Encoder, build
from training.heads import Head
from training.heads import build as build_head

CHAINS = ["".join(np.random.default_rng(i).choice(list(STANDARD), 5 + 3 * i)) for i in range(14)]
FORMULAS = [f"{'C' * (1 + i)}{end}" for i in range(5) for end in ("O", "N(C)C", "c1ccccc1")] + [ASPIRIN]
LARGE = 3  # times the spread of fresh weights: outputs depend on everything, as trained ones do


def made(kind: str, seed: int = 0) -> tuple[Encoder, Head]:
    torch.manual_seed(seed)
    if kind == "protein":
        facts = {"dim": 16, "depth": 1, "heads": 2, "positions": 32, "pool": "mean", "special": FIRST}
        encoder = build("bert", facts, 30)
    else:
        encoder = build("transformer_m", {"dim": 16, "depth": 1, "heads": 2, "kernels": 4}, 16)
    head = build_head("residues" if kind == "protein" else "distances", encoder, {})
    with torch.no_grad():
        for weight in [*encoder.parameters(), *head.parameters()]:
            if weight.ndim > 1:
                weight.mul_(LARGE)
    return encoder.eval(), head.eval()


def draft(kind: str) -> Draft:
    preprocess = {"max_residues": 30, "overlap": 4} if kind == "protein" else {"max_atoms": 16}
    modality = get(kind)(get(kind).Preprocess(**preprocess))
    items = CHAINS if kind == "protein" else FORMULAS
    example = modality.collate([modality.prepare(modality.read(item))[0] for item in items[:3]])
    encoder, head = made(kind)
    graphs = head.graphs(encoder, example)
    return Draft(
        modality=kind,
        preprocess=modality.preprocess.model_dump(mode="json"),
        encoder=encoder_graph(encoder, example, ragged=True),
        weights={name: tensor.numpy() for name, tensor in encoder.state_dict().items()},
        pooling=encoder.pooling,
        normalize=True,
        dimensions=encoder.dim,
        reference=Reference(lambda item: modality.prepare(modality.read(item))[0].arrays, encode_with(encoder)),
        held_out=HeldOut("a few", "made by a test", items),
        licence="Apache-2.0",
        lineage=image_draft(vit()).lineage,
        graphs={name: TaskGraph(graph, task_graph(graph)) for name, graph in graphs.items()},
        tasks={head.task: head.spec()},
    )


@pytest.fixture(scope="module")
def drafts() -> dict[str, Draft]:
    return {kind: draft(kind) for kind in ("protein", "molecule")}


def test_log_odds_are_those_of_torch_with_one_place_masked(drafts, home):
    found = publish([drafts["protein"]], "mutations", home / "bundles")
    assert any("out_mutations of residues" in check.name for check in found.report.checks)
    encoder, head = made("protein")
    chain = CHAINS[-1] + CHAINS[3]
    [answer] = enfold.open("mutations").predict([chain], "mutations")
    assert np.shape(answer.scores) == (len(chain), 20)
    for place, start in ((1, 0), (17, 0), (30, 26), (58, 52)):
        window = chain[start : start + 30]
        ids = np.concatenate([[2], tokens(window), [3]])
        ids[place - start] = MASK
        inputs = {"input_ids": torch.from_numpy(ids)[None], "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        with torch.inference_mode():
            logits = head.answer(encoder, inputs)[0]
        likely = logits[place - start].log_softmax(0).numpy()
        own = tokens(chain[place - 1])[0]
        np.testing.assert_allclose(answer.scores[place - 1], likely[tokens(STANDARD)] - likely[own], atol=1e-3)


def test_distances_are_those_of_torch_and_symmetric(drafts, home):
    found = publish([drafts["molecule"]], "distances", home / "bundles")
    assert any("out_relations of relations" in check.name for check in found.report.checks)
    encoder, head = made("molecule")
    model = enfold.open("distances")
    for formula, answer in zip(FORMULAS, model.predict(FORMULAS, "relations"), strict=True):
        [sample] = model.prepare(formula)
        inputs = {name: torch.from_numpy(one)[None] for name, one in unplaced(sample.arrays).items()}
        with torch.inference_mode():
            wanted = head(encoder(inputs).tokens, inputs["hops"], inputs["ways"])[0].numpy()
        order = np.argsort(sample.origin["numbers"])
        np.testing.assert_allclose(answer.distances, wanted[np.ix_(order, order)], atol=1e-3)
        np.testing.assert_array_equal(answer.distances, np.transpose(answer.distances))


@pytest.mark.parametrize(("kind", "graph"), [("protein", "residues"), ("molecule", "relations")])
def test_a_graph_of_other_weights_than_the_trained_ones_is_refused(drafts, home, kind, graph):
    encoder, _ = made(kind)
    _, other = made(kind, seed=1)
    own = drafts[kind].graphs[graph]
    swapped = dataclasses.replace(own, twin=other.graphs(encoder, own.twin.example)[graph])
    with pytest.raises(GateRefused, match=f"of {graph}"):
        publish([dataclasses.replace(drafts[kind], graphs={graph: swapped})], "wrong", home / "bundles")
