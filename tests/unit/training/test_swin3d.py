"""Windows of a 3-D Swin: who sees whom, from where, and nothing of what only fills a grid up."""

import itertools

import pytest
import torch

from enfold.errors import WrongUse
from training.encoders import build
from training.encoders.swin3d import Swin3D, SwinBlock, joined, positions, relative_index, separation, windows

SMALL = {"dim": 12, "depths": [2, 2], "heads": [2, 4], "drop_path": 0.0}


def inputs(size: int = 32, count: int = 2) -> dict[str, torch.Tensor]:
    valid = torch.ones(count, size, size, size)
    valid[:, :, :, size // 2 :] = 0
    return {"radiance": torch.rand(count, 4, size, size, size), "valid": valid}


@pytest.mark.parametrize("window", [2, 3])
def test_the_index_of_a_way_is_the_same_for_the_same_way_and_only_for_it(window):
    """Against a dictionary of ways, pair by pair."""
    index = relative_index(window)
    cells = list(itertools.product(range(window), repeat=3))
    numbers: dict[tuple[int, ...], int] = {}
    for (i, one), (j, other) in itertools.product(enumerate(cells), repeat=2):
        way = tuple(a - b for a, b in zip(one, other, strict=True))
        assert numbers.setdefault(way, int(index[i, j])) == int(index[i, j])
    assert sorted(numbers.values()) == list(range((2 * window - 1) ** 3))


def test_windows_are_cut_and_joined():
    grid = torch.randn(2, 6, 6, 6, 5)
    cut = windows(grid, 3)
    assert cut.shape == (2, 8, 27, 5)
    torch.testing.assert_close(cut[1, 1].reshape(3, 3, 3, 5), grid[1, :3, :3, 3:])
    torch.testing.assert_close(joined(cut, 3, 6, 5), grid)


@pytest.mark.parametrize(("side", "window", "shift"), [(8, 4, 0), (8, 4, 2), (6, 4, 2), (5, 4, 0)])
def test_a_cell_attends_to_its_neighbours_in_a_shifted_window_and_to_no_others(side, window, shift):
    """Which cells' outputs move when one cell does, against the windows as they lie on the grid."""
    torch.manual_seed(0)
    block = SwinBlock(12, side, 2, window, shift, 2.0, 0.0).eval()
    x = torch.randn(1, side, side, side, 12)
    for place in ((0, 0, 0), (side - 1, 1, 3), (2, 2, side - 1)):
        other = x.clone()
        other[(0, *place)] += torch.randn(12)
        moved = (block(other) - block(x)).abs().amax(-1)[0] > 1e-7
        own = [(torch.arange(side) + window - shift) // window == (at + window - shift) // window for at in place]
        expected = own[0][:, None, None] & own[1][:, None] & own[2]
        assert torch.equal(moved, expected)


def test_without_a_shift_and_a_filling_nobody_is_kept_apart():
    assert separation(8, 4, 0).abs().max() == 0
    assert torch.isinf(separation(8, 4, 2)).any()
    assert (~torch.isinf(separation(5, 4, 0))).any(-1).all()  # everybody sees somebody


def test_the_first_block_sees_no_further_than_its_window():
    """A patch that changes leaves other windows of block 1 as they were."""
    encoder = build("swin3d", SMALL, 32).eval()
    seen = []
    encoder.net["stages"][0][0].register_forward_hook(lambda module, given, output: seen.append(output))
    one = inputs()
    encoder(one)
    other = one["radiance"].clone()
    other[:, :, :4, :4, :4] = 0
    encoder(one | {"radiance": other})
    moved = (seen[0] - seen[1]).abs().amax((0, 4)) > 0
    assert moved[:4, :4, :4].all()
    assert moved.sum() == 4**3


def test_positions_are_fixed_and_tell_all_cells_apart():
    found = positions(6, 20)
    assert found.shape == (6, 6, 6, 20)
    flat = found.flatten(0, 2)
    assert torch.cdist(flat, flat).fill_diagonal_(9).min() > 0.05
    assert found[..., 18:].abs().max() == 0  # 20 is no multiple of six
    torch.testing.assert_close(found[2, 3, 4, :6], found[2, 0, 0, :6])  # the first third is x alone
    encoder = build("swin3d", SMALL, 32)
    assert not any("places" in name for name in encoder.state_dict())


def test_the_pyramid_halves_and_the_embedding_is_of_what_counts():
    encoder = build("swin3d", SMALL, 32).eval()
    encoded = encoder(inputs())
    assert [tuple(encoded.features[f"stage{i}"].shape) for i in (1, 2)] == [(2, 12, 8, 8, 8), (2, 24, 4, 4, 4)]
    assert encoded.tokens.shape == (2, 64, 24)
    assert encoded.token_mask.sum(1).tolist() == [32, 32]
    torch.testing.assert_close(encoded.embedding[0], encoded.tokens[0][encoded.token_mask[0]].mean(0))


def test_the_paper_s_own_grid_is_filled_up_at_its_coarser_stages():
    encoder = build("swin3d", {"dim": 12, "depths": [1, 1, 2, 1], "heads": [1, 1, 1, 1]}, 160)
    assert isinstance(encoder, Swin3D)
    sides = [stage[0].side for stage in encoder.net["stages"]]
    assert sides == [40, 20, 10, 5]
    assert [stage[0].filled for stage in encoder.net["stages"]] == [40, 20, 12, 8]


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(WrongUse, match="36 voxels a side must be a multiple of 8"):
        build("swin3d", SMALL, 36)
    with pytest.raises(WrongUse, match="2 stages have as many numbers of heads, not 1"):
        build("swin3d", SMALL | {"heads": [2]}, 32)
    with pytest.raises(WrongUse, match="the 12 channels of a stage are no multiple of its 5 heads"):
        build("swin3d", SMALL | {"heads": [5, 4]}, 32)
