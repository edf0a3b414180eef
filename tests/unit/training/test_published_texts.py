"""A published text encoder, with its own tokenizer, is where a training begins."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from enfold import settings
from enfold.errors import WrongUse
from enfold.modalities.text import TOKENIZER
from tests.unit.export import drafts
from training import recipe
from training.artefacts import needed_encoder
from training.run import Run

PAGE = Path(__file__).parents[3] / "docs/how_to/continue_a_published_encoder.md"
WORDS = ("red", "green", "blue", "circle", "square", "ball")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)

    def sentence() -> str:
        return " ".join(rng.choice(WORDS, 4)).capitalize() + "."

    rows = [
        {
            "id": str(i),
            "text": "\n\n".join(f"{sentence()} {sentence()}" for _ in range(2)),
            "question": sentence(),
            "label": ("a", "b")[i % 2],
        }
        for i in range(60)
    ]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "texts.parquet")
    return tmp_path / "texts.parquet"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    return drafts.model_folder(tmp_path / "published")


def run_of(texts: Path, published: Path, tmp_path: Path, *more: str) -> Run:
    """The recipe of the how-to, on a small folder."""
    found = re.search(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    (tmp_path / "continued.toml").write_text(found[1])
    small = [
        f"data.source={texts}",
        f"tokenizer.model={published}",
        f"encoder.pretrained={published}",
        "encoder.config={dim=16, depth=2, heads=2, mlp_ratio=2, positions=64, pool='mean'}",
        "preprocess.max_tokens=24",
        "stage.structure.train.steps=3",
        "stage.structure.train.batch=8",
        "stage.structure.train.precision=fp32",
        *more,
    ]
    facts = recipe.load(str(tmp_path / "continued.toml"), overrides=small)
    return Run(facts.model_copy(update={"stage": facts.stage[:-1]}), settings.load())


def test_a_training_begins_at_published_weights_and_reads_with_their_tokenizer(texts, published, tmp_path):
    from transformers import AutoModel

    run = run_of(texts, published, tmp_path)
    stages = run.carry_out()["stages"]
    assert (run.path / TOKENIZER).read_bytes() == (published / "tokenizer.json").read_bytes()
    assert stages["before"]["figures"]["knn_accuracy"] >= 0
    assert stages["structure"]["figures"]["steps"] == 3
    before, structure, _ = run.recipe.stage
    inputs = {name: torch.from_numpy(array) for name, array in run.dataset.inputs(run.modality, 3).items()}
    own = AutoModel.from_pretrained(published, attn_implementation="eager").eval()
    with torch.no_grad():
        tokens, mask = own(**inputs).last_hidden_state, inputs["attention_mask"][..., None]
        want = (tokens * mask).sum(1) / mask.sum(1)
        torch.testing.assert_close(needed_encoder(before, run).eval()(inputs).embedding, want)
        after = needed_encoder(before.model_copy(update={"needs": (structure.name,)}), run)(inputs).embedding
    assert 0 < (after - want).abs().max() < 0.1  # a few small steps from there


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            "tokenizer.model=nowhere",
            r"'nowhere' holds no tokenizer.json: name a model that can be fetched \(minilm, wordllama\)",
        ),
        ("tokenizer.vocabulary=400", "name one of them"),
        ("tokenizer={}", "name one of them"),
        ("encoder.config.depth=3", "does not fit this encoder's config"),
        ("encoder.pretrained=nothing", "give a timm model name or the path"),
        ("preprocess.max_tokens=65", "max_tokens is 65, but the encoder has 64 positions"),
    ],
)
def test_what_does_not_fit_is_told(change, why, texts, published, tmp_path):
    with pytest.raises(WrongUse, match=why):
        run_of(texts, published, tmp_path, change).carry_out()
