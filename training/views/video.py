"""Views of one clip: whatever changes an image changes all its frames, by the same draws."""
# T frames, H W height and width, C channels (1 grey, 3 RGB)

from collections.abc import Callable

import numpy as np
from PIL import Image


def alike(
    clip: np.ndarray, rng: np.random.Generator, change: Callable[[np.ndarray, np.random.Generator], Image.Image]
) -> np.ndarray:
    """uint8 [T, H, W, C] with every frame changed alike, so that what tells frames apart is time alone.

    change   takes a frame, uint8 [H, W, 3] or grey [H, W], and the generator of its draws
    """
    seed = int(rng.integers(2**63))
    frames = clip[..., 0] if clip.shape[3] == 1 else clip
    changed = [np.asarray(change(frame, np.random.default_rng(seed))) for frame in frames]
    return np.stack(changed).reshape(len(clip), *changed[0].shape[:2], clip.shape[3])
