"""Encoders: shapes, names, weights from elsewhere."""

from pathlib import Path

import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from enfold.errors import UnknownName, WrongUse
from enfold.modalities.molecule import Molecule, MoleculePreprocess
from export.onnx import encoder_graph
from tests.unit.training import tiny
from training.encoders import build, load_encoder, load_pretrained, names, save_encoder
from training.encoders.gnn import flattened

SMALL = {
    "vit": {"patch": 8, "dim": 16, "depth": 2, "heads": 2},
    "resnet": {"layers": (1, 1, 1, 1), "width": 16, "stem": "small"},
    "gru": {"width": 8, "hidden": 6},
    "causal_lm": {"dim": 16, "depth": 2, "heads": 2},
    "projected": {"name": "causal_lm", "config": {"dim": 16, "depth": 2, "heads": 2, "pool": "end"}, "dim": 16},
    "bert": {"dim": 16, "depth": 2, "heads": 2, "positions": 8},
    "one_hot": {},
    "stunet": {"widths": (4, 8)},
    "unified_vit": {"image_patch": 8, "volume_patch": 8, "dim": 16, "depth": 2, "heads": 2},
    "point_transformer": {"dim": 16, "depth": 2, "heads": 2, "point_widths": (8, 8), "patch_width": 16},
    "splat_transformer": {"dim": 16, "depth": 2, "heads": 2, "patch_width": 16, "neighbours": 4},
    "column_transformer": {"dim": 16, "heads": 2, "inner": 16},
    "transition_gpt": {"dim": 16, "depth": 2, "positions": 8},
    "sansformer": {"dim": 16, "depth": 1, "max_visits": 8, "visit_codes": 3, "places": 4},
    "gnn": {"dim": 16, "heads": 2},
    "step_transformer": {"dim": 16, "depth": 2, "heads": 2},
    "step_cnn": {"channels": 2, "widths": (8, 4)},
    "column_mlp": {"dim": 16},
    "gpht": {"segment": 8, "pooling": (2, 1), "dim": 16, "depth": 1, "heads": 2},
    "ast": {"mels": 16, "patch": (4, 8), "dim": 16, "depth": 2, "heads": 2},
    "transformer_m": {"dim": 16, "depth": 2, "heads": 2, "kernels": 4},
    "swin3d": {"dim": 12, "depths": (2, 2), "heads": (2, 4), "window": 2},
}
OWN = [name for name in names() if name != "joined"]  # whose weights are a bundle's (test_joins.py)
IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
TEXTS = {
    "input_ids": torch.randint(0, 32, (3, 7), generator=torch.Generator().manual_seed(0)),
    "attention_mask": (torch.arange(7) < torch.tensor([[7], [4], [1]])).long(),
}
VOLUMES = torch.randn(3, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
CENTRES = torch.randn(3, 8, 3, generator=torch.Generator().manual_seed(0))
PATCHES = torch.randn(3, 8, 4, 3, generator=torch.Generator().manual_seed(0))
SPLATS = torch.randn(3, 8, 6, 32, generator=torch.Generator().manual_seed(0))
FIELDS = torch.rand(3, 4, 32, 32, 32, generator=torch.Generator().manual_seed(0))
SOUNDS = torch.randn(3, 16, 32, generator=torch.Generator().manual_seed(0))
ROWS = {
    "pieces": torch.randint(0, 32, (3, 7, 4), generator=torch.Generator().manual_seed(0)),
    "values": torch.rand(3, 7, generator=torch.Generator().manual_seed(0)),
    "kinds": torch.tensor([[2, 2, 1, 1, 1, 1, 1], [2, 1, 1, 0, 0, 0, 0], [0] * 7]),
}
TRANSITIONS = {
    "steps": torch.randn(3, 7, 32, generator=torch.Generator().manual_seed(0)),
    "mask": (torch.arange(7) < torch.tensor([[7], [4], [1]])).long(),
}
VISITS = {
    "codes": torch.tensor([[[2, 3, 0], [4, 0, 0]], [[31, 1, 2], [0, 0, 0]], [[5, 0, 0], [6, 7, 8]]]),
    "gaps": torch.tensor([[0.0, 30], [0, 0], [0, 400]]),
    "about": torch.rand(3, 2, 4, generator=torch.Generator().manual_seed(0)),
}
COURSES = torch.randn(3, 2, 32, generator=torch.Generator().manual_seed(0))
KNOWN = (torch.arange(32) >= torch.tensor([[0], [12], [31]]))[:, None].expand(-1, 2, -1).float()
GRAPHS = {
    "features": torch.randn(3, 4, 32, generator=torch.Generator().manual_seed(0)),
    "neighbours": torch.tensor([[[2, 3], [1, 0], [1, 4], [3, 0]], [[2, 0], [1, 0], [0, 0], [0, 0]], [[0, 0]] * 4]),
    "kinds": torch.tensor([[1, 1, 1, 1], [1, 2, 0, 0], [1, 0, 0, 0]]),
}
_READER = Molecule(MoleculePreprocess(max_atoms=32))
_SAMPLES = [_READER.prepare(_READER.read(smiles))[0] for smiles in ("CCO", "c1ccccc1O", "O")]
MOLECULES = {name: torch.from_numpy(array) for name, array in _READER.collate(_SAMPLES).items()}
INPUTS = {
    "transformer_m": MOLECULES,
    "gnn": GRAPHS,
    "gpht": {"series": COURSES, "measured": torch.ones(3, 2, 32)},
    "step_transformer": {"series": COURSES, "measured": KNOWN, "times": torch.linspace(0, 1, 32).expand(3, -1)},
    "step_cnn": {"series": COURSES},
    "column_mlp": ROWS,
    "column_transformer": ROWS,
    "sansformer": VISITS,
    "transition_gpt": TRANSITIONS,
    "vit": {"image": IMAGES},
    "resnet": {"image": IMAGES},
    "gru": TEXTS,
    "causal_lm": TEXTS,
    "projected": TEXTS,
    "bert": TEXTS,
    "one_hot": TEXTS,
    "stunet": {"volume": VOLUMES},
    "unified_vit": {"volume": VOLUMES},
    "ast": {"audio": SOUNDS},
    "point_transformer": {"centres": CENTRES, "patches": PATCHES},
    "splat_transformer": {"centres": SPLATS[:, :, 0], "patches": SPLATS},
    "swin3d": {"radiance": FIELDS, "valid": torch.ones(3, 32, 32, 32)},
}


@pytest.mark.parametrize("name", OWN)
def test_an_encoder_gives_tokens_and_one_embedding(name: str):
    encoder = build(name, SMALL[name], 32).eval()
    encoded = encoder(INPUTS[name])
    assert encoded.tokens.ndim == 3  # as wide as the embedding, or a part of it where that is made of several
    assert encoder.dim % encoded.tokens.shape[2] == 0
    assert encoded.embedding.shape == (3, encoder.dim)
    if encoder.pooling.startswith("mean") and encoded.token_mask is None:
        torch.testing.assert_close(encoded.embedding, encoded.tokens.mean(1))
    assert encoder.pooling


@pytest.mark.parametrize("name", OWN)
def test_what_is_saved_is_what_is_loaded(name: str, tmp_path: Path):
    encoder = build(name, SMALL[name], 32).eval()
    save_encoder(encoder, tmp_path, name=name, config=SMALL[name], size=32)
    torch.testing.assert_close(
        load_encoder(tmp_path)(INPUTS[name]).embedding, encoder(INPUTS[name]).embedding, rtol=0, atol=0
    )


def test_padded_steps_are_noughts_in_the_embedding_and_change_nothing():
    encoder, given = build("step_transformer", SMALL["step_transformer"], 32).eval(), INPUTS["step_transformer"]
    encoded = encoder(given)
    real = KNOWN[:, 0] > 0
    torch.testing.assert_close(encoded.token_mask, real)
    side_by_side = encoded.embedding.unflatten(1, (32, 16))
    assert not side_by_side[~real].any()
    assert side_by_side[real].abs().sum(1).all()
    hidden = {"series": COURSES + 9 * (KNOWN == 0), "times": given["times"] + (~real).float(), "measured": KNOWN}
    torch.testing.assert_close(encoder(hidden).embedding, encoded.embedding)


def test_a_window_in_which_nothing_was_measured_is_nought():
    encoder, given = build("step_transformer", SMALL["step_transformer"], 32), INPUTS["step_transformer"]
    embedding = encoder(given | {"measured": torch.zeros(3, 2, 32)}).embedding
    assert not embedding.any()


def test_a_spectrum_of_the_paper_gives_its_tokens():
    encoder = build("step_cnn", {}, 2575)
    assert encoder({"series": torch.randn(2, 3, 2575)}).tokens.shape == (2, 37, 32)
    assert encoder.dim == 1184
    with pytest.raises(WrongUse, match="nothing is left of 64 steps after layer 3"):
        build("step_cnn", {}, 64)


def test_the_first_layer_of_a_row_is_linear_in_each_column_whatever_their_order():
    encoder = build("column_mlp", SMALL["column_mlp"], 32).eval()
    first, order = [], torch.tensor([3, 0, 6, 1, 5, 2, 4])
    encoder.net[0].register_forward_hook(lambda module, given, found: first.append(given[0]))
    for rows in (ROWS, {name: values[:, order] for name, values in ROWS.items()}):
        encoder(rows)
    torch.testing.assert_close(first[0], first[1])
    steps = [encoder(ROWS | {"values": ROWS["values"] + step}) and first[-1] for step in (0.0, 1.0, 2.0)]
    torch.testing.assert_close(steps[2] - steps[1], steps[1] - steps[0], rtol=1e-4, atol=1e-5)
    assert (steps[1] - steps[0])[:2].abs().sum(1).all()
    assert not first[0][2].any()  # a row of nothing adds nothing


@pytest.mark.parametrize(("layer", "pooling"), [("gat", "mean"), ("gat", "max"), ("gin", "sum")])
def test_a_graph_is_the_same_along_edges_padded_and_exported(layer: str, pooling: str):
    """PyTorch Geometric's own layers, the places of neighbours, and the graph of every batch and number of nodes."""
    encoder = build("gnn", SMALL["gnn"] | {"layer": layer, "pooling": pooling}, 32).eval()
    real, (features, edges) = GRAPHS["kinds"] > 0, flattened(GRAPHS)
    assert edges.T.tolist() == [[1, 0], [2, 0], [0, 1], [0, 2], [3, 2], [2, 3], [5, 4], [4, 5]]
    encoded, alone = encoder(GRAPHS), encoder.along_edges(features, edges)
    torch.testing.assert_close(encoded.tokens[real], alone)
    assert not encoded.tokens[~real].any()
    pooled = {"mean": alone[:4].mean(0), "sum": alone[:4].sum(0), "max": alone[:4].amax(0)}[pooling]
    torch.testing.assert_close(encoded.embedding, torch.stack([pooled, alone[5], alone[6]]))  # a centre is its token
    graph = encoder_graph(encoder, {name: values.numpy() for name, values in GRAPHS.items()}, ragged=True)
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    for rows, length in ((slice(0, 1), 4), (slice(1, 3), 2)):
        given = {name: values[rows, :length] for name, values in GRAPHS.items()}
        tokens, embedding = session.run(None, {name: values.numpy() for name, values in given.items()})
        torch.testing.assert_close(torch.from_numpy(tokens), encoder(given).tokens)
        torch.testing.assert_close(torch.from_numpy(embedding), encoded.embedding[rows])


@pytest.mark.parametrize("layer", ["gat", "gin"])
def test_padding_of_graphs_changes_no_training(layer: str):
    """Fine-tuning sees real nodes alone, also where a norm goes over the batch."""
    config = SMALL["gnn"] | {"layer": layer, "feature_dropout": 0, "attention_dropout": 0}
    encoder = build("gnn", config, 32).train()
    wide = {"features": (0, 0, 0, 3), "neighbours": (0, 0, 0, 3), "kinds": (0, 3)}
    more = {name: functional.pad(values, wide[name]) for name, values in GRAPHS.items()}
    torch.testing.assert_close(encoder(more).embedding, encoder(GRAPHS).embedding)


def test_the_class_token_can_be_the_embedding():
    encoder = build("vit", SMALL["vit"] | {"pool": "class"}, 32)
    assert encoder.pooling == "class token"
    encoded = encoder({"image": IMAGES})
    assert not torch.allclose(encoded.embedding, encoded.tokens.mean(1))


def test_a_projection_moves_the_embedding_and_nothing_else():
    config = {"name": "vit", "config": SMALL["vit"], "dim": 5}
    projected = build("projected", config, 32).eval()
    inner, outer = projected.encoder({"image": IMAGES}), projected({"image": IMAGES})
    torch.testing.assert_close(outer.tokens, inner.tokens, rtol=0, atol=0)
    torch.testing.assert_close(outer.embedding, inner.embedding @ projected.projection.weight.T)
    assert projected.dim == 5
    assert projected.pooling == "projected mean of patch tokens"
    visible = torch.tensor([[0, 2]]).expand(3, 2)
    assert projected({"image": IMAGES}, visible=visible).tokens.shape == (3, 2, 16)


def test_published_weights_fill_the_encoder_within_a_projection(tmp_path: Path):
    projected = build("projected", {"name": "vit", "config": SMALL["vit"], "dim": 5}, 32)
    other = build("vit", SMALL["vit"], 32)
    save_file(other.net.state_dict(), tmp_path / "weights.safetensors")
    load_pretrained(projected, str(tmp_path / "weights.safetensors"))
    torch.testing.assert_close(projected.encoder({"image": IMAGES}).tokens, other({"image": IMAGES}).tokens)


def test_patches_that_are_not_visible_change_nothing():
    encoder = build("vit", SMALL["vit"], 32).eval()  # 16 patches on a grid of 4 x 4
    visible = torch.tensor([[1, 6, 11]]).expand(3, 3)
    changed = IMAGES.clone()
    changed[:, :, :8, :8] += 5  # patch 0
    torch.testing.assert_close(
        encoder({"image": changed}, visible=visible).tokens, encoder({"image": IMAGES}, visible=visible).tokens
    )
    every = torch.arange(16).expand(3, 16)
    torch.testing.assert_close(encoder({"image": IMAGES}, visible=every).tokens, encoder({"image": IMAGES}).tokens)


def test_the_end_of_a_text_is_its_last_real_token():
    encoder = build("causal_lm", SMALL["causal_lm"] | {"pool": "end"}, 32).eval()
    encoded = encoder(TEXTS)
    torch.testing.assert_close(encoded.embedding, encoded.tokens[torch.arange(3), torch.tensor([6, 3, 0])])
    longer = {name: torch.nn.functional.pad(values, (0, 4)) for name, values in TEXTS.items()}
    torch.testing.assert_close(encoder(longer).embedding, encoded.embedding)


def test_blocks_are_seen_before_the_last_norm():
    encoder = tiny.vit().eval()
    encoded = encoder({"image": torch.randn(2, 3, 16, 16)})
    torch.testing.assert_close(encoder.net.norm(encoded.features["block2"]), encoded.tokens)


def test_frames_of_a_clip_are_channels_in_their_order():
    encoder = build("vit", SMALL["vit"] | {"channels": 6}, 32).eval()
    clip = torch.cat([IMAGES, IMAGES.flip(0)], 1)
    as_clip, as_image = (encoder({name: x}) for name, x in (("video", clip.unflatten(1, (2, 3))), ("image", clip)))
    torch.testing.assert_close(as_clip.tokens, as_image.tokens, rtol=0, atol=0)
    assert not torch.allclose(encoder({"video": clip.unflatten(1, (2, 3)).flip(1)}).embedding, as_clip.embedding)


def test_a_spectrogram_of_another_length_passes_with_positions_of_its_own():
    """Its own grid resamples nothing; a shorter one is cut out of the middle, a longer one is stretched."""
    encoder = build("ast", SMALL["ast"], 32).eval()
    own = encoder.net.pos_embed
    assert encoder.grid == (4, 4)
    assert encoder.positions((4, 4)) is own
    grid = own[0, 2:].unflatten(0, (4, 4))
    torch.testing.assert_close(encoder.positions((4, 2))[0, 2:].unflatten(0, (4, 2)), grid[:, 1:3])
    longer = encoder.positions((4, 8))[0, 2:].unflatten(0, (4, 8))
    torch.testing.assert_close(longer[:, 0], grid[:, 0])
    torch.testing.assert_close(longer[:, 1], 0.75 * grid[:, 0] + 0.25 * grid[:, 1])
    torch.testing.assert_close(encoder.positions((4, 8))[0, :2], own[0, :2])
    assert encoder({"audio": torch.cat([SOUNDS, SOUNDS], 2)}).tokens.shape == (3, 32, 16)


def test_extra_tokens_of_a_spectrogram_are_no_part_of_the_embedding():
    encoder = build("ast", SMALL["ast"], 32).eval()
    encoded = encoder(INPUTS["ast"])
    assert encoded.tokens.shape == (3, encoder.num_tokens, 16)
    torch.testing.assert_close(encoded.embedding, encoded.tokens.mean(1))


def test_a_spectrogram_that_no_patches_fill_is_refused():
    with pytest.raises(WrongUse, match=r"16 mel bands and 30 frames must be multiples of patch \[4, 8\]"):
        build("ast", SMALL["ast"], 30)


def test_a_pyramid_halves_at_every_stage():
    levels = build("resnet", SMALL["resnet"], 32)({"image": IMAGES}).features
    assert [tuple(levels[f"stage{i}"].shape[1:]) for i in (1, 2, 3, 4)] == [
        (16, 32, 32),
        (32, 16, 16),
        (64, 8, 8),
        (128, 4, 4),
    ]


@pytest.mark.parametrize("stem", [{"stem": "small"}, {}, {"width": 64}])
def test_a_resnet_takes_as_many_channels_as_it_is_told(stem):
    encoder = build("resnet", {"layers": (1, 1, 1, 1), "width": 16, "channels": 5} | stem, 32).eval()
    assert encoder({"image": torch.randn(2, 5, 32, 32)}).embedding.shape == (2, encoder.dim)


def test_a_resnet_of_another_width_keeps_its_cells():
    encoder = build("resnet", SMALL["resnet"] | {"dim": 24}, 32).eval()
    encoded = encoder({"image": IMAGES})
    assert encoded.tokens.shape == (3, 16, 24)
    assert encoder.dim == 24
    assert encoded.tokens.min() < 0


@pytest.mark.parametrize("name", ["gru", "bert"])
@pytest.mark.parametrize("config", [{}, {"pool": "mean"}])
def test_padding_does_not_change_a_text(name: str, config: dict[str, str]):
    if config and name == "gru":
        pytest.skip("it has one embedding")
    encoder = build(name, SMALL[name] | config, 32).eval()
    together = encoder(TEXTS)
    for row, length in enumerate((7, 4, 1)):
        alone = encoder({name: values[row : row + 1, :length] for name, values in TEXTS.items()})
        torch.testing.assert_close(alone.embedding, together.embedding[row : row + 1])
        torch.testing.assert_close(alone.tokens, together.tokens[row : row + 1, :length])
        other = TEXTS["input_ids"].clone()
        other[row, length:] = 5  # nor does it matter what the padding is
        torch.testing.assert_close(encoder(TEXTS | {"input_ids": other}).embedding, together.embedding)


def test_a_text_is_read_both_ways_from_end_to_end():
    """The forth half of the embedding depends on the first token, and so does the back half; likewise on the last."""
    encoder = build("gru", SMALL["gru"], 32).eval()
    for place in (0, 3):
        other = TEXTS["input_ids"].clone()
        other[1, place] = (other[1, place] + 1) % 32  # text 1 has four tokens
        moved = (encoder(TEXTS | {"input_ids": other}).embedding - encoder(TEXTS).embedding)[1].abs()
        assert moved[:6].max() > 1e-4
        assert moved[6:].max() > 1e-4


def test_the_embedding_of_a_bert_is_its_first_token_or_the_mean():
    first = build("bert", SMALL["bert"], 32).eval()
    mean = build("bert", SMALL["bert"] | {"pool": "mean"}, 32).eval()
    mean.load_state_dict(first.state_dict())
    encoded = first(TEXTS)
    torch.testing.assert_close(encoded.embedding, encoded.tokens[:, 0])
    torch.testing.assert_close(mean(TEXTS).embedding[1], encoded.tokens[1, :4].mean(0))
    assert first.pooling != mean.pooling


def test_a_bert_looks_both_ways_and_tells_the_second_text_from_the_first():
    encoder = build("bert", SMALL["bert"], 32).eval()
    tokens = encoder(TEXTS).tokens
    other = TEXTS["input_ids"].clone()
    other[0, 6] = (other[0, 6] + 1) % 32
    assert (encoder(TEXTS | {"input_ids": other}).tokens - tokens)[0, 0].abs().max() > 1e-4
    second = (torch.arange(7) > 3).long().expand(3, -1)
    assert (encoder(TEXTS | {"token_type_ids": second}).tokens - tokens)[0, 0].abs().max() > 1e-4
    torch.testing.assert_close(encoder(TEXTS | {"token_type_ids": torch.zeros_like(second)}).tokens, tokens)


def test_published_weights_fill_a_bert_heads_and_prefixes_left_out(tmp_path: Path):
    saved, encoder = build("bert", SMALL["bert"], 32).eval(), build("bert", SMALL["bert"], 32).eval()
    around = {f"bert.{name}": tensor for name, tensor in saved.net.state_dict().items()}
    extra = {"cls.predictions.bias": torch.zeros(32), "bert.pooler.dense.bias": torch.zeros(16)}
    save_file(around | extra, tmp_path / "model.safetensors")
    load_pretrained(encoder, str(tmp_path / "model.safetensors"))
    torch.testing.assert_close(encoder(TEXTS).tokens, saved(TEXTS).tokens)


@pytest.mark.parametrize(("name", "width"), [("gru", 12), ("bert", 16)])
def test_a_text_encoder_is_one_graph_for_every_batch_and_length(name: str, width: int):
    encoder = build(name, SMALL[name], 32).eval()
    for _ in range(2):  # torch loads rules with the first export that would spoil the second
        graph = encoder_graph(encoder, {name: values.numpy() for name, values in TEXTS.items()}, ragged=True)
    axes = [[axis.dim_param or axis.dim_value for axis in out.type.tensor_type.shape.dim] for out in graph.graph.output]
    assert axes == [["batch", "length", width], ["batch", width]]
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    for rows, length in ((slice(0, 1), 7), (slice(1, 3), 4)):
        given = {name: values[rows, :length] for name, values in TEXTS.items()}
        _, embedding = session.run(None, {name: values.numpy() for name, values in given.items()})
        torch.testing.assert_close(torch.from_numpy(embedding), encoder(given).embedding)


def test_published_weights_of_another_size_are_resampled(tmp_path: Path):
    """A file of timm's own form, made for 16 pixels, fills an encoder of 32."""
    small, large = build("vit", SMALL["vit"], 16), build("vit", SMALL["vit"], 32)
    save_file(small.net.state_dict(), tmp_path / "weights.safetensors")
    load_pretrained(large, str(tmp_path / "weights.safetensors"))
    torch.testing.assert_close(large.net.blocks[0].attn.qkv.weight, small.net.blocks[0].attn.qkv.weight)
    assert large.net.pos_embed.shape == (1, 17, 16)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path):
    save_file(build("vit", SMALL["vit"] | {"dim": 32}, 32).net.state_dict(), tmp_path / "wide.safetensors")
    with pytest.raises(WrongUse, match=r"wide.safetensors' does not fit this encoder's config"):
        load_pretrained(build("vit", SMALL["vit"], 32), str(tmp_path / "wide.safetensors"))
    with pytest.raises(WrongUse, match=r"there is no file nowhere.safetensors"):
        load_pretrained(tiny.vit(), "nowhere.safetensors")
    with pytest.raises(WrongUse, match=r"'vit_of_nobody': give a timm model name"):
        load_pretrained(tiny.vit(), "vit_of_nobody")


