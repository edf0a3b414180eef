"""Search: what a request says becomes a query of the index, and its hits the answer.

Examples to be near to count as their mean, those to be far from as what that mean is moved away from: near +
(near - far), in unit vectors (Rocchio 1971). A pipeline is a query whose text gives both the vector and the words.
"""
# P examples, D dimensions

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from starlette.concurrency import run_in_threadpool

from enfold import wire
from enfold.errors import UnknownName, WrongUse
from enfold.pipelines import Bm25, Dense, Fuse, Rerank
from enfold.space import same_space
from serving import rerank, tracing
from serving.index import Collection, Query
from serving.rooms import Rooms

_MOST_FETCHED = 10_000  # hits that a grouped search looks through


async def find(rooms: Rooms, name: str, asked: wire.SearchRequest) -> wire.SearchResponse:
    """Raises WrongUse for a request that says too little or what does not go together."""
    started = time.perf_counter()
    kept = await run_in_threadpool(rooms.index.collection, name)
    facts = kept.facts
    rules = {"limit": asked.limit, "offset": asked.offset, "min_score": asked.min_score, "filter": asked.filter}
    whole = Query(**rules, diversity=asked.diversity, exact=asked.exact)  # type: ignore[arg-type]
    last = None
    if asked.pipeline is not None:
        query, last = await _of_pipeline(rooms, facts, asked, whole)
    else:
        query = await _of_request(rooms, kept, facts, asked, whole)
    with tracing.span("index query", collection=name, limit=asked.limit):
        look = partial(_grouped, kept, query, asked.group_by, asked.group_size) if asked.group_by else None
        hits = await run_in_threadpool(look or partial(kept.query, query))
    if last is not None:
        hits = await _reranked(rooms, hits, last, asked)
    spent = (time.perf_counter() - started) * 1000
    return wire.SearchResponse(collection=name, model=facts.model, space=facts.space, hits=hits, milliseconds=spent)


async def _of_request(
    rooms: Rooms, kept: Collection, facts: wire.NewCollection, asked: wire.SearchRequest, whole: Query
) -> Query:
    own = wire.Example(item=asked.item, vector=asked.vector, space=asked.space, id=asked.id)
    near = [*([own] if _given(own) else []), *asked.like]
    if not (near or asked.unlike or asked.context or asked.words is not None):
        raise WrongUse("say what to look for: by item, vector or id, by 'like' and 'unlike', 'context', or 'words'")
    _check_words(asked.words)
    examples = [*near, *asked.unlike, *(one for pair in asked.context for one in (pair.like, pair.unlike))]
    if asked.late_interaction:
        return await _by_tokens(rooms, facts, asked, examples, whole)
    vectors = await _vectors(rooms, kept, facts, asked, examples)
    pairs = vectors[len(near) + len(asked.unlike) :]
    return replace(
        whole,
        vector=_direction(vectors[: len(near)], vectors[len(near) : len(near) + len(asked.unlike)]),
        context=list(zip(pairs[::2], pairs[1::2], strict=True)),
        words=asked.words,
        words_in=asked.words_in,
        but=[one.id for one in examples if one.id is not None],
    )


async def _by_tokens(
    rooms: Rooms, facts: wire.NewCollection, asked: wire.SearchRequest, examples: list[wire.Example], whole: Query
) -> Query:
    if len(examples) != 1 or examples[0].item is None:
        raise WrongUse("late interaction compares the tokens of one item: send it, and nothing but 'words' beside it")
    if facts.tokens is None:
        raise WrongUse(
            f"collection '{facts.name}' keeps no tokens, by which late interaction would put hits in order: embed into "
            "one that does, enfold embed … --tokens"
        )
    model, entry, encoded = await rooms.filling(facts, asked, [examples[0].item], tokens=True)
    assert encoded.tokens is not None
    vector = model.vectors(encoded.outputs, entry)[0]
    return replace(whole, vector=vector, tokens=encoded.tokens[0], words=asked.words, words_in=asked.words_in)


async def _of_pipeline(
    rooms: Rooms, facts: wire.NewCollection, asked: wire.SearchRequest, whole: Query
) -> tuple[Query, Rerank | None]:
    text = getattr(asked.item, "text", None)
    if text is None or asked.like or asked.unlike or asked.context or asked.words is not None or asked.late_interaction:
        raise WrongUse("a pipeline starts from one text: send it as 'item', and nothing else to look for")
    model, _ = await rooms.engine.run(rooms.models.of_space, facts.space, "text")
    known = model.bundle.manifest.pipelines
    if asked.pipeline not in known:
        raise UnknownName.among("pipeline", str(asked.pipeline), known, "POST /pipelines makes one.")
    query, last = whole, None
    for step in known[asked.pipeline]:
        match step:
            case Bm25():
                _check_words(text)
                query = replace(query, words=text, words_in=step.field)
            case Dense():
                _, entry, encoded = await rooms.filling(facts, asked, [asked.item])
                query = replace(query, vector=model.vectors(encoded.outputs, entry)[0])
            case Fuse():
                query = replace(query, fuse=step.by, depth=step.depth)
            case Rerank():
                last, best = step, max(step.limit, asked.limit + asked.offset)
                query = replace(query, limit=best, offset=0, min_score=None)  # these are of the last ranking
    return query, last


