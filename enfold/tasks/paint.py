"""paint: an image for a text, from noise that a seed draws."""
# B images, Z noise, H W height and width

import io
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from enfold.modalities import Spec
from enfold.tasks import Graphs, Prepared, Task


class PaintSpec(Spec):
    graph: str  # input_ids, attention_mask [B, T], noise [B, Z] -> out_image [B, 3, H, W] in [-1, 1]
    noise: int = Field(ge=1)


class PaintOptions(BaseModel, extra="forbid"):
    seed: int = Field(0, ge=0, description="the same seed paints the same image")
    count: int = Field(1, ge=1, le=16, description="images for each text")


class PaintAnswer(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    images: list[bytes] = Field(description="PNG")


class Paint(Task[PaintAnswer]):
    name = "paint"
    Spec, Options, Answer = PaintSpec, PaintOptions, PaintAnswer
    encodes, modality = False, "text"

    def run(self, graphs: Graphs, prepared: Prepared, options: PaintOptions) -> list[PaintAnswer]:
        noise = np.random.default_rng(options.seed).standard_normal((options.count, self.spec.noise), np.float32)
        answers = []
        for [sample, *_] in prepared.samples:
            text = {name: np.repeat(array[None], options.count, 0) for name, array in sample.arrays.items()}
            image = graphs(self.spec.graph, text | {"noise": noise})["out_image"]
            answers.append(PaintAnswer(images=[_png(one) for one in image]))
        return answers

    def measure(self, answers: Sequence[PaintAnswer], truth: Sequence[str]) -> dict[str, float]:
        """How far images of different texts are apart: the deviation of a pixel, of 1 in all. 0 = one image for all."""
        first = np.stack([pixels(answer.images[0]) for answer in answers]) / 255
        return {"spread": float(first.std(0).mean())}


def pixels(png: bytes) -> np.ndarray:
    """uint8 [H, W, 3]"""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def _png(image: np.ndarray) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    shades = np.clip(np.round((image.transpose(1, 2, 0) + 1) * 127.5), 0, 255).astype(np.uint8)
    Image.fromarray(shades).save(file, "PNG")
    return file.getvalue()
