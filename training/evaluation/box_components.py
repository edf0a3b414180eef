"""What boxes cost nothing: lumps of matter off the walls, called by their size and colour. Learns nothing of shapes.

A random forest on colour, size and place of the training things' own boxes names each lump, from all training items,
however few labels the judged head has seen. How dense matter is and what a lump must weigh is chosen on validation.
"""
# X Y Z voxels

import numpy as np
from scipy import ndimage
from sklearn.ensemble import RandomForestClassifier

from enfold.modalities.radiance import Grid
from enfold.tasks.detect import Box, Detect, DetectAnswer, DetectSpec, Scored, Truth
from training.evaluation import Subject

NEEDS_LABELS = False
DENSE = (1.0, 3.0, 8.0)  # per metre
LEAST = (6, 15, 40)  # voxels of a lump
_SHELL = 2  # voxels of walls, floor and ceiling


def evaluate(subject: Subject) -> dict[str, float]:
    grids, truth = {}, {}
    for split in ("train", "val", "test"):
        data = subject.data(split)
        grids[split] = [data.read(i, subject.modality) for i in range(len(data))]
        truth[split] = subject.side(split, "boxes")
    things = [
        (grid, box)
        for grid, text in zip(grids["train"], truth["train"], strict=True)
        for box in Truth.validate_json(text)
    ]
    labels = sorted({box.label for _, box in things})
    told = np.stack([described(grid, box) for grid, box in things])
    forest = RandomForestClassifier(100, random_state=0, n_jobs=1).fit(told, [box.label for _, box in things])
    task = Detect(DetectSpec(labels=tuple(labels), graph=""), subject.dataset.folder)

    def figures(split: str, dense: float, least: int) -> dict[str, float]:
        return task.measure([answered(grid, forest, dense, least) for grid in grids[split]], truth[split])

    tried = [(dense, least) for dense in DENSE for least in LEAST]
    best = max(tried, key=lambda one: figures("val", *one)["map25"])
    return {name: value for name, value in figures("test", *best).items() if name.startswith(("map", "recall"))}


def answered(grid: Grid, forest: RandomForestClassifier, dense: float, least: int) -> DetectAnswer:
    """Every lump with every label, as likely as the forest finds it."""
    boxes = lumps(grid, dense, least)
    if not boxes:
        return DetectAnswer(boxes=[])
    shares = forest.predict_proba(np.stack([described(grid, box) for box in boxes]))
    scored = [
        Scored(label=label, centre=box.centre, size=box.size, score=float(share))
        for box, row in zip(boxes, shares, strict=True)
        for label, share in zip(forest.classes_, row, strict=True)
    ]
    return DetectAnswer(boxes=scored)


def lumps(grid: Grid, dense: float, least: int) -> list[Box]:
    """Boxes round voxels of at least that density that hang together, walls, floor and ceiling left out."""
    matter = grid.density > dense
    inner = np.zeros_like(matter)
    inside = tuple(slice(_SHELL, -_SHELL) for _ in range(3))
    inner[inside] = matter[inside]
    numbers, _ = ndimage.label(inner)
    weights = np.bincount(numbers.ravel())
    side = grid.extent / matter.shape
    found = []
    for number, piece in enumerate(ndimage.find_objects(numbers), 1):
        if weights[number] >= least:
            low, high = ([getattr(along, end) for along in piece] for end in ("start", "stop"))
            low[2] = 1  # whatever stands, stands on the floor
            size = (np.array(high) - low) * side
            centre = grid.bounds[0] + np.array(low) * side + size / 2
            found.append(Box(label="", centre=tuple(centre.tolist()), size=tuple(size.tolist())))
    return found


def described(grid: Grid, box: Box) -> np.ndarray:
    """Size, height, mean density and mean colour of what a box holds, [8]."""
    side = grid.extent / grid.density.shape
    low, high = (
        np.clip(
            np.round((np.array(box.centre) + sign * np.array(box.size) / 2 - grid.bounds[0]) / side),
            0,
            grid.density.shape,
        )
        for sign in (-1, 1)
    )
    piece = tuple(slice(int(first), max(int(first) + 1, int(last))) for first, last in zip(low, high, strict=True))
    density, rgb = grid.density[piece], grid.rgb[piece].reshape(-1, 3)
    weight = density.ravel() + 1e-6
    colour = (rgb * weight[:, None]).sum(0) / weight.sum() if len(rgb) else np.zeros(3)
    return np.array([*sorted(box.size[:2]), box.size[2], box.centre[2], density.mean() if density.size else 0, *colour])