async def _vectors(
    rooms: Rooms, kept: Collection, facts: wire.NewCollection, ask: wire.Ask, examples: Sequence[wire.Example]
) -> np.ndarray:
    """float32 [P, D] of the collection's space."""
    for one in examples:
        if len(given := _given(one)) != 1:
            ways = " and ".join(given) or "none"
            raise WrongUse(f"an example is said by one of item, vector and id, not by {ways}")
    found = np.zeros((len(examples), facts.dimensions), np.float32)
    items = [row for row, one in enumerate(examples) if one.item is not None]
    if items:
        model, entry, encoded = await rooms.filling(facts, ask, [examples[row].item for row in items])
        found[items] = model.vectors(encoded.outputs, entry)
    ids = [row for row, one in enumerate(examples) if one.id is not None]
    if ids:
        found[ids] = await run_in_threadpool(kept.vectors, [str(examples[row].id) for row in ids])
    for row, one in enumerate(examples):
        if one.vector is None:
            continue
        if one.space is None:
            raise WrongUse("a vector comes with its space: send the 'space' that /embed gave with it")
        same_space(one.space, facts.space, what="the vector", where=f"collection '{facts.name}'")
        if len(one.vector) != facts.dimensions:
            has = f"collection '{facts.name}' holds vectors of {facts.dimensions} numbers"
            raise WrongUse(f"{has}, this one has {len(one.vector)}")
        found[row] = one.vector
    return found


def _given(example: wire.Example) -> list[str]:
    return [name for name in ("item", "vector", "id") if getattr(example, name) is not None]


def _check_words(words: str | None) -> None:
    if words is not None and not words.strip():
        raise WrongUse("'words' is empty: say which words to look for")


def _direction(near: np.ndarray, far: np.ndarray) -> np.ndarray | None:
    """[P, D], [P, D] -> [D]; of one example that example."""
    if not len(near) and not len(far):
        return None
    if len(near) == 1 and not len(far):
        return np.asarray(near[0])
    means = [_units(one).mean(0) if len(one) else None for one in (near, far)]
    if means[0] is None:
        return -np.asarray(means[1])
    return np.asarray(means[0] if means[1] is None else 2 * means[0] - means[1])


def _units(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12))


def _grouped(kept: Collection, query: Query, by: str, size: int) -> list[wire.Hit]:
    """Hits best first, at most `size` of each value of a payload field; a point without the field stands alone."""
    wanted = query.limit + query.offset
    if wanted > _MOST_FETCHED // 2:
        raise WrongUse(f"groups are of the first {_MOST_FETCHED // 2:,} hits; offset and limit ask for {wanted:,}")
    fetch = min(4 * wanted, _MOST_FETCHED)
    while True:
        hits = kept.query(replace(query, limit=fetch, offset=0))
        seen: Counter[str] = Counter()
        few = []
        for hit in hits:
            value = repr(hit.payload[by]) if by in hit.payload else hit.id
            seen[value] += 1
            few += [hit] if seen[value] <= size else []
        if len(few) >= wanted or len(hits) < fetch or fetch >= _MOST_FETCHED:
            return few[query.offset : wanted]
        fetch = min(4 * fetch, _MOST_FETCHED)


async def _reranked(rooms: Rooms, hits: list[wire.Hit], step: Rerank, asked: wire.SearchRequest) -> list[wire.Hit]:
    """The hits in the order of the model that ranks, their scores its own; those without a text keep out."""
    texts: list[Any] = [hit.payload.get(step.field) for hit in hits]
    having = [(hit, text) for hit, text in zip(hits, texts, strict=True) if isinstance(text, str) and text.strip()]
    if not having:
        return []
    query = str(getattr(asked.item, "text", ""))
    scores = await rerank.scores(rooms, step.model, query, [text for _, text in having])
    ranked = [hit.model_copy(update={"score": score}) for (hit, _), score in zip(having, scores, strict=True)]
    ranked.sort(key=lambda hit: -hit.score)
    least = -np.inf if asked.min_score is None else asked.min_score
    return [hit for hit in ranked if hit.score >= least][asked.offset : asked.offset + asked.limit]
