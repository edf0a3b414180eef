"""A byte-level BPE tokenizer of a recipe's own texts (Sennrich et al. 2016, arXiv:1508.07909; bytes as in GPT-2)."""

from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

PADDING, BEGIN, END, MASK = "<pad>", "<bos>", "<eos>", "<mask>"


def train(texts: Sequence[str], vocabulary: int, *, pairs: bool = False, ends: bool = False) -> str:
    """tokenizer.json of at most `vocabulary` tokens. Texts begin with <bos>; <eos> is for what generates.

    pairs   two texts may be read together, <eos> after each, and <mask> may stand for a token
    ends    a text that is read alone ends with <eos> too
    """
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = [PADDING, BEGIN, END, *([MASK] if pairs else [])]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer, length=len(texts))
    made.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A {END}" if ends else f"{BEGIN} $A",
        pair=f"{BEGIN} $A {END} $B:1 {END}:1" if pairs else None,
        special_tokens=[(token, made.token_to_id(token)) for token in special[1:3]],
    )
    return made.to_str()
