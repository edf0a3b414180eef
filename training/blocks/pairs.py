"""Two texts in one input, as BERT has them: [begin] first [end] second [end], the second of another type.

Devlin et al. 2019, arXiv:1810.04805.
"""
# B pairs, S tokens of a piece, T of a pair

import numpy as np
import torch
from torch import Tensor

from enfold.errors import WrongUse
from enfold.modalities.text import Text
from training.encoders import Inputs

NOTHING = -1  # behind the tokens of a piece


def frame(reader: Text) -> tuple[int, int]:
    """The tokens (begin, end) that the reader's tokenizer puts around two texts. Raises WrongUse if it puts others."""
    ids = reader.pair("", "")
    if len(ids) != 3 or ids[1] != ids[2] or not reader.special.issuperset(ids):
        raise WrongUse(
            "two texts are read together as [begin] first [end] second [end], and this tokenizer does not: "
            "let the recipe say tokenizer.pairs = true"
        )
    return ids[0], ids[1]


def piece(reader: Text, text: str, size: int) -> np.ndarray:
    """Tokens of a text without those around it, cut or filled up to `size`, int64 [S]."""
    own = reader.pair(text, "")[1:-2] if text else []
    found = np.full(size, NOTHING)
    found[: len(own[:size])] = own[:size]
    return found


def joined(first: Tensor, second: Tensor, *, begin: int, end: int, most: int) -> Inputs:
    """Inputs of an encoder, of at most `most` tokens: what is too long is cut where it is longer.

    Of two that are both longer than half, an odd token goes to the second.

    first, second   [B, S]  pieces
    returns         input_ids, attention_mask, token_type_ids [B, T]
    """
    lengths = [(one != NOTHING).sum(1, keepdim=True) for one in (first, second)]  # [B, 1]
    room = most - 3
    shorter = torch.minimum(*lengths).clamp(max=room // 2)
    longer = torch.minimum(torch.maximum(*lengths), room - shorter)
    swapped = lengths[0] > lengths[1]
    of_first, of_second = torch.where(swapped, longer, shorter), torch.where(swapped, shorter, longer)
    whole = of_first + of_second + 3
    place = torch.arange(int(whole.max()), device=first.device).expand(len(first), -1)  # [B, T]
    ids = torch.zeros_like(place)
    for one, length, start in ((first, of_first, torch.ones_like(of_first)), (second, of_second, of_first + 2)):
        inside = (place >= start) & (place < start + length)
        ids = torch.where(inside, one.gather(1, (place - start).clamp(0, one.shape[1] - 1)), ids)
    ids = torch.where(place == 0, begin, ids)
    ids = torch.where((place == of_first + 1) | (place == whole - 1), end, ids)
    mask = place < whole
    return {
        "input_ids": torch.where(mask, ids, 0),
        "attention_mask": mask.long(),
        "token_type_ids": (mask & (place > of_first + 1)).long(),
    }
