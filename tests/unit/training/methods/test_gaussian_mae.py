"""What makes it Gaussian-MAE and no other: the card's invariants."""

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from enfold.errors import WrongUse
from enfold.modalities.splats import COLUMNS, SplatsPreprocess, normalized, patched
from tests.examples import splats
from training.encoders import build
from training.encoders.splat_transformer import soft_neighbours
from training.heads.completer import as_attributes, picked
from training.methods import Batch, Item
from training.methods.gaussian_mae import GaussianMAE

PREPROCESS = SplatsPreprocess(splats=128, patches=20, neighbours=10)
SMALL = {"dim": 16, "depth": 2, "heads": 2, "point_widths": [8, 8], "patch_width": 16, "drop_path": 0.0}


def method(preprocess: SplatsPreprocess = PREPROCESS, encoder: dict | None = None, **config) -> GaussianMAE:
    torch.manual_seed(0)
    width = sum(part.stop - part.start for part in preprocess.columns.values())
    made = build("splat_transformer", SMALL | {"neighbours": 8} | (encoder or {}), width)
    return GaussianMAE.build(made, {"decoder_depth": 1, "decoder_heads": 2} | config, preprocess)


def batch(of: GaussianMAE, count: int = 4) -> Batch:
    items = [Item(splats(200, seed=i), -1, i) for i in range(count)]
    found: Batch = default_collate([of.example(item, np.random.default_rng(item.index)) for item in items])
    return found


def loss(of: GaussianMAE, found: Batch) -> torch.Tensor:
    torch.manual_seed(3)
    return of(found)["loss"]


def test_a_gaussian_has_fourteen_channels_and_each_counts():
    made = method().eval()
    found = batch(made)
    assert found["patches"].shape == (4, 20, 10, 14)
    whole = loss(made, found)
    for column in range(14):
        without = {name: values.clone() for name, values in found.items()}
        for values in without.values():
            values[..., column] = 0
        assert (loss(made, without) - whole).abs() > 1e-4, column


def test_exactly_the_share_of_patches_is_hidden_any_as_likely_as_another():
    made, tokenized = method(), []
    made.encoder.patch.register_forward_hook(lambda module, inputs, output: tokenized.append(len(output)))
    seen = []
    made.encoder.net["norm"].register_forward_hook(lambda module, inputs, output: seen.append(output.shape[1]))
    made(batch(made))
    assert made.task_head.config.hidden == 12  # floor(0.6 * 20)
    assert tokenized == [4 * 8]
    assert seen == [8]
    assert method(mask_ratio=0.29).task_head.config.hidden == 5


def test_what_is_hidden_reaches_the_encoder_by_nothing():
    """Nor its batch norms: they are in training mode here."""
    made = method(encoder={"placed_by": "place"}, preprocess=PREPROCESS.model_copy(update={"grouped_by": "place"}))
    found = batch(made)
    order = torch.stack([torch.randperm(20) for _ in range(4)])
    other = found["patches"].clone()
    other.scatter_(1, order[:, 8:, None, None].expand(-1, -1, *other.shape[2:]), 7.0)
    seen = [made.task_head(made.encoder, found["centres"], patches, order) for patches in (found["patches"], other)]
    torch.testing.assert_close(*seen)


def test_targets_are_the_first_neighbours_of_hidden_patches_alone():
    made = method().eval()
    found = batch(made)
    torch.manual_seed(3)
    order = torch.rand(4, 20).argsort(1)
    predicted = made.task_head(made.encoder, found["centres"], found["patches"], order)
    actual = picked(found["patches"], order[:, 8:])[:, :, :8]
    torch.testing.assert_close(loss(made, found), torch.stack(list(made.errors(predicted, actual).values())).sum())
    beyond = found["patches"].clone()
    beyond[:, :, 8:] += 1  # candidates that are no targets change the loss by what is visible alone
    hidden = order[:, 8:, None, None].expand(-1, -1, *beyond.shape[2:])
    beyond = found["patches"].scatter(1, hidden, beyond.gather(1, hidden))
    torch.testing.assert_close(loss(made, found | {"patches": beyond}), loss(made, found))


def test_errors_are_chamfer_for_places_and_slot_by_slot_for_all_else():
    made = method()
    actual = batch(made)["patches"][:, :5]
    assert all(value == 0 for value in made.errors(actual, actual).values())
    turned = actual.flip(2)  # the same Gaussians in other slots
    errors = made.errors(turned, actual)
    assert set(errors) == set(COLUMNS)
    assert errors["xyz"] < 1e-12
    assert all(errors[name] > 1e-3 for name in errors if name != "xyz")
    torch.testing.assert_close(errors["sh"], (turned - actual)[..., COLUMNS["sh"]].abs().mean())


