"""Which sentences answer a question? Ranked as a server ranks them, beside what word counts say.

The question is the side `question` of a document, right are sentences of that document, wrong ones of others with the
same label. Robertson and Zaragoza 2009 (BM25), doi:10.1561/1500000019.
"""
# S sentences

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from enfold import tasks
from enfold.errors import WrongUse
from enfold.modalities import Sample
from enfold.tasks import Prepared
from training.artefacts import needed_folder
from training.data.dataset import Dataset
from training.evaluation import Subject
from training.heads import load_head, run_by
from training.run import Run
from training.views.text import paragraphs, sentences

NEEDS_LABELS = True
QUESTIONS, CANDIDATES = 300, 16  # of a split; of each question, MOST of them right, as many as are read at once
MOST, LEAST_WORDS = 4, 3
SIDE = "question"
_K1, _B = 1.2, 0.75  # of BM25


@dataclass(frozen=True)
class Question:
    text: str
    sentences: list[str]
    right: np.ndarray  # bool [S]


def evaluate(subject: Subject) -> dict[str, float]:
    """Mean average precision, mean reciprocal rank and precision at 1; of the head, BM25, TF-IDF and chance."""
    assert subject.encoder is not None
    assert subject.stage is not None
    run, test = subject.run, subject.data("test")
    asked = questions(test, run, candidates=CANDIDATES, seed=0)[:QUESTIONS]
    saved = load_head(needed_folder(subject.stage, run, "head.json"), subject.encoder)
    if saved.head.task != "rank":
        raise WrongUse(f"stage '{subject.stage.name}' ranks answers, and the head it needs is for '{saved.head.task}'")
    task = tasks.get("rank")(tasks.get("rank").Spec(**saved.spec), run.path)
    graphs = run_by(saved.head.graphs(subject.encoder, subject.prepared("test", 2)))
    words = WordCounts([text for one in questions(subject.data("train"), run, seed=0) for text in one.sentences])
    scores: dict[str, list[np.ndarray]] = {"": [], "bm25_": [], "tfidf_": [], "chance_": []}
    rng = np.random.default_rng(0)
    for one in asked:
        samples = [[Sample({}, origin={"text": text})] for text in one.sentences]
        answers: Sequence[Any] = task.run(graphs, Prepared(samples, {}), task.Options(query=one.text))
        scores[""].append(np.array([answer.score for answer in answers]))
        scores["bm25_"].append(words.bm25(one.text, one.sentences))
        scores["tfidf_"].append(words.cosine(one.text, one.sentences))
        scores["chance_"].append(rng.random(len(one.sentences)))
    found = {
        name: [ranked(score, one.right) for score, one in zip(own, asked, strict=True)] for name, own in scores.items()
    }
    return {
        f"{name}{figure}": float(value)
        for name, rows in found.items()
        for figure, value in zip(("map", "mrr", "p1"), np.mean(rows, 0), strict=True)
    }


def questions(data: Dataset, run: Run, *, candidates: int = CANDIDATES, most: int = MOST, seed: int) -> list[Question]:
    """Of every document in turn, its question with at most `most` sentences of its own among so many candidates.

    Wrong ones are of documents of another group and the same label, one of each as long as they suffice.
    """
    rng = np.random.default_rng(seed)
    own = [_sentences(data.read(i, run.reader(data))) for i in range(len(data))]
    labels, groups = data.labels(), np.array([record.group for record in data.records])
    made = []
    for i, right in enumerate(own):
        others = np.flatnonzero((labels == labels[i]) & (groups != groups[i]))
        others = np.array([place for place in rng.permutation(others)[: 2 * candidates] if own[place]], int)
        if not right or not len(others):
            continue
        taken = [right[place] for place in rng.permutation(len(right))[:most]]
        wrong = [own[place][int(rng.integers(len(own[place])))] for place in np.resize(others, candidates - len(taken))]
        order = rng.permutation(candidates)
        everything = [*taken, *wrong]
        text = data.side(i, SIDE, run.sides[SIDE])
        made.append(Question(text, [everything[place] for place in order], order < len(taken)))
    return made


def _sentences(text: str) -> list[str]:
    """Each once, of a few words or more."""
    every = [one for paragraph in paragraphs(text) for one in sentences(paragraph)]
    return [one for one in dict.fromkeys(every) if len(one.split()) >= LEAST_WORDS]


def ranked(scores: np.ndarray, right: np.ndarray) -> tuple[float, float, float]:
    """Average precision, reciprocal rank of the first right one, and whether it leads; of equals wrong ones do."""
    order = np.lexsort((right, -scores))
    places = np.flatnonzero(right[order]) + 1
    precision = np.arange(1, len(places) + 1) / places
    return float(precision.mean()), 1 / places[0], float(places[0] == 1)


class WordCounts:
    """What is common is known from a corpus; words are compared as they are written, but for case."""

    def __init__(self, corpus: list[str]):
        self.tfidf = TfidfVectorizer(sublinear_tf=True, stop_words="english").fit(corpus)
        self.split = self.tfidf.build_analyzer()
        split = [self.split(text) for text in corpus]
        self.holding = Counter(word for words in split for word in set(words))
        self.count, self.length = len(corpus), float(np.mean([len(words) for words in split]))

    def bm25(self, question: str, texts: list[str]) -> np.ndarray:
        """[S]"""
        asked = set(self.split(question))
        return np.array([sum(self._weight(word, own) for word in asked) for own in map(self.split, texts)])

    def cosine(self, question: str, texts: list[str]) -> np.ndarray:
        """[S]"""
        found: np.ndarray = (self.tfidf.transform(texts) @ self.tfidf.transform([question]).T).toarray()[:, 0]
        return found

    def _weight(self, word: str, text: list[str]) -> float:
        held, often = self.holding[word], text.count(word)
        rare = np.log(1 + (self.count - held + 0.5) / (held + 0.5))
        return float(rare * often * (_K1 + 1) / (often + _K1 * (1 - _B + _B * len(text) / self.length)))
