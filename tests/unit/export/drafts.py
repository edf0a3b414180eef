"""Encoders of a few thousand weights and the real files they come in: image drafts, text model folders, runs."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from enfold.bundle import Lineage
from enfold.modalities import get
from export.draft import Draft, HeldOut, Reference, Twin, encode_with
from export.onnx import encoder_graph, task_graph
from training.encoders import Encoder, build, save_encoder
from training.heads import GraphModule, save_head
from training.heads.classifier import Classifier, ClassifierConfig, ood_statistics

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}
VIT: dict[str, Any] = {"patch": 4, "dim": 16, "depth": 2, "heads": 2}
SIZE = 16
WORDS = [
    *("the", "a", "cat", "dog", "sat", "ran", "on", "under", "mat", "tree"),
    *("while", "birds", "sang", "and", "rain", "fell", "over", "old", "quiet", "houses"),
]


def picture(i: int) -> np.ndarray:
    """A noisy square of one of the colours on another, uint8 [20, 20, 3]."""
    rng = np.random.default_rng(i)
    colour = list(COLOURS.values())[i % 3]
    pixels = rng.integers(0, 256, (20, 20, 3), np.uint8)
    x, y = rng.integers(0, 12, 2)
    pixels[y : y + 9, x : x + 9] = colour
    return pixels


def vit(seed: int = 0) -> Encoder:
    """Weights far from the tiny ones of a fresh ViT: its outputs depend on everything, as a trained one's do."""
    torch.manual_seed(seed)
    encoder = build("vit", VIT, SIZE)
    with torch.no_grad():
        for name, weight in encoder.named_parameters():
            if weight.ndim > 1 and "norm" not in name:
                weight.normal_(std=0.3)
    return encoder.eval()


def three_way(seed: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Linear(VIT["dim"], 3)


def image_draft(encoder: Encoder, *, count: int = 40) -> Draft:
    """The encoder with a classify head over three colours."""
    modality, head = get("image")(get("image").Preprocess(size=SIZE)), three_way()
    items = [picture(i) for i in range(count)]

    def prepare(item: Any) -> dict[str, np.ndarray]:
        return modality.prepare(item)[0].arrays

    example = modality.collate([modality.prepare(item)[0] for item in items[:3]])
    embedding = {"embedding": np.zeros((2, encoder.dim), np.float32)}
    return Draft(
        modality="image",
        preprocess=modality.preprocess.model_dump(mode="json"),
        encoder=encoder_graph(encoder, example),
        twin=Twin(encoder, example, None),
        weights={name: tensor.numpy() for name, tensor in encoder.state_dict().items()},
        pooling=encoder.pooling,
        normalize=True,
        dimensions=encoder.dim,
        reference=Reference(prepare, encode_with(encoder, {"classify": head})),
        held_out=HeldOut("pictures", "made by a test", items, [list(COLOURS)[i % 3] for i in range(count)]),
        licence="Apache-2.0",
        lineage=Lineage(source="made by a test"),
        heads={
            "classify": task_graph(GraphModule("head", head, embedding, {"embedding": {0: "batch"}}, ("out_classify",)))
        },
        tasks={"classify": {"labels": list(COLOURS), "head": "head_classify", "temperature": 1.0}},
    )


def photos(folder: Path, count: int = 60) -> Path:
    """PNG files in one folder per colour."""
    for i in range(count):
        place = folder / list(COLOURS)[i % 3] / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(i)).save(place)
    return folder


def run(folder: Path, source: Path) -> Path:
    """What training leaves behind: an encoder, a head fitted on it, figures."""
    stages = [
        {"name": "pretrain", "verb": "pretrain", "method": "gmml"},
        {"name": "classify", "verb": "adapt", "adaptation": "linear", "needs": ["pretrain"]},
        {"name": "export", "verb": "export", "bundle": "photos", "needs": ["pretrain", "classify"]},
    ]
    recipe = {
        "slug": "tiny",
        "modality": "image",
        "data": {"source": str(source)},
        "preprocess": {"size": SIZE},
        "encoder": {"name": "vit", "config": VIT},
        "stage": stages,
    }
    for name in ("pretrain", "classify"):
        (folder / "stages" / name).mkdir(parents=True)
        (folder / "stages" / name / "done.json").write_text(json.dumps({"figures": {"accuracy": 0.5}}))
    save_encoder(vit(), folder / "stages" / "pretrain", name="vit", config=VIT, size=SIZE)
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(60, 16)), np.arange(60) % 3
    statistics = ood_statistics(features, labels, features)
    torch.manual_seed(0)
    head = Classifier(vit(), ClassifierConfig(labels=("blue", "green", "red")))
    file = io.BytesIO()
    np.savez(file, **statistics)
    spec = {"temperature": 1.5, "statistics": "resources/statistics.npz"}
    save_head(folder / "stages" / "classify", head, spec=spec, **{"statistics.npz": file.getvalue()})
    (folder / "recipe.json").write_text(json.dumps(recipe))
    story = {"id": "tiny-1", "recipe_digest": "r", "data": {"name": "photos", "fingerprint": "f"}}
    (folder / "run.json").write_text(json.dumps(story))
    return folder


def texts(count: int = 40) -> list[str]:
    """Sentences of 2 to 40 words, no two alike."""
    rng = np.random.default_rng(0)
    return [f"{' '.join(rng.choice(WORDS, int(rng.integers(2, 40))))} {WORDS[i % 20]} {i}" for i in range(count)]


def manifest(path: Path) -> Path:
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts()))
    return path


def model_folder(folder: Path, *, pooling: dict[str, Any] | None = None, bert: dict[str, Any] | None = None) -> Path:
    """A sentence-transformers folder with a BERT of two layers, as its own library writes it."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *map(str, range(10)), "query", ":", "The"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.NFC(), pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    BertModel(config).save_pretrained(folder)
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    kinds = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    modules = [
        {"idx": i, "name": str(i), "path": kinds[kind], "type": f"st.models.{kind}"} for i, kind in enumerate(kinds)
    ]
    write(folder / "modules.json", modules)
    write(folder / "1_Pooling" / "config.json", pooling or {"pooling_mode_mean_tokens": True})
    write(folder / "sentence_bert_config.json", bert or {"max_seq_length": 24, "do_lower_case": False})
    return folder


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))
