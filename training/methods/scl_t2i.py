"""SCL: class labels give image, text and generated image further positives, in pretraining and in generation.

Liu et al., "A Framework For Image Synthesis Using Supervised Contrastive Learning", ICPR 2024, arXiv:2412.03957.
Phase "encoders" matches images and texts (DAMSM), phase "generator" paints images for texts against a discriminator
(SSA-GAN's loss); both add supervised contrast over two branches that share all weights.
Our reading where the paper is silent: the branches are two views of an item with two of its captions, and share their
noise; contrast holds for image and text features, each among their own; its weight in the first phase is 1.
Temperature 0.5 and weight 0.2 are those of Ye et al. 2021, arXiv:2107.02423, its predecessor without labels.
"""
# B items, 2 branches, T tokens of a caption, D features, Z noise, C H W channels, height, width of an image

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, Field
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from enfold.errors import WrongUse
from enfold.modalities import Arrays, Modality
from enfold.modalities.text import Text
from training import recipe
from training.batches import Balanced
from training.blocks.damsm import damsm
from training.blocks.discriminator import Discriminator, hinge, matching_gradient_penalty
from training.blocks.generator import Generator
from training.blocks.supcon import supcon
from training.encoders import Encoded, Encoder, build
from training.heads.painter import Painter, PainterConfig
from training.methods import Batch, Item, Losses, Method, Turn
from training.views import image as views

BRANCHES = 2
BETAS = (0.5, 0.999)


class SCLT2IConfig(BaseModel, frozen=True, extra="forbid"):
    phase: Literal["encoders", "generator"] = "encoders"
    text_encoder: recipe.Encoder = recipe.Encoder(name="gru")
    caption: str = "caption"  # the side that holds an item's captions, one a line
    classes: int = Field(8, ge=1)  # of a batch, as many items of each
    rotation: float = Field(10.0, ge=0)  # degrees; views keep their colours, which captions name
    shift: float = Field(0.08, ge=0, lt=1)
    scale: tuple[float, float] = (0.9, 1.1)
    gammas: tuple[float, float, float] = (4.0, 5.0, 10.0)  # of DAMSM
    temperature: float = Field(0.5, gt=0)
    sup_on: Literal["image", "text", "both"] = "both"  # what the first phase contrasts
    encoder_contrast: float = Field(1.0, ge=0)  # weight of contrast in the first phase
    # The second phase, from here on.
    fake_contrast: float = Field(0.2, ge=0)  # weight of contrast among generated images
    damsm_weight: float = Field(0.1, ge=0)  # of one-stage generators; 5 to 50 of AttnGAN
    noise: int = Field(100, ge=1)
    condition: int = Field(100, ge=1)  # width of the blurred sentence
    width: int = Field(32, ge=1)  # channels of the largest maps
    average: float = Field(0.999, gt=0, lt=1)  # of the generator's weights, per step of its own
    penalty_weight: float = Field(2.0, ge=0)
    penalty_power: float = Field(6.0, gt=0)
    penalty_steps: int = Field(4, ge=1)  # the gradient penalty counts at every so manyth


