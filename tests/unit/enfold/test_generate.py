"""The loop around a language model's graph, on a model whose next token is known: the one after the last."""

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models

from enfold.errors import TooLarge, WrongUse
from enfold.modalities import Sample
from enfold.tasks import Prepared
from enfold.tasks.generate import Generate, GenerateAnswer, GenerateSpec, Piece

WORDS = ["<pad>", "<bos>", "<eos>", *"abcdefghijklmnop"]
CACHES = {"2": (2, 2, 1, 0, 4), "4": (4, 2, 1, 0, 4)}


class Counter:
    """Writes the alphabet. Keeps every call; the shallow size is unsure of, and wrong about, what follows `d`."""

    def __init__(self):
        self.calls: list[tuple[str, list[int], int]] = []

    def __call__(self, graph: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        ids, cache = inputs["input_ids"], inputs["cache"]
        self.calls.append((graph, ids[0].tolist(), cache.shape[-2]))
        logits = np.zeros((1, ids.shape[1], len(WORDS)), np.float32)
        for place, id in enumerate(ids[0]):
            doubtful = graph == "step.2" and WORDS[id] == "d"
            logits[0, place, id if doubtful else (id + 1) % len(WORDS)] = 0.5 if doubtful else 9.0
        grown = np.zeros((*cache.shape[:-2], cache.shape[-2] + ids.shape[1], cache.shape[-1]), np.float32)
        return {"out_logits": logits, "out_cache": grown}


@pytest.fixture
def task(tmp_path):
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<pad>"))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    spec = GenerateSpec(graph="step", tokenizer="tokenizer.json", caches=CACHES, context=16)
    return Generate(spec, tmp_path, "4")


def asked(text: str, windows: int = 1) -> Prepared:
    ids = np.array([1, *(WORDS.index(letter) for letter in text)], np.int64)
    return Prepared([[Sample({"input_ids": ids})] * windows], {})


def answer(task: Generate, prompt: str, graphs: Counter | None = None, **options) -> GenerateAnswer:
    [found] = task.run(graphs or Counter(), asked(prompt), task.Options(**options))
    return found


def test_every_token_is_read_once(task):
    graphs = Counter()
    assert answer(task, "ab", graphs, max_tokens=3).text == "cde"
    assert graphs.calls == [("step.4", [1, 3, 4], 0), ("step.4", [5], 3), ("step.4", [6], 4)]


def test_it_ends_by_length_by_the_end_token_and_before_a_stop(task):
    assert (answer(task, "a", max_tokens=2).finish, answer(task, "a", max_tokens=2).tokens) == ("length", 2)
    stopped = answer(task, "a", stop=["ef"])
    assert (stopped.text, stopped.finish) == ("bcd", "stop")
    assert answer(task, "a", budget_ms=1e-9).finish == "budget"


def test_an_answer_that_never_stops_ends_with_the_context(task):
    found = answer(task, "a", stop=["nowhere"], max_tokens=4096)
    assert (found.tokens, found.finish) == (14, "length")


def test_a_prompt_beyond_the_context_is_refused_and_not_cut(task):
    for prompt in (asked("a" * 15), asked("a", windows=2)):
        with pytest.raises(TooLarge, match="more than 15 tokens"):
            task.run(Counter(), prompt, task.Options())


def test_pieces_make_the_answer_and_hold_back_what_may_become_a_stop(task):
    *pieces, whole = task.stream(Counter(), asked("a"), task.Options(stop=["fgx"], max_tokens=7))
    assert isinstance(whole, GenerateAnswer)
    assert all(isinstance(piece, Piece) for piece in pieces)
    assert "".join(piece.text for piece in pieces) == whole.text == "bcdefgh"
    assert max(len(piece.text) for piece in pieces[:-1]) == 1


def test_speculation_writes_what_the_deepest_would_have_written(task):
    plain = answer(task, "a", max_tokens=9)
    graphs = Counter()
    found = answer(task, "a", graphs, max_tokens=9, depth="speculative")
    assert found.text == plain.text
    assert 0 < found.accepted < found.proposed  # the shallowest is wrong after d
    deep = [ids for graph, ids, _ in graphs.calls if graph == "step.4"]
    assert len(deep) < 9


def test_auto_lets_the_shallowest_that_is_sure_write_and_deeper_ones_catch_up(task):
    graphs = Counter()
    found = answer(task, "b", graphs, max_tokens=4, depth="auto")
    assert (found.text, found.sizes) == ("cdef", ["2", "2", "4", "2"])
    assert [(ids, before) for graph, ids, before in graphs.calls if graph == "step.4"] == [([1, 4, 5, 6], 0)]


def test_the_bundles_own_confidence_holds_unless_the_request_names_one(task):
    bold = Generate(task.spec.model_copy(update={"confidence": 0.05}), task.folder, "4")
    asked_for = {"max_tokens": 4, "depth": "auto"}
    assert answer(bold, "b", **asked_for).sizes == ["2", "2", "2", "2"]
    assert answer(bold, "b", confidence=0.9, **asked_for).sizes == answer(task, "b", **asked_for).sizes


def test_chance_follows_the_seed(task):
    options = {"temperature": 5.0, "max_tokens": 8}
    assert answer(task, "a", seed=1, **options).text == answer(task, "a", seed=1, **options).text
    assert len({answer(task, "a", seed=seed, **options).text for seed in range(5)}) > 1
    assert answer(task, "a", temperature=5.0, top_p=1e-6).text == answer(task, "a").text


@pytest.mark.parametrize(
    ("options", "sentence"), [({"depth": "speculative", "temperature": 1.0}, "set temperature to 0")]
)
def test_options_that_do_not_go_together_are_told(task, options, sentence):
    with pytest.raises(WrongUse, match=sentence):
        answer(task, "a", **options)


def test_depths_need_a_bundle_of_several_sizes(task):
    alone = Generate(task.spec.model_copy(update={"caches": {"4": CACHES["4"]}}), task.folder, None)
    with pytest.raises(WrongUse, match="has one size only"):
        answer(alone, "a", depth="auto")


def test_rouge_is_the_longest_common_run_of_words(task):
    said = GenerateAnswer(text="a b c d", tokens=4, finish="end", sizes=[])
    assert task.measure([said], ["a c x"])["rouge_l"] == pytest.approx(2 * 2 / 7)
    assert task.measure([said, said], ["a b c d", "b"])["exact"] == 0.5
