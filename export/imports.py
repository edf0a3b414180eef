"""A text encoder from a local sentence-transformers or Hugging Face folder, as a draft.

Its pooling, default prompt, truncation and normalisation are kept. The reference of the gate is transformers itself:
its own tokenizer, its own forward pass; of a table of token vectors, which is no model of transformers', the table.
"""
# B texts, T tokens, D features

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from enfold import modalities
from enfold.bundle import Lineage
from enfold.errors import WrongUse, require
from enfold.modalities import Arrays
from enfold.modalities.text import TOKENIZER, TextPreprocess
from enfold.tasks.rank import RankSpec
from export.draft import Draft, HeldOut, Reference, Twin, encode_with
from export.model_folder import ModelFolder
from export.onnx import encoder_graph
from export.pooling import POOLINGS
from training.encoders import Encoded, Encoder, Inputs


class TextEncoder(Encoder):
    """A transformer of Hugging Face's with a pooling on top."""

    def __init__(self, net: Any, pooling: str):
        super().__init__()
        self.net, self.dim, self.pooling = net, int(net.config.hidden_size), pooling

    def forward(self, inputs: Inputs) -> Encoded:
        mask = inputs["attention_mask"]
        tokens = self.net(input_ids=inputs["input_ids"], attention_mask=mask).last_hidden_state  # [B, T, D]
        return Encoded(tokens, POOLINGS[self.pooling](tokens, mask), token_mask=mask.bool())


class StaticEncoder(Encoder):
    """A vector for every token of the vocabulary, and their mean: sentence-transformers' StaticEmbedding, Model2Vec."""

    def __init__(self, vectors: Tensor):
        super().__init__()
        self.vectors, self.dim, self.pooling = nn.Embedding.from_pretrained(vectors), vectors.shape[1], "mean"

    def forward(self, inputs: Inputs) -> Encoded:
        mask, tokens = inputs["attention_mask"], self.vectors(inputs["input_ids"])  # [B, T, D]
        return Encoded(tokens, POOLINGS["mean"](tokens, mask), token_mask=mask.bool())


def text_draft(path: Path, held_out: HeldOut) -> Draft:
    """Raises WrongUse for a folder that cannot be imported as it is."""
    folder = ModelFolder.open(path)
    most = folder.max_tokens()
    preprocess = TextPreprocess(tokenizer=TOKENIZER, max_tokens=most, overlap_tokens=most // 8, prefix=folder.prefix())
    # Queries are put as the folder says, where it has a prompt of that name, else as every text.
    asked = folder.prompts.get("query", preprocess.prefix)
    rank = RankSpec(by="cosine", graph="encode_text", tokenizer=TOKENIZER, max_tokens=most, query_prefix=asked)
    encoder = _encoder(folder)
    prepare = _preparation(folder, preprocess)
    example = _example(prepare(held_out.items[0]))
    return Draft(
        modality="text",
        preprocess=preprocess.model_dump(mode="json", exclude_none=True),
        encoder=encoder_graph(encoder, example, ragged=True),
        twin=Twin(encoder, example, most),
        weights={name: tensor.numpy() for name, tensor in encoder.state_dict().items()},
        pooling=folder.pooling,
        normalize=folder.normalize,
        dimensions=encoder.dim,
        tokens=encoder.dim,
        reference=Reference(prepare, encode_with(encoder)),
        held_out=held_out,
        licence=folder.licence(),
        lineage=Lineage(source=f"{path.resolve().name}, weights sha256 {folder.digest()}"),
        tasks={"rank": rank.model_dump(mode="json")},
        resources={TOKENIZER: folder.tokenizer()},
        notes=tuple(
            f"For the prompt '{name}', which is used only where it is named, put {text!r} before the text."
            for name, text in folder.prompts.items()
            if text != preprocess.prefix
        ),
    )


def _encoder(folder: ModelFolder) -> Encoder:
    if folder.static:
        return StaticEncoder(_table(folder.root)).eval()
    # torch's fused attention is exported with a guard for rows that are masked altogether, which no text has: a tenth
    # of MiniLM's time.
    exact = {"use_safetensors": True, "dtype": torch.float32, "attn_implementation": "eager"}
    return TextEncoder(_loaded("AutoModel", folder.root, **exact), folder.pooling).eval()


def _table(folder: Path) -> Tensor:
    """float32 [V, D]"""
    try:
        tensors = load_file(folder / "model.safetensors")
    except (OSError, SafetensorError) as error:
        raise WrongUse(f"{folder / 'model.safetensors'} cannot be read: {error}") from None
    found = [tensors[name] for name in ("embedding.weight", "embeddings") if name in tensors]
    if len(tensors) != 1 or not found or found[0].ndim != 2:
        raise WrongUse(
            f"{folder / 'model.safetensors'} holds {', '.join(tensors) or 'nothing'}; a static embedding is one table "
            "[V, D] called 'embedding.weight' or 'embeddings'"
        )
    return found[0].float()


def _preparation(folder: ModelFolder, preprocess: TextPreprocess) -> Callable[[Any], Arrays]:
    """How sentence-transformers makes inputs of one text: prompt, lower case, transformers' tokenizer, truncation."""
    reader = modalities.get("text")(preprocess)
    if folder.static:
        words = Tokenizer.from_file(str(folder.root / "tokenizer.json"))
        words.no_padding()
        words.no_truncation()

        def ids(item: Any) -> Arrays:
            text = preprocess.prefix + reader.read(item)
            found = np.array(words.encode(text, add_special_tokens=False).ids[: preprocess.max_tokens], np.int64)
            return {"input_ids": found, "attention_mask": np.ones_like(found)}

        return ids
    tokenizer = _loaded("AutoTokenizer", folder.root)

    def prepare(item: Any) -> Arrays:
        text = preprocess.prefix + reader.read(item)
        text = text.lower() if folder.bert.get("do_lower_case") else text
        found = tokenizer(text, truncation=True, max_length=preprocess.max_tokens)
        return {name: np.array(found[name], np.int64) for name in ("input_ids", "attention_mask")}

    return prepare


def _loaded(kind: str, folder: Path, **options: Any) -> Any:
    """A model or tokenizer of transformers from local files, with no code of the folder's own."""
    transformers = require("transformers", "train", "importing a text encoder")
    transformers.logging.disable_progress_bar()
    try:
        return getattr(transformers, kind).from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False, **options
        )
    except Exception as error:  # transformers raises whatever its hundreds of models do
        raise WrongUse(f"{folder} cannot be loaded by transformers: {str(error).strip().splitlines()[0]}") from None


def _example(one: Arrays) -> Arrays:
    """Two texts of unlike length for tracing: the beginning of a real one, and less of it, padded."""
    batch = {name: np.stack([array[:7], array[:7]]) for name, array in one.items()}
    batch["attention_mask"][1, 5:] = 0
    return batch
