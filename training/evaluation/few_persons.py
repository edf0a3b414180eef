"""Error of the visits of the year to come after fine-tuning on 100, 300 and 1,000 persons, beside dull baselines.

Every size begins anew from the encoder that is judged, with a new head; learning rate and epoch are the best on
validation (Kumar et al. 2023, SANSformers, arXiv:2108.13672, fine-tune on small groups of patients). Beside it stand
Poisson regression on counts by hand, and at 100 persons recurrent and attending networks of about the same size.
"""
# N persons, T visits, V codes of a visit, D features, F features by hand

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import PoissonRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn import functional as F

from enfold.errors import WrongUse
from enfold.modalities import Arrays
from training.artefacts import Items
from training.encoders import Encoded, Inputs
from training.encoders.sansformer import Sansformer
from training.evaluation import Subject
from training.heads.counts import FARTHEST
from training.methods.sansformers import SANSformers

NEEDS_LABELS = False
SIZES = (100, 300, 1000)
MOST = 300  # persons of validation
RATES, EPOCHS, BATCH = (3e-4, 2e-3), 20, 32


@dataclass(frozen=True)
class Persons:
    """Each on one day."""

    inputs: Inputs
    counts: Tensor  # float32 [N]

    def __len__(self) -> int:
        return len(self.counts)

    def some(self, chosen: Tensor) -> "Persons":
        """With no more padding than they need."""
        longest = int((self.inputs["codes"][chosen] > 0).any(2).sum(1).max())
        return Persons({name: values[chosen, :longest] for name, values in self.inputs.items()}, self.counts[chosen])


def evaluate(subject: Subject) -> dict[str, float]:
    assert isinstance(subject.encoder, Sansformer)
    method = SANSformers.build(deepcopy(subject.encoder), {}, subject.modality.preprocess, reader=subject.modality)
    train, val, test = (persons(method, subject, split) for split in ("train", "val", "test"))
    order, seed = np.random.default_rng(subject.run.seed).permutation(len(train)), subject.run.seed
    figures: dict[str, float] = {"persons": len(train)}
    with threadpool_limits(1):
        told: dict[int, np.ndarray] = {}  # by how many there really are
        for size in SIZES:
            few = train.some(torch.from_numpy(np.sort(order[:size])))
            if len(few) not in told:
                told[len(few)] = tuned(subject.encoder, few, val, seed).expected(test)
            figures |= {f"{name}_{size}": value for name, value in errors(told[len(few)], test).items()}
            figures[f"regression_mae_{size}"] = errors(regression(few, test), test)["mae"]
            if size == SIZES[0]:
                facts = subject.encoder.config
                for name, kind in (("gru", Recurrent), ("transformer", Attending)):
                    torch.manual_seed(seed)
                    peer = kind(facts.dim, subject.modality.input_size, facts.places)
                    figures[f"{name}_mae_{size}"] = errors(tuned(peer, few, val, seed).expected(test), test)["mae"]
    return figures


def persons(method: SANSformers, subject: Subject, split: str) -> Persons:
    """Raises WrongUse where nobody is followed for long enough."""
    items = Items(subject.run, subject.data(split))
    made: list[Arrays] = []
    for index in range(len(items)):
        if split == "val" and len(made) == MOST:
            break
        history = items[index].value
        if len(days := method.days(history)):
            made.append(method.example_at(history, float(np.random.default_rng(index).choice(days))))
    if not made:
        raise WrongUse(f"nobody of the {split} split is followed for {method.config.window:g} days after a third visit")
    stacked = {name: torch.from_numpy(np.stack([one[name] for one in made])) for name in made[0]}
    return Persons(stacked, stacked.pop("counts")[:, 0])


class Tuned(nn.Module):
    """An encoder with a head of one rate."""

    def __init__(self, encoder: nn.Module, dim: int):
        super().__init__()
        self.encoder, self.head = encoder, nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 1))

    def forward(self, inputs: Inputs) -> Tensor:
        """Log rates [N]."""
        rates: Tensor = self.head(self.encoder(inputs).embedding)[:, 0].clamp(-FARTHEST, FARTHEST)
        return rates

    @torch.inference_mode()
    def expected(self, given: Persons) -> np.ndarray:
        """[N]"""
        rates: np.ndarray = self.eval()(given.inputs).exp().numpy()
        return rates


