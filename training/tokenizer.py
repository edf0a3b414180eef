"""A byte-level BPE tokenizer of a recipe's own texts (Sennrich et al. 2016, arXiv:1508.07909; bytes as in GPT-2)."""

from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

PADDING, BEGIN, END = "<pad>", "<bos>", "<eos>"


def train(texts: Sequence[str], vocabulary: int) -> str:
    """tokenizer.json of at most `vocabulary` tokens. Texts begin with <bos>; <eos> is for what generates."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PADDING, BEGIN, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer, length=len(texts))
    made.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, made.token_to_id(BEGIN))]
    )
    return made.to_str()
