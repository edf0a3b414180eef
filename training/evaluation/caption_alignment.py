"""How well the captions of every source fit their images: mean cosine, by a method that read captions of all sources.

Vasu et al. 2024, arXiv:2405.08911, whose claim is that captions which fit better teach better. The stage's encoder is
the reference, and judges images and captions of the test split, which it has not seen.
"""
# N items, D features

from enfold.model import unit
from training.evaluation import Subject

NEEDS_LABELS = False


def evaluate(subject: Subject) -> dict[str, float]:
    images = unit(subject.features("test"))
    sources = [name for name, reader in subject.run.sides.items() if reader.name == "text"]
    return {
        name: float((images * unit(subject.text_features(first_lines(subject.side("test", name))))).sum(1).mean())
        for name in sources
    }


def first_lines(texts: list[str]) -> list[str]:
    return [text.splitlines()[0] for text in texts]