def test_wrong_names_and_numbers_are_told():
    with pytest.raises(UnknownName, match=r"unknown encoder 'vitt'. Did you mean 'vit'"):
        build("vitt", {}, 32)
    with pytest.raises(WrongUse, match=r"size 30 must be a multiple of patch 8"):
        build("vit", SMALL["vit"], 30)
    with pytest.raises(
        WrongUse, match=r"encoder 'resnet': unknown key 'widht'. Known: block, channels, dim, layers, stem, width"
    ):
        build("resnet", {"widht": 3}, 32)


def test_a_vit_takes_images_of_another_size():
    """A small crop has fewer tokens, at positions resampled to its grid; the size it was built for has its own."""
    encoder, seen = tiny.vit().eval(), []
    encoder.net.blocks[0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    assert encoder({"image": torch.zeros(2, 3, 8, 8)}).tokens.shape == (2, 4, 16)
    encoder({"image": torch.zeros(2, 3, 16, 16)})
    bias = encoder.net.patch_embed.proj.bias
    torch.testing.assert_close(seen[1][0, 1:], bias + encoder.net.pos_embed[0, 1:])
    corner = (seen[0][0, 1:] - bias)[0]  # lies among the four corner positions it was resampled from
    four = encoder.net.pos_embed[0, 1:].reshape(4, 4, 16)[:2, :2].reshape(4, 16)
    assert torch.corrcoef(torch.stack([corner, four.mean(0)]))[0, 1] > 0.9


def test_what_is_hidden_from_a_vit_is_the_mask_token_at_its_place():
    encoder, image, token = tiny.vit().eval(), torch.randn(2, 3, 16, 16), torch.randn(16)
    mask = torch.zeros(2, 16, dtype=torch.bool)
    plain = encoder({"image": image})
    torch.testing.assert_close(encoder({"image": image}, mask=mask, mask_token=token).tokens, plain.tokens)
    mask[0, 5] = True
    hidden = encoder({"image": image}, mask=mask, mask_token=token)
    assert not torch.allclose(hidden.tokens[0], plain.tokens[0])
    torch.testing.assert_close(hidden.tokens[1], plain.tokens[1])
    other = image.clone()
    other[0, :, 4:8, 4:8] = 9.0  # patch 5 is in the second row and column of four
    torch.testing.assert_close(encoder({"image": other}, mask=mask, mask_token=token).tokens, hidden.tokens)


def test_layer_scale_starts_a_branch_at_the_given_strength():
    scaled = build("vit", SMALL["vit"] | {"layer_scale": 1e-5}, 32)
    gamma = torch.stack([scale.gamma for block in scaled.net.blocks for scale in (block.ls1, block.ls2)])
    torch.testing.assert_close(gamma, torch.full_like(gamma, 1e-5))
    encoded = scaled({"image": IMAGES})
    torch.testing.assert_close(encoded.features["block2"], encoded.features["block1"], atol=1e-3, rtol=1e-3)
