"""graph: nodes and what joins them: node-link JSON, a list of edges beside numbers of nodes in JSON, and GraphML.

A decoded item is a `Network`. The encoder sees numbers of every node (its own, or what training learnt of the words of
its text) and a list of its neighbours. With a centre the item stands for that node among the others, without one for
the whole graph. Neither the order of nodes nor of edges changes anything.
"""
# n nodes of a graph, N of a sample, E edges, F numbers of a node, K neighbours, W words that are known

import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, Field, WithJsonSchema

from enfold.errors import BadItem, TooLarge, require
from enfold.modalities import Arrays, Modality, Part, Sample, Spec, Stored
from enfold.modalities.table import padded
from enfold.resources import resource

WORDS = "resources/words.npz"  # inside a bundle, and inside a run that learnt it
NODE, CENTRE = 1, 2  # kinds of places in a sample; 0 is padding
DRAWN = 200  # nodes of a picture
_LARGEST = 1e6  # of a number of a node
_RARE = 3  # nodes that a word stands in at least, to be known
_WORD = re.compile(r"[^\W\d_]{2,}")
_EDGE = {"type": "array", "items": {"type": ["string", "integer"]}, "minItems": 2, "maxItems": 2}


@dataclass(frozen=True)
class Network:
    names: tuple[str, ...]  # [n]
    edges: np.ndarray  # int64 [E, 2]: the second hears of the first; no two alike, none from a node to itself
    numbers: np.ndarray  # float64 [n, F], F may be 0
    texts: tuple[str, ...] | None = None  # [n]
    centre: int | None = None

    def part(self, kept: np.ndarray) -> "Network":
        """Nodes `kept`, in that order, and what joins them."""
        place = np.full(len(self.names), -1)
        place[kept] = np.arange(len(kept))
        edges = place[self.edges]
        return Network(
            names=tuple(self.names[node] for node in kept),
            edges=edges[(edges >= 0).all(1)],
            numbers=self.numbers[kept],
            texts=None if self.texts is None else tuple(self.texts[node] for node in kept),
            centre=None if self.centre is None or place[self.centre] < 0 else int(place[self.centre]),
        )

    def nearest_first(self) -> np.ndarray:
        """Every node [n], breadth first from the centre, or from the one with the most edges; then the unreached."""
        ends = np.concatenate([self.edges, self.edges[:, ::-1]])
        counts = np.bincount(ends[:, 0], minlength=len(self.names))
        beside = np.split(ends[np.argsort(ends[:, 0], kind="stable"), 1], np.cumsum(counts)[:-1])
        start = int(counts.argmax()) if self.centre is None else self.centre
        found: dict[int, None] = {}
        for root in chain([start], range(len(self.names))):
            if root in found:
                continue
            found[root], waiting = None, [root]
            for node in waiting:
                fresh = [other for other in dict.fromkeys(beside[node].tolist()) if other not in found]
                found.update(dict.fromkeys(fresh))
                waiting += fresh
        return np.array(list(found))


class GraphPreprocess(Spec):
    """From a graph to features float32 [N, F], neighbours int64 [N, K] and kinds int64 [N]."""

    features: int = Field(64, ge=1)  # F
    neighbours: int = Field(8, ge=1)  # K: of more those with the fewest edges of their own, which tell the most
    max_nodes: int = Field(256, ge=2)  # N at most: of a larger graph those nearest to its centre
    words: str | None = None  # what training learns of words, where nodes have texts: resources/words.npz
    vocabulary: int = Field(8192, ge=1)  # W at most


class GraphLimits(Spec):
    max_bytes: int = 32 * 2**20
    max_nodes: int = 100_000
    max_edges: int = 1_000_000
    max_features: int = 4096  # numbers of a node
    max_text: int = 20_000  # characters of a node
    max_parts: int = 4096


class GraphJson(BaseModel, extra="forbid"):
    graph: Annotated[
        Any,
        WithJsonSchema(
            {
                "description": "nodes, each with an id and numbers of its own, a list x of them, or a text; or x "
                "alone, a list of numbers for each node, whose ids are their positions then; edges (or links) between "
                "ids; centre: the node that is meant, the whole graph if left out. Or a .json or .graphml file, base64",
                "anyOf": [
                    {
                        "type": "object",
                        "properties": {
                            "nodes": {"type": "array", "items": {"type": "object"}},
                            "x": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
                            "edges": {"type": "array", "items": {"anyOf": [{"type": "object"}, _EDGE]}},
                            "directed": {"type": "boolean"},
                            "centre": {"type": ["string", "integer"]},
                        },
                    },
                    {"type": "string", "contentEncoding": "base64"},
                ],
            }
        ),
    ]