def tuned(encoder: nn.Module, few: Persons, val: Persons, seed: int) -> Tuned:
    """The best of all rates and epochs on validation; the given encoder stays as it is."""
    tried = [_tuned(encoder, few, val, seed, rate) for rate in RATES]
    return min(tried, key=lambda pair: pair[0])[1]


def _tuned(encoder: nn.Module, few: Persons, val: Persons, seed: int, rate: float) -> tuple[float, Tuned]:
    torch.manual_seed(seed)
    model = Tuned(deepcopy(encoder), int(encoder.dim))  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(model.parameters(), rate)
    best, kept = np.inf, model
    for _ in range(EPOCHS):
        model.train()
        for chosen in torch.randperm(len(few)).split(BATCH):
            batch = few.some(chosen)
            optimizer.zero_grad()
            F.poisson_nll_loss(model(batch.inputs), batch.counts, log_input=True).backward()
            optimizer.step()
        if (now := errors(model.expected(val), val)["mae"]) < best:
            best, kept = now, deepcopy(model)
    return best, kept


def errors(told: np.ndarray, actual: Persons) -> dict[str, float]:
    """mae, Spearman's correlation and mean Poisson deviance of expected counts [N]."""
    counts = actual.counts.numpy().astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(counts > 0, counts * np.log(counts / told), 0.0)
    return {
        "mae": float(np.abs(told - counts).mean()),
        "spearman": float(np.nan_to_num(spearmanr(told, counts).statistic)),
        "deviance": float(2 * (logs - counts + told).mean()),
    }


def regression(few: Persons, test: Persons) -> np.ndarray:
    """What Poisson regression expects, on counts by hand [N]."""
    model = make_pipeline(StandardScaler(), PoissonRegressor(alpha=1e-2, max_iter=1000))
    width = int(max(few.inputs["codes"].max(), test.inputs["codes"].max())) + 1
    model.fit(by_hand(few, width), few.counts.numpy())
    told: np.ndarray = model.predict(by_hand(test, width))
    return told.clip(np.exp(-FARTHEST), np.exp(FARTHEST))


def by_hand(given: Persons, width: int) -> np.ndarray:
    """Visits in all and of the last year, time on record, how often each code stands there, what is known. [N, F]"""
    codes, gaps, about = (given.inputs[name].numpy() for name in ("codes", "gaps", "about"))
    there, when = codes.max(2) > 0, gaps.cumsum(1)
    span = when[:, -1:]  # padding adds no time
    lately = (there & (when > span - 365)).sum(1, keepdims=True)
    often = np.stack([np.bincount(one.ravel(), minlength=width)[1:] for one in codes])
    counted = np.concatenate([there.sum(1, keepdims=True), lately, span, often], 1)
    return np.concatenate([np.log1p(counted), about[:, 0]], 1)


class _Peer(nn.Module):
    """The same inputs for networks of other kinds: sums of codes, with the gap before them and what is known."""

    def __init__(self, dim: int, size: int, places: int):
        super().__init__()
        self.dim = dim
        self.embed = nn.Embedding(size, dim, padding_idx=0)
        self.beside = nn.Linear(places + 1, dim)

    def forward(self, inputs: Inputs) -> Encoded:
        mask = (inputs["codes"] > 0).any(2)
        beside = torch.cat([inputs["gaps"].log1p()[..., None], inputs["about"]], 2)
        tokens = self.mixed(self.embed(inputs["codes"]).sum(2) + self.beside(beside), mask) * mask[..., None]
        most = tokens.masked_fill(~mask[..., None], -1e9).amax(1)
        return Encoded(tokens, tokens.sum(1) / mask.sum(1, keepdim=True) + F.gelu(most), mask)

    def mixed(self, tokens: Tensor, mask: Tensor) -> Tensor:
        raise NotImplementedError


class Recurrent(_Peer):
    def __init__(self, dim: int, size: int, places: int):
        super().__init__(dim, size, places)
        self.net = nn.GRU(dim, dim, num_layers=3, batch_first=True)

    def mixed(self, tokens: Tensor, mask: Tensor) -> Tensor:
        found: Tensor = self.net(tokens)[0]
        return found


class Attending(_Peer):
    def __init__(self, dim: int, size: int, places: int):
        super().__init__(dim, size, places)
        layer = nn.TransformerEncoderLayer(dim, 4, 4 * dim, 0.1, batch_first=True, norm_first=True)
        self.net = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)

    def mixed(self, tokens: Tensor, mask: Tensor) -> Tensor:
        found: Tensor = self.net(tokens, src_key_padding_mask=~mask)
        return found
