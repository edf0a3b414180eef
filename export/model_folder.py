"""What the files of a local sentence-transformers or Hugging Face folder say. Executes and unpickles nothing."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, normalizers

from enfold.errors import WrongUse
from export.pooling import POOLINGS

_MODULES = ("Transformer", "Pooling", "Normalize")
_STATIC_MODULES = ("StaticEmbedding", "Normalize")
_STATIC_TOKENS = 512  # where a text is cut, or its windows end, of a table that has no limit of its own
_ENDLESS = 10**6  # tokenizers without a limit of their own write 10^30


class ModelFolder:
    """Raises WrongUse where the files say something that a bundle cannot keep."""

    def __init__(self, path: Path):
        self.path = path
        if not (path / "modules.json").is_file() and not (path / "config.json").is_file():
            raise WrongUse(f"{path} is no model folder: it holds neither modules.json nor config.json")
        self.modules = self._modules()
        self.static = "StaticEmbedding" in self.modules
        self.root = path / next(iter(self.modules.values()))
        self._check_files()
        self.bert: dict[str, Any] = self._json("sentence_bert_config.json", self.root)
        self.pooling = self._pooling()
        self.normalize = "Normalize" in self.modules
        self.prompts: dict[str, str] = self._json("config_sentence_transformers.json").get("prompts") or {}

    @classmethod
    def open(cls, path: Path) -> "ModelFolder":
        try:
            return cls(path)
        except (KeyError, TypeError, AttributeError) as error:
            raise WrongUse(f"{path}: its settings are not as sentence-transformers writes them ({error!r})") from None

    def prefix(self) -> str:
        """The default prompt; sentence-transformers uses the others only where a caller names one."""
        default = self._json("config_sentence_transformers.json").get("default_prompt_name")
        if default is None:
            return ""
        if default not in self.prompts:
            raise WrongUse(
                f"{self.path}: default_prompt_name '{default}' is none of the prompts: {', '.join(self.prompts)}"
            )
        return self.prompts[default]

    def tokenizer(self) -> bytes:
        """tokenizer.json; where the folder says do_lower_case, that becomes a step of it.

        A table's is without the tokens that are put before and behind a text, as sentence-transformers uses it.
        """
        data = (self.root / "tokenizer.json").read_bytes()
        if self.static:
            data = json.dumps(json.loads(data) | {"post_processor": None}, ensure_ascii=False).encode()
        if not self.bert.get("do_lower_case"):
            return data
        tokenizer = Tokenizer.from_str(data.decode())
        steps = [normalizers.Lowercase(), *([tokenizer.normalizer] if tokenizer.normalizer else [])]
        tokenizer.normalizer = normalizers.Sequence(steps)
        return tokenizer.to_str().encode()

    def max_tokens(self) -> int:
        """As sentence-transformers finds it: stated, or what tokenizer and position embeddings allow."""
        if self.static:
            return _STATIC_TOKENS
        config, tokens = self._json("config.json", self.root), self._json("tokenizer_config.json", self.root)
        bounds = [config.get("max_position_embeddings"), tokens.get("model_max_length")]
        known = [bound for bound in bounds if isinstance(bound, int) and 0 < bound < _ENDLESS]
        most = self.bert.get("max_seq_length") or min(known, default=None)
        if not isinstance(most, int) or most < 8:
            raise WrongUse(f"{self.root}: max_seq_length is {most}; set it to 8 or more in sentence_bert_config.json")
        return most

    def licence(self) -> str:
        """As the model card's first lines state it."""
        card = self.path / "README.md"
        stated = (
            re.search(r"^license:\s*(\S.*)$", card.read_text(errors="replace")[:5000], re.M) if card.is_file() else None
        )
        return stated[1].strip() if stated else "not stated"

    def digest(self) -> str:
        """sha256 of the weights files."""
        digest = hashlib.sha256()
        for file in sorted(self.root.glob("*.safetensors")):
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
        return digest.hexdigest()

    def _modules(self) -> dict[str, str]:
        """Kind -> sub-folder of what modules.json chains; without it, a transformer alone."""
        if not (self.path / "modules.json").is_file():
            return {"Transformer": ""}
        listed = self._json("modules.json")
        kinds = {row["type"].rpartition(".")[2]: row.get("path", "") for row in listed}
        first = next(iter(kinds), "nothing")
        known = _STATIC_MODULES if first == _STATIC_MODULES[0] else _MODULES
        unknown = [kind for kind in kinds if kind not in known]
        if unknown or first != known[0]:
            raise WrongUse(
                f"{self.path}: modules.json lists '{unknown[0] if unknown else first}'; an import is "
                f"{', '.join(_MODULES)}, in this order, or {' and '.join(_STATIC_MODULES)}"
            )
        return kinds

    def _check_files(self) -> None:
        if not any(self.root.glob("*.safetensors")):
            pickles = [file.name for suffix in ("*.bin", "*.pt", "*.ckpt") for file in self.root.glob(suffix)]
            found = f"only {pickles[0]}, a pickle, which is never opened" if pickles else "no weights"
            raise WrongUse(f"{self.root} holds {found}: save the model as safetensors (save_pretrained does)")
        if not (self.root / "tokenizer.json").is_file():
            raise WrongUse(
                f"{self.root} holds no tokenizer.json: save its fast tokenizer there (tokenizer.save_pretrained)"
            )

    def _pooling(self) -> str:
        if "Pooling" not in self.modules:
            return "mean"  # what sentence-transformers adds to a plain transformer
        config = self._json("config.json", self.path / self.modules["Pooling"])
        old = [
            key.removeprefix("pooling_mode_") for key, on in config.items() if key.startswith("pooling_mode_") and on
        ]
        modes = [config["pooling_mode"]] if isinstance(config.get("pooling_mode"), str) else old
        names = [mode.removesuffix("_tokens").removesuffix("_token") for mode in modes]
        if len(names) != 1 or names[0] not in POOLINGS:
            raise WrongUse(
                f"{self.path}: pooling '{' + '.join(names) or 'none'}' is not known. Known: {', '.join(POOLINGS)}."
            )
        if config.get("include_prompt") is False:
            raise WrongUse(f"{self.path}: a pooling that leaves the prompt out (include_prompt = false) cannot be kept")
        return names[0]

    def _json(self, name: str, folder: Path | None = None) -> Any:
        """The content of a file, {} if it is not there."""
        file = (folder or self.path) / name
        try:
            return json.loads(file.read_bytes()) if file.is_file() else {}
        except ValueError:
            raise WrongUse(f"{file} is not JSON") from None