class Graph(Modality[Network]):
    name = "graph"
    media_types = {".graphml": "application/graphml+xml"}
    shared_types = {".json": "application/json"}
    Preprocess, Limits, Json = GraphPreprocess, GraphLimits, GraphJson
    batch_cost, light_bytes, ragged, inline = 4096, 4096, True, True

    @property
    def input_size(self) -> int:
        """F."""
        return int(self.preprocess.features)

    def read(self, item: Any) -> Network:
        """From a .json or .graphml file, JSON text, its decoded object, or a `Network`. Raises BadItem or TooLarge."""
        if isinstance(item, Network):
            return item
        if isinstance(item, str) and item.lstrip().startswith("{"):
            item = item.encode("utf-8", "surrogatepass")
        if isinstance(item, Stored):
            item = self._decoded(self.file_bytes(item))
        if not isinstance(item, Mapping):
            raise BadItem(f"a graph is an object of nodes and edges, or a file, not {type(item).__name__}")
        return self._network(item)

    def from_json(self, item: GraphJson) -> bytes:
        """File bytes, or the object as the JSON it came in. Raises BadItem."""
        if isinstance(item.graph, str):
            return super().from_json(item)
        if not isinstance(item.graph, dict):
            raise BadItem(f"a graph in a request is an object or a file, not {type(item.graph).__name__}")
        return json.dumps(item.graph).encode()

    def prepare(self, value: Network, *, parts: bool = False) -> list[Sample]:
        """Samples {"features": float32 [N, F], "neighbours": int64 [N, K], "kinds": int64 [N]}.

        Neighbours are counted from 1, 0 is none; kinds are NODE, CENTRE, or 0 for padding. With `parts` every node of
        a large graph is in one sample, with those that lie near it. Raises BadItem for nodes that lack what the encoder
        reads.
        """
        most = self.preprocess.max_nodes
        if len(value.names) <= most:
            return [self._sample(value)]
        order = value.nearest_first()
        starts = range(0, len(order) if parts else most, most)
        if len(starts) > self.limits.max_parts:
            raise TooLarge(f"the graph makes {len(starts):,} parts; at most {self.limits.max_parts:,}")
        pieces = [np.sort(order[start : start + most]) for start in starts]
        if not parts:
            return [self._sample(value.part(pieces[0]))]
        return [
            self._sample(value.part(piece), Part(index=index, start=start, end=start + len(piece)))
            for index, (start, piece) in enumerate(zip(starts, pieces, strict=True))
        ]

    def collate(self, samples: Sequence[Sample]) -> Arrays:
        """Pad to the most nodes: [B, N, …]."""
        most = max(map(self.cost, samples))
        return {name: np.stack([padded(one.arrays[name], most) for one in samples]) for name in samples[0].arrays}

    def prepared(self, arrays: Arrays) -> list[Sample]:
        """Of features [B, N, F], neighbours [B, N, K] and kinds [B, N]; padding comes last."""
        neighbours, kinds = arrays["neighbours"], arrays["kinds"]
        widths = {"features": self.input_size, "neighbours": self.preprocess.neighbours}
        for name, width in widths.items():
            if arrays[name].shape != (*kinds.shape, width):
                raise BadItem(
                    f"{name} {list(arrays[name].shape)} and kinds {list(kinds.shape)} do not fit: {width} a node"
                )
        if not 1 <= kinds.shape[1] <= self.preprocess.max_nodes:
            raise BadItem(f"there are {kinds.shape[1]} nodes; this model takes 1 to {self.preprocess.max_nodes}")
        real = kinds > 0
        if not np.isin(kinds, (0, NODE, CENTRE)).all() or not real[:, 0].all() or (real[:, 1:] > real[:, :-1]).any():
            raise BadItem(f"kinds are {NODE} for a node, {CENTRE} for the centre, then 0 for padding")
        if ((kinds == CENTRE).sum(1) > 1).any():
            raise BadItem(f"a graph has one centre, a node of kind {CENTRE}, or none")
        if (neighbours < 0).any() or (neighbours > real.sum(1)[:, None, None]).any():
            raise BadItem("neighbours are nodes of the same graph, counted from 1, and 0 for none")
        return super().prepared(arrays)

    def words(self, value: Network, part: Part | None = None) -> str | None:
        """The text of the centre, or of all nodes."""
        if value.texts is None:
            return None
        return "\n".join(value.texts) if value.centre is None else value.texts[value.centre]

    def cost(self, sample: Sample) -> int:
        return len(sample.arrays["kinds"])  # nodes

    def mark(self, value: Network) -> str:
        """A digest of nodes and edges, as they stand."""
        total = hashlib.sha256(json.dumps([value.names, value.texts, value.centre]).encode())
        for array in (value.edges, value.numbers):
            total.update(str(array.shape).encode() + array.tobytes())
        return total.hexdigest()

    def learnt(self, values: Iterable[Network]) -> dict[str, bytes]:
        """The words of nodes, how rare each is, and directions [W, F] in which they vary most (latent semantics).

        Deerwester et al. 1990, by a singular value decomposition of tf-idf. Nothing where nodes' own numbers are read.
        """
        if self.preprocess.words is None:
            return {}
        texts = sorted({text for value in values for text in value.texts or ()})
        counted = [Counter(_words(text)) for text in texts]
        stand = Counter(word for words in counted for word in words)
        known = sorted(sorted(stand, key=lambda word: (-stand[word], word))[: self.preprocess.vocabulary])
        known = [word for word in known if stand[word] >= min(_RARE, len(texts))]
        rarity = np.array([1 + np.log((1 + len(texts)) / (1 + stand[word])) for word in known])
        place = {word: number for number, word in enumerate(known)}
        rows = [_weights(words, place, rarity) for words in counted]
        directions = _directions(rows, len(known), self.preprocess.features)
        file = io.BytesIO()
        kept = np.array(known, dtype=str)
        np.savez_compressed(file, words=kept, rarity=rarity.astype(np.float32), directions=directions)
        return {self.preprocess.words: file.getvalue()}

    def thumbnail(self, value: Network, side: int = 96) -> bytes:
        """Nodes as forces lay them out, the centre red."""
        from PIL import Image, ImageDraw

        shown, places = layout(value)
        page, file = Image.new("RGB", (4 * side, 4 * side), "white"), io.BytesIO()
        draw, at = ImageDraw.Draw(page), (places * 0.46 + 0.5) * 4 * side
        for source, target in shown.edges:
            draw.line((*at[source], *at[target]), fill=(170, 180, 190), width=max(1, side // 24))
        radius = side * 4 / (16 + 4 * len(at) ** 0.5)
        for node in np.argsort(np.arange(len(at)) == shown.centre, kind="stable"):  # the centre over all
            (x, y), ink = at[node], (200, 60, 50) if node == shown.centre else (50, 90, 160)
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=ink)
        page.resize((side, side), Image.Resampling.BOX).save(file, "WEBP", quality=85)
        return file.getvalue()

    def _sample(self, value: Network, part: Part | None = None) -> Sample:
        kinds = np.full(len(value.names), NODE, np.int64)
        if value.centre is not None:
            kinds[value.centre] = CENTRE
        arrays = {"features": self._features(value), "neighbours": self._neighbours(value), "kinds": kinds}
        return Sample(arrays, part)

    def _features(self, value: Network) -> np.ndarray:
        F = self.preprocess.features
        if self.preprocess.words is None:
            if value.numbers.shape[1] != F:
                raise BadItem(f"a node has {value.numbers.shape[1]} numbers; this model takes {F}")
            return value.numbers.astype(np.float32)
        if value.texts is None:
            raise BadItem("the nodes have no text, which this model reads: give every node one, {id, text}")
        place, rarity, directions = self._learnt
        found = np.zeros((len(value.texts), F), np.float32)
        for row, text in zip(found, value.texts, strict=True):
            columns, weights = _weights(Counter(_words(text)), place, rarity)
            row += weights.astype(np.float32) @ directions[columns]
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)

    @cached_property
    def _learnt(self) -> tuple[dict[str, int], np.ndarray, np.ndarray]:
        """The place of each word, its rarity [W] and its direction [W, F]."""
        assert self.folder is not None
        with resource(self.folder, self.preprocess.words) as path, np.load(path, allow_pickle=False) as file:
            words, rarity, directions = (file[name] for name in ("words", "rarity", "directions"))
        return {word: number for number, word in enumerate(words.tolist())}, rarity, directions

    def _neighbours(self, value: Network) -> np.ndarray:
        """Whom each node hears of [n, K], counted from 1; of too many those that the fewest others hear of."""
        K, (source, target) = self.preprocess.neighbours, value.edges.T
        known_by = np.bincount(source, minlength=len(value.names))
        order = np.lexsort((source, known_by[source], target))
        source, target = source[order], target[order]
        rank = np.arange(len(target)) - np.searchsorted(target, target)
        found = np.zeros((len(value.names), K), np.int64)
        kept = rank < K
        found[target[kept], rank[kept]] = source[kept] + 1
        return found

    def _network(self, item: Mapping[str, Any]) -> Network:
        nodes = _listed(item, "nodes") if "nodes" in item else [{"x": row} for row in _listed(item, "x")]
        if not nodes:
            raise BadItem("the graph has no nodes: list them as nodes, or their numbers as x")
        edges = _listed(item, "links" if "links" in item else "edges")
        for what, found, most in (
            ("nodes", nodes, self.limits.max_nodes),
            ("edges", edges, self.limits.max_edges),
        ):
            if len(found) > most:
                raise TooLarge(f"the graph has {len(found):,} {what}; at most {most:,}: send a part of it")
        for number, node in enumerate(nodes, 1):
            if not isinstance(node, Mapping):
                raise BadItem(f"node {number} is {repr(node)[:40]}: a node is an object with an id")
        names = tuple(_text(node.get("id", number), "an id") for number, node in enumerate(nodes))
        place = {name: number for number, name in enumerate(names)}
        if len(place) < len(names):
            twice = next(name for name, count in Counter(names).items() if count > 1)
            raise BadItem(f"two nodes have the id '{twice[:60]}': give each one of its own")
        inside = item.get("graph")
        centre = item.get("centre", inside.get("centre") if isinstance(inside, Mapping) else None)
        if centre is not None and (centre := str(centre)) not in place:
            raise BadItem(f"the centre is '{centre[:60]}', which is no node's id")
        return Network(
            names,
            _ends(edges, place, both_ways=not item.get("directed", False)),
            self._numbers(nodes, names),
            self._texts(nodes, names),
            None if centre is None else place[centre],
        )

    def _numbers(self, nodes: Sequence[Mapping[str, Any]], names: Sequence[str]) -> np.ndarray:
        """float64 [n, F]: every node's x, or its numbers in the order of their names."""
        told = [dict(_told(node)) for node in nodes]
        columns = sorted(told[0])
        if len(columns) > self.limits.max_features:
            raise TooLarge(f"a node has {len(columns):,} numbers; at most {self.limits.max_features:,}")
        for name, numbers in zip(names, told, strict=True):
            if numbers.keys() != told[0].keys():
                odd = sorted(map(str, numbers.keys() ^ told[0].keys()))[0]
                raise BadItem(
                    f"node '{name[:60]}' and node '{names[0][:60]}' do not have the same numbers: see '{odd}'"
                )
            for column, number in numbers.items():
                if not abs(number) <= _LARGEST:  # nor NaN
                    raise BadItem(f"'{column}' of node '{name[:60]}' is not finite, or beyond {_LARGEST:g}")
        return np.array([[numbers[column] for column in columns] for numbers in told], float).reshape(len(nodes), -1)

    def _texts(self, nodes: Sequence[Mapping[str, Any]], names: Sequence[str]) -> tuple[str, ...] | None:
        if not any("text" in node for node in nodes):
            return None
        for name, node in zip(names, nodes, strict=True):
            if not isinstance(node.get("text"), str):
                raise BadItem(f"node '{name[:60]}' has no text, and others have: give every node one, or none")
            if len(node["text"]) > self.limits.max_text:
                raise TooLarge(
                    f"the text of node '{name[:60]}' has {len(node['text']):,} characters; "
                    f"at most {self.limits.max_text:,}: shorten it"
                )
        return tuple(_text(node["text"], "the text of a node") for node in nodes)

    def _decoded(self, data: bytes) -> Any:
        """By its first letter: a file may come without a name."""
        if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
            return self._graphml(data)
        try:
            return json.loads(data.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise BadItem(f"the graph is neither JSON in UTF-8 nor GraphML, or cut short ({str(error)[:80]})") from None

    def _graphml(self, data: bytes) -> dict[str, Any]:
        nx = require("networkx", "graph", "reading a .graphml file")
        if b"\0" in data:  # in UTF-16 what is looked for below would not be seen
            raise BadItem("the .graphml file is not UTF-8: save it as that")
        if b"<!DOCTYPE" in data:
            raise BadItem("the .graphml file declares a document type (DOCTYPE): leave it out")
        for what, most in (("node", self.limits.max_nodes), ("edge", self.limits.max_edges)):
            if (count := data.count(f"<{what}".encode())) > most:
                raise TooLarge(f"the graph has some {count:,} {what}s; at most {most:,}: send a part of it")
        try:
            found = nx.read_graphml(io.BytesIO(data))
        except Exception as error:  # networkx and its XML reader raise whatever a file leads them to
            raise BadItem(f"the .graphml file is damaged, cut short or not understood ({str(error)[:80]})") from None
        return {
            "directed": found.is_directed(),
            "graph": found.graph,
            "nodes": [{**facts, "id": name} for name, facts in found.nodes(data=True)],
            "edges": [[source, target] for source, target, *_ in found.edges],
        }


def layout(value: Network) -> tuple[Network, np.ndarray]:
    """The nodes that are drawn, at most DRAWN, and where forces put them, [n, 2] in [-1, 1].

    Fruchterman and Reingold 1991, networkx's, the same every time.
    """
    nx = require("networkx", "graph", "drawing a graph")
    shown = value if len(value.names) <= DRAWN else value.part(np.sort(value.nearest_first()[:DRAWN]))
    drawn = nx.empty_graph(len(shown.names))
    drawn.add_edges_from(shown.edges.tolist())
    places = nx.spring_layout(drawn, seed=0)
    return shown, np.array([places[node] for node in range(len(shown.names))])


def _listed(item: Mapping[str, Any], name: str) -> list[Any]:
    found = item.get(name, [])
    if not isinstance(found, list):
        raise BadItem(f"{name} of a graph are a list, not {type(found).__name__}")
    return found


def _text(given: Any, what: str) -> str:
    text = str(given)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadItem(f"{what} holds a lone surrogate: it is not valid Unicode") from None
    return text


def _told(node: Mapping[str, Any]) -> Iterator[tuple[int | str, float]]:
    """The numbers that a node has, each with its place in a list x, or with its name."""
    given = node.get("x")
    if isinstance(given, list):
        for one in given:
            if not isinstance(one, int | float):
                raise BadItem(f"x of a node holds {repr(one)[:40]}: it is a list of numbers")
        columns: Iterable[tuple[int | str, Any]] = enumerate(given)
    else:
        columns = ((name, one) for name, one in node.items() if name != "id" and isinstance(one, int | float))
    return ((column, float(one) if abs(one) <= _LARGEST else np.nan) for column, one in columns)  # nor beyond a float


def _ends(edges: Sequence[Any], place: Mapping[str, int], *, both_ways: bool) -> np.ndarray:
    """int64 [E, 2] from pairs or {source, target} of ids. Raises BadItem for an end that is no node."""
    found = []
    for number, edge in enumerate(edges, 1):
        pair = [edge.get("source"), edge.get("target")] if isinstance(edge, Mapping) else edge
        if not isinstance(pair, list) or len(pair) != 2 or None in pair:
            raise BadItem(f"edge {number} is {repr(edge)[:60]}: an edge is a pair of ids, or has source and target")
        if (lost := next((end for end in pair if str(end) not in place), None)) is not None:
            raise BadItem(f"edge {number} ends at '{str(lost)[:60]}', which is no node's id: list all nodes")
        found.append([place[str(end)] for end in pair])
    ends = np.array(found, np.int64).reshape(-1, 2)
    ends = ends[ends[:, 0] != ends[:, 1]]  # every node sees itself anyway
    return np.unique(np.concatenate([ends, ends[:, ::-1]]) if both_ways else ends, axis=0)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _weights(counted: Mapping[str, int], place: Mapping[str, int], rarity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns of the known words of a text and their tf-idf, of length 1 together."""
    columns = np.array([place[word] for word in counted if word in place], np.int64)
    counts = np.array([count for word, count in counted.items() if word in place], float)
    weights = counts * rarity[columns]
    return columns, weights / max(float(np.linalg.norm(weights)), 1e-12)


def _directions(rows: Sequence[tuple[np.ndarray, np.ndarray]], words: int, count: int) -> np.ndarray:
    """The first right singular vectors of those rows, float32 [W, count], noughts where there are fewer."""
    sparse = require("scipy.sparse", "graph", "learning the words of nodes")
    linalg = require("scipy.sparse.linalg", "graph", "learning the words of nodes")
    found, few = np.zeros((words, count), np.float32), min(count, len(rows), words)
    if few:
        columns, weights = (np.concatenate(pieces) for pieces in zip(*rows, strict=True))
        ends = np.cumsum([0, *(len(columns) for columns, _ in rows)])
        # A row and a column of noughts more, for it finds fewer vectors than either side has.
        shape = (len(rows) + 1, words + 1)
        matrix = sparse.csr_array((weights, columns, [*ends, ends[-1]]), shape=shape)
        # From the same start, so that the same texts give the same numbers.
        _, _, right = linalg.svds(matrix, k=few, v0=np.ones(min(shape)))
        found[:, :few] = right[::-1, :words].T
    return found
