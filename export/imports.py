"""A text encoder from a local sentence-transformers or Hugging Face folder, as a draft.

Its pooling, prompt, truncation and normalisation are read from the folder's own files and kept. Nothing in it is
executed: safetensors only, no remote code.
"""
# B texts, T tokens, D features

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, normalizers

from enfold import modalities
from enfold.bundle import Lineage
from enfold.errors import WrongUse, require
from enfold.modalities import Arrays
from enfold.modalities.text import TextPreprocess
from export.draft import Draft, HeldOut, Reference
from export.onnx import encoder_graph
from export.pooling import POOLINGS
from training.encoders import Encoded, Encoder, Inputs

TOKENIZER = "resources/tokenizer.json"
_MODULES = ("Transformer", "Pooling", "Normalize")
_ENDLESS = 10**6  # tokenizers without a limit of their own write 10^30


class TextEncoder(Encoder):
    """A transformer of Hugging Face's with a pooling on top."""

    def __init__(self, net: torch.nn.Module, dim: int, pooling: str):
        torch.nn.Module.__init__(self)
        self.net, self.dim, self.pooling = net, dim, pooling

    def forward(self, inputs: Inputs) -> Encoded:
        mask = inputs["attention_mask"]
        tokens = self.net(input_ids=inputs["input_ids"], attention_mask=mask).last_hidden_state  # [B, T, D]
        return Encoded(tokens, POOLINGS[self.pooling](tokens, mask), token_mask=mask.bool())


