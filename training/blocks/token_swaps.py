"""Tokens of a text replaced by others, so that a model must find or restore them. All chance comes from torch.

Di Liello 2023, arXiv:2309.08272 (random and cluster-based substitutions); Devlin et al. 2019, arXiv:1810.04805 (masks).
"""
# B texts, T tokens, V words that may come in, C clusters

import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn


def drawn(candidates: Tensor, share: float) -> Tensor:
    """Each of the candidates [B, T] with probability `share`."""
    return candidates & (torch.rand(candidates.shape, device=candidates.device) < share)


def any_word(ids: Tensor, vocabulary: Tensor) -> Tensor:
    """A word of the vocabulary [V] for each place of `ids`, any as likely as another: now and then the same again."""
    return vocabulary[torch.randint(len(vocabulary), ids.shape, device=ids.device)]


def masked(ids: Tensor, at: Tensor, mask: int, vocabulary: Tensor) -> Tensor:
    """BERT's way: of the places `at`, 80 % hidden by the mask, 10 % any word, 10 % left as they are."""
    chance = torch.rand(ids.shape, device=ids.device)
    hidden = torch.where(at & (chance < 0.8), mask, ids)
    return torch.where(at & (chance >= 0.8) & (chance < 0.9), any_word(ids, vocabulary), hidden)


class ClusterSwaps(nn.Module):
    """Words come from clusters whose swaps the detector has missed so far: `counts` [C, C] goes up by one for each.

    A cluster is drawn by softmax(beta * counts), each row of counts first brought to [0, 1]; then any word of it.
    """

    vocabulary: Tensor
    counts: Tensor
    cluster_of: Tensor
    members: Tensor
    starts: Tensor
    sizes: Tensor

    def __init__(self, vocabulary: Tensor, clusters: int, beta: float, size: int):
        """size   of the whole vocabulary, special tokens included"""
        super().__init__()
        self.beta = beta
        self.register_buffer("vocabulary", vocabulary.clone(), persistent=False)
        self.register_buffer("counts", torch.ones(clusters, clusters))
        self.register_buffer("cluster_of", torch.zeros(size, dtype=torch.long))  # special tokens are in none
        self.register_buffer("members", vocabulary.clone())  # cluster by cluster
        self.register_buffer("starts", torch.zeros(clusters, dtype=torch.long))
        self.register_buffer("sizes", torch.zeros(clusters, dtype=torch.long))

    def group(self, embeddings: Tensor) -> None:
        """Clusters of the words by their embeddings [V, D] (k-means), and counts from the beginning."""
        clusters = len(self.counts)
        found = KMeans(clusters, n_init=1, random_state=0).fit_predict(embeddings.detach().cpu().numpy())
        labels = torch.from_numpy(found).long().to(self.members.device)
        self.cluster_of[self.vocabulary] = labels
        self.members.copy_(self.vocabulary[labels.argsort(stable=True)])
        self.sizes.copy_(torch.bincount(labels, minlength=clusters))
        self.starts.copy_(self.sizes.cumsum(0) - self.sizes)
        self.counts.fill_(1)

    def chances(self) -> Tensor:
        """Of a cluster [C] to give way to each other one [C]; rows sum to 1."""
        low, high = self.counts.amin(1, keepdim=True), self.counts.amax(1, keepdim=True)
        return (self.beta * (self.counts - low) / (high - low).clamp(min=1e-9)).softmax(1)

    def forward(self, ids: Tensor) -> Tensor:
        """A word for each place of `ids` [B, T]."""
        target = self.chances()[self.cluster_of[ids].flatten()].multinomial(1).view_as(ids)
        place = (torch.rand(ids.shape, device=ids.device) * self.sizes[target]).long()
        return self.members[self.starts[target] + place.clamp(max=self.sizes[target] - 1)]

    def learn(self, originals: Tensor, words: Tensor, missed: Tensor) -> None:
        """Of swaps [K] that a detector has judged: those that it `missed` come more often, the others less."""
        where = (self.cluster_of[originals], self.cluster_of[words])
        self.counts.index_put_(where, torch.where(missed, 1.0, -1.0), accumulate=True)