def test_attributes_are_found_within_their_range():
    raw = 5 * torch.randn(6, 7, 14)
    found = as_attributes(raw, tuple(COLUMNS))
    torch.testing.assert_close(found[..., COLUMNS["rotation"]].norm(dim=-1), torch.ones(6, 7))
    for name in ("opacity", "scale"):
        assert found[..., COLUMNS[name]].abs().max() <= 1
    for name in ("xyz", "sh"):
        torch.testing.assert_close(found[..., COLUMNS[name]], raw[..., COLUMNS[name]])
    nothing = as_attributes(torch.zeros(1, 14), tuple(COLUMNS))
    torch.testing.assert_close(nothing[0, COLUMNS["rotation"]], torch.tensor([1.0, 0, 0, 0]))


def test_soft_draws_sum_to_one_are_differentiable_and_end_in_the_nearest():
    torch.manual_seed(0)
    alone = torch.randn(3, 6, 10, requires_grad=True)  # [BG, F, O]
    weights = soft_neighbours(alone, torch.tensor(1.0), 8)
    torch.testing.assert_close(weights.sum(2), torch.ones(3, 8))
    (weights[:, 3] * torch.arange(10)).sum().backward()
    assert (alone.grad.abs().sum(1) > 0).all()
    cold = soft_neighbours(alone.detach(), torch.tensor(1e-3), 8)
    near = (alone - alone.max(2, keepdim=True).values).square().sum(1).argsort(1)[:, :8]
    torch.testing.assert_close(cold.argmax(2), near)
    assert torch.isfinite(cold).all()  # where all the weight is on one candidate


def test_the_temperature_is_learnt():
    made = method()
    made(batch(made))["loss"].backward()
    assert made.encoder.log_temperature.grad.abs() > 0


def test_the_order_of_gaussians_changes_no_token():
    made = method().eval()
    columns, _ = normalized(splats(128))
    tokens = []
    for order in (np.arange(128), np.random.default_rng(1).permutation(128)):
        centres, patches = patched(columns[order], PREPROCESS)
        with torch.no_grad():
            inputs = {"centres": torch.from_numpy(centres)[None], "patches": torch.from_numpy(patches)[None]}
            tokens.append(made.encoder(inputs).tokens[0])
    apart = torch.cdist(*tokens).min(1).values
    assert apart.max() < 1e-3


def test_the_order_of_patches_changes_no_embedding_and_no_completion():
    made = method().eval()
    found = batch(made)
    order, by = torch.stack([torch.randperm(20)] * 4), torch.randperm(20)
    shuffled = {name: values[:, by] for name, values in found.items()}
    back = by.argsort()
    with torch.no_grad():
        torch.testing.assert_close(made.encoder(shuffled).embedding, made.encoder(found).embedding)
        torch.testing.assert_close(
            made.task_head(made.encoder, **shuffled, order=back[order]),
            made.task_head(made.encoder, **found, order=order),
        )


def test_examples_are_draws_of_their_own_with_replacement():
    made = method()
    item = Item(splats(200), -1, 0)
    one, two = (made.example(item, np.random.default_rng(seed))["patches"] for seed in (0, 1))
    assert not np.array_equal(one, two)


def test_with_places_alone_it_regresses_places_alone():
    bare = PREPROCESS.model_copy(update={"attributes": ("xyz",)})
    made = method(bare)
    losses = made(batch(made))
    assert set(losses) == {"loss", "xyz"}
    torch.testing.assert_close(losses["loss"], losses["xyz"])


def test_the_nearest_tokenizer_takes_the_first_neighbours():
    made = method(encoder={"tokenizer": "nearest"}).eval()
    found = batch(made)["patches"]
    other = found.clone()
    other[:, :, 8:] += 1
    torch.testing.assert_close(made.encoder.tokens(other), made.encoder.tokens(found))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"mask_ratio": 0.02}, r"of 20 patches mask_ratio 0\.02 hides none"),
        ({"encoder": {"placed_by": "place"}}, "grouped by 'attributes' and placed by 'place'"),
        ({"encoder": {"neighbours": 11}}, "11 neighbours cannot be drawn from 10 candidates"),
    ],
)
def test_what_does_not_fit_together_is_refused(change, sentence):
    with pytest.raises(WrongUse, match=sentence):
        method(**change)
