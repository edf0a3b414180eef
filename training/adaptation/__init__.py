"""How a pretrained encoder is fitted to labels: a linear head on frozen embeddings, or fine-tuning all of it."""
