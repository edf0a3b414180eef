"""A head of boxes: it learns a block's place, gives what training meant, and saves and loads what it learnt."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import default_collate

from enfold.errors import WrongUse
from enfold.modalities.radiance import Radiance, RadiancePreprocess
from enfold.tasks import Prepared
from enfold.tasks.detect import Detect, DetectOptions, DetectSpec
from tests.examples import field, npz
from training import recipe
from training.adaptation.detect import Detector
from training.encoders import build
from training.heads import load_head, run_by, save_head
from training.methods import Item
from training.views.radiance import cropped, random_turn

PREPROCESS = RadiancePreprocess(size=16, voxel=0.2)
READER = Radiance(PREPROCESS)
# The block of `tests.examples.field`, in metres.
BLOCK = {"label": "chair", "centre": [-0.2, 1.0, 0.6], "size": [0.8, 0.8, 0.8]}
LABELS = ("bed", "chair")


def detector() -> Detector:
    torch.manual_seed(0)
    encoder = build("swin3d", {"dim": 12, "depths": [1, 1], "heads": [2, 2], "drop_path": 0.0}, PREPROCESS.size)
    return Detector.build(encoder, {"labels": LABELS, "width": 16, "depth": 1, "finer": 1}, PREPROCESS)


def item(**box: object) -> Item:
    return Item(READER.read(npz(**field())), 0, 0, {"boxes": json.dumps([BLOCK | box])})


def test_a_block_is_found_where_it_stands():
    made = detector()
    batch = default_collate([made.example(item(), np.random.default_rng(i)) for i in range(4)])
    optimizer = torch.optim.AdamW(made.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        losses = made(batch)
        losses["loss"].backward()
        optimizer.step()
    torch.testing.assert_close(losses["loss"], losses["classes"] + losses["boxes"] + losses["central"])
    head, samples = made.head.eval(), READER.prepare(item().value, parts=True)
    made.encoder.eval()
    graphs = run_by(head.graphs(made.encoder, READER.collate(samples * 2)))
    task = Detect(DetectSpec(**head.spec()), Path())
    [answer] = task.run(graphs, Prepared([samples], {}), DetectOptions())
    figures = task.measure([answer], [json.dumps([BLOCK])])
    assert figures["map25"] == 1.0
    np.testing.assert_allclose(answer.boxes[0].centre, BLOCK["centre"], atol=0.25)


def test_targets_turn_with_the_place():
    """Wherever a view puts the block, its box holds it."""
    for seed in range(12):
        [sample] = READER.prepare(item().value)
        values = cropped(sample.arrays["radiance"], sample.arrays["valid"])
        boxes = np.array([[4, 5, 3, 4, 4, 4.0]])  # in voxels of 0.2 m from the lowest corner
        turned, [box] = random_turn(values, boxes, np.random.default_rng(seed))
        place = np.argwhere((turned[0] > 0.7) & (turned[3] > 0.5)) + 0.5  # what is of the block's colour
        np.testing.assert_allclose(place.mean(0), box[:3], atol=1e-6)
        np.testing.assert_allclose(np.ptp(place, axis=0) + 1, box[3:])


def test_a_long_box_keeps_its_length_along_the_side_it_is_turned_to():
    values = np.zeros((4, 8, 6, 5), np.float32)
    values[3, 1:6, 2:4, 0:3] = 1
    boxes = np.array([[3.5, 3, 1.5, 5, 2, 3]])
    shapes = set()
    for seed in range(20):
        turned, [box] = random_turn(values, boxes, np.random.default_rng(seed))
        place = np.argwhere(turned[3] > 0) + 0.5
        np.testing.assert_allclose(place.mean(0), box[:3])
        np.testing.assert_allclose(np.ptp(place, axis=0) + 1, box[3:])
        shapes.add(turned.shape[1:])
    assert shapes == {(8, 6, 5), (6, 8, 5)}


def test_examples_hold_what_each_cell_answers_for():
    made = detector()
    example = made.example(item(), np.random.default_rng(0))
    assert example["label"].shape == (8**3,)
    assert set(example["label"]) == {-1, LABELS.index("chair")}
    own = example["label"] >= 0
    np.testing.assert_allclose(example["box"][own][:, 3:], 4.0)


def test_a_cell_beyond_the_place_answers_for_nothing():
    made = detector()
    made.eval()
    samples = READER.prepare(item().value)
    found = run_by(made.head.graphs(made.encoder, READER.collate(samples * 2)))("detect", READER.collate(samples))
    cells = made.head.cells.numpy()
    beyond = (cells > 12).any(1)  # the place has 12 voxels of 16
    assert not found["out_scores"][0, beyond].any()
    assert found["out_scores"][0, ~beyond].all()
    assert found["out_boxes"].shape == (1, 512, 7)


def test_a_saved_head_gives_the_same_boxes(tmp_path):
    made = detector().eval()
    save_head(tmp_path, made.head)
    back = load_head(tmp_path, made.encoder)
    levels = made.encoder(
        dict(
            zip(
                ("radiance", "valid"),
                map(torch.from_numpy, READER.collate(READER.prepare(item().value)).values()),
                strict=True,
            )
        )
    ).features
    for one, other in zip(made.head(levels), back.head(levels), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert back.spec == {"labels": list(LABELS), "graph": "detect"}


@pytest.mark.parametrize("box", [{"label": "elephant"}, {"yaw": 0.3}])
def test_a_box_that_the_head_cannot_give_is_refused(box):
    with pytest.raises(WrongUse, match=r"detect takes boxes along the axes, of bed, chair"):
        detector().example(item(**box), np.random.default_rng(0))


def test_columns_may_be_for_an_adaptation_and_must_be_for_something():
    assert recipe.load("nerf_mae").sides["boxes"].modality == "text"
    with pytest.raises(WrongUse, match=r"'point_cmae' takes no columns beside the item: leave out \[sides\] \(name\)"):
        recipe.load("point_cmae", overrides=["sides.name={modality='text', tokens=false}"])