class SCLT2I(Method):
    Config = SCLT2IConfig
    config: SCLT2IConfig
    takes_sides = True
    fresh = ("generator.", "discriminator.", "average.", "judged")
    mean: Tensor
    std: Tensor
    judged: Tensor  # steps of the discriminator

    def __init__(
        self,
        encoder: Encoder,
        config: SCLT2IConfig,
        preprocess: views.ImagePreprocess,
        sides: Mapping[str, Modality[Any]],
    ):
        super().__init__(encoder, config, preprocess)
        captions = sides.get(config.caption)
        if not isinstance(captions, Text):
            raise WrongUse(
                f"method 'scl_t2i' reads captions: let the recipe name a text column [sides.{config.caption}]; "
                f"it names {', '.join(sides) or 'none'}"
            )
        self.captions = captions
        self.text_encoder = build(config.text_encoder.name, config.text_encoder.config, captions.input_size)
        if self.text_encoder.dim != encoder.dim:
            raise WrongUse(
                f"scl_t2i compares images and texts: the image encoder has {encoder.dim} features, "
                f"the text encoder {self.text_encoder.dim}; let them have as many"
            )
        mean, std = (torch.tensor(values)[:, None, None] for values in (preprocess.mean, preprocess.std))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        if config.phase == "generator":
            D, size = encoder.dim, preprocess.size
            self.generator = Generator(
                noise=config.noise, text=D, condition=config.condition, width=config.width, size=size
            )
            self.discriminator = Discriminator(text=D, width=config.width, size=size)
            average = get_ema_multi_avg_fn(config.average)
            self.average = AveragedModel(self.generator, multi_avg_fn=average, use_buffers=True).requires_grad_(False)
            self.register_buffer("judged", torch.zeros((), dtype=torch.int64))

    def towers(self) -> dict[str, tuple[recipe.Encoder, Encoder]]:
        return {self.config.caption: (self.config.text_encoder, self.text_encoder)}

    def turns(self) -> tuple[Turn, ...]:
        if self.config.phase == "encoders":
            return ()
        return (
            Turn("discriminator", ("discriminator.",), betas=BETAS),
            Turn("generator", ("generator.",), betas=BETAS),
        )

    def sampler(self, items: Sequence[Item], batch: int, seed: int, start: int) -> Iterable[list[tuple[int, int]]]:
        return Balanced(items, batch, seed, start, classes=self.config.classes)

    def train(self, mode: bool = True) -> "SCLT2I":
        """The encoders learn nothing in the second phase, not even the statistics of their norms."""
        super().train(mode)
        if self.config.phase == "generator":
            self.encoder.eval()
            self.text_encoder.eval()
        return self

    def example(self, item: Item, rng: np.random.Generator) -> Arrays:
        """image [2, 3, H, W]; input_ids, attention_mask [2, T]; label: the two branches of an item."""
        config, lines = self.config, item.sides[self.config.caption].splitlines()
        chosen = rng.choice(len(lines), BRANCHES, replace=len(lines) < BRANCHES)
        texts = [self.captions.prepare(lines[line])[0].arrays for line in chosen]
        T = self.captions.preprocess.max_tokens
        padded = {name: np.stack([np.pad(text[name], (0, T - len(text[name]))) for text in texts]) for name in texts[0]}
        images = [
            views.random_affine(
                item.value,
                rng,
                size=self.preprocess.size,
                degrees=config.rotation,
                shift=config.shift,
                scale=config.scale,
                background=self.preprocess.background,
            )
            for _ in range(BRANCHES)
        ]
        image = np.stack([views.to_array(view, self.preprocess) for view in images])
        return {"image": image, **padded, "label": np.array(item.label)}

    def forward(self, batch: Batch) -> Losses:
        if self.config.phase == "encoders":
            return self.encoders_loss(batch)
        return self.discriminator_loss(batch) if self.turn == "discriminator" else self.generator_loss(batch)

    def encoders_loss(self, batch: Batch) -> Losses:
        config, labels = self.config, batch["label"]
        images = [self.encoder({"image": batch["image"][:, branch]}) for branch in range(BRANCHES)]
        texts = [self.text(batch, branch) for branch in range(BRANCHES)]
        pairs = zip(images, texts, strict=True)
        match = torch.stack([damsm(image, text, labels, gammas=config.gammas) for image, text in pairs]).sum()
        contrasted = {"image": [images], "text": [texts], "both": [images, texts]}[config.sup_on]
        contrast = torch.stack([self.contrast(branches, labels) for branches in contrasted]).sum()
        return {"loss": match + config.encoder_contrast * contrast, "damsm": match, "supcon": contrast}

    def discriminator_loss(self, batch: Batch) -> Losses:
        config, noise = self.config, self.noise(batch)
        loss = torch.zeros((), device=noise.device)
        for branch in range(BRANCHES):
            real, text = batch["image"][:, branch], self.text(batch, branch)
            sentence, (fake, _) = text.embedding, self.fake(noise, text)
            # Batches lie class by class, so that half a batch away is another class.
            others = sentence.roll(len(sentence) // 2, 0)
            judge, shown = self.discriminator.judge, self.discriminator.look(real)
            loss = loss + hinge(judge(shown, sentence), self.discriminator(fake, sentence), judge(shown, others))
            if int(self.judged) % config.penalty_steps == 0:
                loss = loss + matching_gradient_penalty(
                    self.discriminator, real, sentence, weight=config.penalty_weight, power=config.penalty_power
                )
        return {"loss": loss, "discriminator": loss.detach()}

    def generator_loss(self, batch: Batch) -> Losses:
        config, labels, noise = self.config, batch["label"], self.noise(batch)
        loss, seen = torch.zeros((), device=noise.device), []
        for branch in range(BRANCHES):
            text = self.text(batch, branch)
            fake, divergence = self.fake(noise, text)
            seen.append(self.encoder({"image": fake}))
            match = damsm(seen[branch], text, labels, gammas=config.gammas)
            loss = loss - self.discriminator(fake, text.embedding).mean() + config.damsm_weight * match + divergence
        contrast = self.contrast(seen, labels)
        return {"loss": loss + config.fake_contrast * contrast, "fake_supcon": contrast}

    def after_step(self, progress: float) -> None:
        if self.turn == "discriminator":
            self.judged += 1
        if self.turn == "generator":
            self.average.update_parameters(self.generator)
        if self.turn and progress >= 1:  # what remains is the average
            self.generator.load_state_dict(self.average.module.state_dict())

    @property
    def task_head(self) -> Painter | None:  # type: ignore[override]
        """The painter of the second phase."""
        config = self.config
        if config.phase == "encoders":
            return None
        facts = {name: getattr(config, name) for name in ("text_encoder", "noise", "condition", "width")}
        sizes = {"vocabulary": self.captions.input_size, "size": self.preprocess.size}
        painter = Painter(self.encoder, PainterConfig(**facts, **sizes))
        painter.text_encoder.load_state_dict(self.text_encoder.state_dict())
        painter.generator.load_state_dict(self.generator.state_dict())
        return painter

    def noise(self, batch: Batch) -> Tensor:
        """[B, Z], the same for both branches"""
        return torch.randn(len(batch["label"]), self.config.noise).to(batch["image"])

    def text(self, batch: Batch, branch: int) -> Encoded:
        """A branch's captions, padded no further than to their longest."""
        longest = int(batch["attention_mask"].sum(2).max())
        names = ("input_ids", "attention_mask")
        encoded: Encoded = self.text_encoder({name: batch[name][:, branch, :longest] for name in names})
        return encoded

    def fake(self, noise: Tensor, text: Encoded) -> tuple[Tensor, Tensor]:
        """A generated image [B, 3, H, W] as encoders see one, and the divergence of its condition from a normal one."""
        assert text.token_mask is not None
        mean, log_variance = self.generator.condition(text.embedding)
        condition = mean + (log_variance / 2).exp() * torch.randn(mean.shape).to(mean)
        divergence = (mean**2 + log_variance.exp() - log_variance - 1).mean() / 2
        image = self.generator.paint(noise, condition, text.tokens, text.token_mask)
        return ((image + 1) / 2 - self.mean) / self.std, divergence

    def contrast(self, branches: Sequence[Encoded], labels: Tensor) -> Tensor:
        features = torch.cat([one.embedding for one in branches])  # [2B, D]
        return supcon(features, labels.repeat(BRANCHES), temperature=self.config.temperature)


METHOD = SCLT2I
