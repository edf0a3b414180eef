"""Accuracy of logistic regression on the same encoder trained with Deep Graph Infomax instead, from where it stands.

Veličković et al. 2019 (DGI), arXiv:1809.10341, PyTorch Geometric's: tell nodes of a batch of graphs from those of the
same graphs with the features of nodes exchanged, by what all nodes are in the mean. It stops after about as many steps
as GraphMAE's recipe takes, where the paper stops by its loss.
"""

from copy import deepcopy

import torch
from torch import Tensor
from torch_geometric.nn import DeepGraphInfomax

from training.encoders.gnn import GNN, flattened
from training.evaluation import Subject
from training.evaluation.graph_baselines import SPLITS, accuracy
from training.probes import features

NEEDS_LABELS = True
EPOCHS, BATCH, LR = 8, 64, 1e-3


def evaluate(subject: Subject) -> dict[str, float]:
    encoder = deepcopy(subject.encoder)
    assert isinstance(encoder, GNN)
    torch.manual_seed(subject.run.seed)
    model = DeepGraphInfomax(encoder.dim, Nodes(encoder), summary=mean_of_all, corruption=exchanged).train()
    inputs = {name: torch.from_numpy(array) for name, array in subject.prepared("train").items()}
    optimizer = torch.optim.Adam(model.parameters(), LR)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(inputs["kinds"])).split(BATCH):
            nodes, edges = flattened({name: array[chosen] for name, array in inputs.items()})
            optimizer.zero_grad()
            model.loss(*model(nodes, edges)).backward()
            optimizer.step()
    return {"accuracy": accuracy(subject, {split: features(encoder, subject.prepared(split)) for split in SPLITS})}


class Nodes(torch.nn.Module):
    """An encoder as it is called with nodes and edges."""

    def __init__(self, encoder: GNN):
        super().__init__()
        self.encoder = encoder

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        return self.encoder.along_edges(nodes, edges)


def mean_of_all(found: Tensor, *given: Tensor) -> Tensor:
    return found.mean(0).sigmoid()


def exchanged(nodes: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
    return nodes[torch.randperm(len(nodes))], edges
