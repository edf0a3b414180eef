"""A transformer of a text's tokens that look both ways (Devlin et al. 2019, BERT, arXiv:1810.04805).

Blocks are transformers' own, so that weights published in their form fill it.
"""
# B batch, T tokens, D features

from typing import Literal

from pydantic import BaseModel, Field, model_validator
from transformers import BertConfig, BertModel

from training.encoders import Encoded, Encoder, Inputs


class BertEncoderConfig(BaseModel, frozen=True, extra="forbid"):
    dim: int = Field(128, ge=1)
    depth: int = Field(2, ge=1)
    heads: int = Field(2, ge=1)
    mlp_ratio: float = Field(4.0, gt=0)
    positions: int = Field(512, ge=8)  # tokens that a text has at most
    dropout: float = Field(0.1, ge=0, lt=1)
    pool: Literal["cls", "mean"] = "cls"  # the embedding: the token that every text begins with, or the mean of all
    special: int = Field(0, ge=0)  # tokens below this number stand for nothing in the text: no part of the mean

    @model_validator(mode="after")
    def _fit(self) -> "BertEncoderConfig":
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} must be a multiple of heads {self.heads}")
        return self


class Bert(Encoder):
    """Inputs {"input_ids", "attention_mask": [B, T]}, and of two texts in one "token_type_ids", 1 for the second.

    What attention_mask hides changes nothing.
    """

    Config = BertEncoderConfig

    def __init__(self, config: BertEncoderConfig, size: int):
        """size   of the vocabulary"""
        super().__init__()
        self.config, self.vocabulary, self.dim = config, size, config.dim
        self.pooling = "first token" if config.pool == "cls" else "mean of tokens"
        facts = BertConfig(
            vocab_size=size,
            hidden_size=config.dim,
            num_hidden_layers=config.depth,
            num_attention_heads=config.heads,
            intermediate_size=round(config.mlp_ratio * config.dim),
            max_position_embeddings=config.positions,
            hidden_dropout_prob=config.dropout,
            attention_probs_dropout_prob=config.dropout,
        )
        self.net = BertModel(facts, add_pooling_layer=False)
        # torch's fused attention is exported with a guard for texts that are all padding, which there are none of.
        self.net.set_attn_implementation("eager")

    def forward(self, inputs: Inputs) -> Encoded:
        mask = inputs["attention_mask"]
        tokens = self.net(
            input_ids=inputs["input_ids"], attention_mask=mask, token_type_ids=inputs.get("token_type_ids")
        ).last_hidden_state  # [B, T, D]
        if self.config.pool == "cls":
            return Encoded(tokens, tokens[:, 0], mask.bool())
        weights = (mask * (inputs["input_ids"] >= self.config.special))[..., None].to(tokens.dtype)
        return Encoded(tokens, (tokens * weights).sum(1) / weights.sum(1), mask.bool())


ENCODER = Bert
