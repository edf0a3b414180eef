"""Published weights for an encoder, by timm's name or from a safetensors file.

A name asks the Hugging Face hub, which is the user's to allow; a file needs no network.
"""

from pathlib import Path

import timm
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn

from enfold.errors import WrongUse
from training.encoders import Encoder


def load_pretrained(encoder: Encoder, weights: str) -> None:
    """Fill `encoder.net`; position embeddings are resampled to its size. Raises WrongUse if the shapes do not fit."""
    if weights.endswith(".safetensors"):
        if not Path(weights).is_file():
            raise WrongUse(f"encoder.pretrained: there is no file {weights}")
        state = load_file(weights)
    elif timm.is_model(weights):
        state = timm.create_model(weights, pretrained=True, num_classes=0).state_dict()
    else:
        raise WrongUse(f"encoder.pretrained is '{weights}': give a timm model name or the path of a .safetensors file")
    if isinstance(encoder.net, VisionTransformer):
        state = checkpoint_filter_fn(state, encoder.net)
    state = {name: tensor for name, tensor in state.items() if not name.startswith(("head.", "fc."))}
    try:
        encoder.net.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise WrongUse(f"encoder.pretrained: '{weights}' does not fit this encoder's config: {reason}") from None