class ModelFolder:
    """What the files of the folder say. Raises WrongUse where they say something that cannot be kept."""

    def __init__(self, path: Path):
        self.path = path
        if not (path / "modules.json").is_file() and not (path / "config.json").is_file():
            raise WrongUse(f"{path} is no model folder: it holds neither modules.json nor config.json")
        self.modules = self._modules()
        self.root = path / self.modules.get("Transformer", "")
        self._check_files()
        self.pooling = self._pooling()
        self.normalize = "Normalize" in self.modules
        self.prompts: dict[str, str] = self._json("config_sentence_transformers.json").get("prompts") or {}

    def prefix(self) -> str:
        """The default prompt; sentence-transformers uses the others only where a caller names one."""
        default = self._json("config_sentence_transformers.json").get("default_prompt_name")
        if default is None:
            return ""
        if default not in self.prompts:
            raise WrongUse(f"{self.path}: default_prompt_name '{default}' is none of the prompts: {', '.join(self.prompts)}")
        return self.prompts[default]

    def tokenizer(self) -> bytes:
        """tokenizer.json; where the folder says do_lower_case, that becomes a step of it."""
        data = (self.root / "tokenizer.json").read_bytes()
        if not self._bert().get("do_lower_case"):
            return data
        tokenizer = Tokenizer.from_str(data.decode())
        steps = [normalizers.Lowercase(), *([tokenizer.normalizer] if tokenizer.normalizer else [])]
        tokenizer.normalizer = normalizers.Sequence(steps)  # type: ignore[assignment]
        return tokenizer.to_str().encode()

    def max_tokens(self) -> int:
        """As sentence-transformers finds it: stated, or what tokenizer and position embeddings allow."""
        stated = self._bert().get("max_seq_length")
        if stated is not None:
            return int(stated)
        config, tokens = self._json("config.json", self.root), self._json("tokenizer_config.json", self.root)
        bounds = [config.get("max_position_embeddings"), tokens.get("model_max_length")]
        known = [int(bound) for bound in bounds if bound is not None and 0 < bound < _ENDLESS]
        if not known:
            raise WrongUse(f"{self.path} does not say how many tokens it takes: set max_seq_length in sentence_bert_config.json")
        return min(known)

    def encoder(self) -> TextEncoder:
        transformers = require("transformers", "train", "importing a text encoder")
        try:
            net = transformers.AutoModel.from_pretrained(
                str(self.root), local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
            )
        except Exception as error:  # transformers raises whatever its hundreds of models do
            raise WrongUse(f"{self.root} cannot be loaded by transformers: {str(error).splitlines()[0]}") from None
        return TextEncoder(net, int(net.config.hidden_size), self.pooling).eval()

    def digest(self) -> str:
        """sha256 of the weights files."""
        digest = hashlib.sha256()
        for file in sorted(self.root.glob("*.safetensors")):
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
        return digest.hexdigest()

    def _modules(self) -> dict[str, str]:
        """Kind -> sub-folder of what modules.json chains; a plain Hugging Face folder is a transformer, pooled by mean."""
        if not (self.path / "modules.json").is_file():
            return {"Transformer": ""}
        listed = self._json("modules.json")
        kinds = {row["type"].rpartition(".")[2]: row.get("path", "") for row in listed}
        unknown = [kind for kind in kinds if kind not in _MODULES]
        if unknown or list(kinds)[:1] != ["Transformer"]:
            odd = unknown[0] if unknown else next(iter(kinds), "nothing")
            raise WrongUse(f"{self.path}: modules.json lists '{odd}'; an import is Transformer, Pooling, Normalize, in this order")
        return kinds

    def _check_files(self) -> None:
        if not any(self.root.glob("*.safetensors")):
            pickles = [file.name for suffix in ("*.bin", "*.pt", "*.ckpt") for file in self.root.glob(suffix)]
            found = f"only {pickles[0]}, a pickle, which is never opened" if pickles else "no weights"
            raise WrongUse(
                f"{self.root} holds {found}: save the model as model.safetensors (save_pretrained with a current transformers)"
            )
        if not (self.root / "tokenizer.json").is_file():
            raise WrongUse(f"{self.root} holds no tokenizer.json: save its fast tokenizer there (tokenizer.save_pretrained)")

    def _pooling(self) -> str:
        if "Pooling" not in self.modules:
            return "mean"  # what sentence-transformers adds to a plain transformer
        config = self._json("config.json", self.path / self.modules["Pooling"])
        old = [key.removeprefix("pooling_mode_") for key, on in config.items() if key.startswith("pooling_mode_") and on]
        modes = [config["pooling_mode"]] if isinstance(config.get("pooling_mode"), str) else old
        names = [mode.removesuffix("_tokens").removesuffix("_token") for mode in modes]
        if len(names) != 1 or names[0] not in POOLINGS:
            raise WrongUse(f"{self.path}: pooling '{' + '.join(names) or 'none'}' is not known. Known: {', '.join(POOLINGS)}.")
        if config.get("include_prompt") is False:
            raise WrongUse(f"{self.path}: a pooling that leaves the prompt out (include_prompt = false) cannot be kept")
        return names[0]

    def _bert(self) -> dict[str, Any]:
        return self._json("sentence_bert_config.json", self.root)

    def _json(self, name: str, folder: Path | None = None) -> Any:
        """The content of a file, {} if it is not there."""
        file = (folder or self.path) / name
        try:
            return json.loads(file.read_bytes()) if file.is_file() else {}
        except ValueError:
            raise WrongUse(f"{file} is not JSON") from None


def text_draft(path: Path, held_out: HeldOut) -> Draft:
    """Raises WrongUse for a folder that cannot be imported as it is."""
    folder = ModelFolder(path)
    most = folder.max_tokens()
    preprocess = TextPreprocess(tokenizer=TOKENIZER, max_tokens=most, overlap_tokens=most // 8, prefix=folder.prefix())
    encoder = folder.encoder()
    prepare = _tokenize(folder, preprocess)
    example = {name: np.stack([array[:2], array[-2:]]) for name, array in prepare(held_out.items[0]).items()}
    unused = {name: text for name, text in folder.prompts.items() if text and text != preprocess.prefix}
    notes = [f"The model also knows the prompt '{name}': put {text!r} before such a text yourself." for name, text in unused.items()]
    return Draft(
        modality="text",
        preprocess=preprocess.model_dump(mode="json"),
        encoder=encoder_graph(encoder, example),
        weights={name: tensor.numpy() for name, tensor in encoder.state_dict().items()},
        pooling=folder.pooling,
        normalize=folder.normalize,
        dimensions=encoder.dim,
        reference=Reference(prepare, _encode(encoder)),
        held_out=held_out,
        licence=licence(path),
        lineage=Lineage(source=f"{path.resolve().name}, weights sha256 {folder.digest()}"),
        resources={TOKENIZER: folder.tokenizer()},
        notes=tuple(notes),
    )
