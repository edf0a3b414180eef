"""Tiny real bundles for tests: an image and a text encoder of a few weights, written with onnx alone."""

import io
import shutil
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from enfold.bundle import Bundle, Entry, Graph, Lineage, Manifest, Size, new_bundle, open_bundle, seal
from enfold.modalities import get
from enfold.modalities.protein import MASK
from enfold.runtime import load
from enfold.space import space_id
from enfold.store import versions

LABELS = ("red", "green", "blue")
WORDS = ["[PAD]", "[UNK]", "red", "green", "blue", "a", "cat", "dog", "sat", "ran"]
_DIM = 8


def image_bundle(store: Path, name: str = "tiny", *, seed: int = 0, weight: np.ndarray | None = None) -> Bundle:
    """16 px images -> a linear map of 4 x 4 mean colours -> 8 features; head `classify` over three labels."""
    rng = np.random.default_rng(seed)
    drawn, head = rng.normal(size=(48, _DIM)), rng.normal(size=(_DIM, 3))
    weight = drawn if weight is None else weight
    pool = helper.make_node("AveragePool", ["image"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4])
    nodes = [pool, helper.make_node("Flatten", ["pooled"], ["flat"])]
    nodes.append(helper.make_node("MatMul", ["flat", "weight"], ["out_embedding"]))
    width, pixels = weight.shape[1], {"image": (TensorProto.FLOAT, ["B", 3, 16, 16])}
    graphs = {
        "encode_image": _graph(nodes, pixels, (width,), {"weight": weight}),
        "head_classify": _graph(
            [helper.make_node("MatMul", ["embedding", "head"], ["out_classify"])],
            {"embedding": (TensorProto.FLOAT, ["B", _DIM])},
            (3,),
            {"head": head},
        ),
    }
    preprocess = get("image").Preprocess(size=16)
    pixels = rng.integers(0, 255, (4, 16, 16, 3), np.uint8)
    modality = get("image")(preprocess)
    golden = modality.collate([modality.prepare(image)[0] for image in pixels])
    tasks = {"classify": {"labels": LABELS, "head": "head_classify", "temperature": 1.0}}
    entry = _entry("image", preprocess.model_dump(mode="json"), {"weight": weight}, width)
    return _write(store, name, entry, graphs, golden, tasks)


def text_bundle(
    store: Path,
    name: str = "words",
    *,
    seed: int = 0,
    width: int = _DIM,
    table: np.ndarray | None = None,
    tasks: Any = None,
    others: dict[str, Any] | None = None,
    tokens: bool = False,
) -> Bundle:
    """Words -> a mean of word vectors, padding left out -> `width` features; with `others`, graphs of the tasks; with
    `tokens`, the word vectors too."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    table = np.random.default_rng(seed).normal(size=(len(WORDS), width)) if table is None else table
    graphs = {"encode_text": _mean_of_tokens(table)}
    if tokens:
        shape = ["B", "T", table.shape[1]]
        graphs["encode_text"].graph.output.append(helper.make_tensor_value_info("out_tokens", TensorProto.FLOAT, shape))
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair="$A:0 $B:1")
    preprocess = {"tokenizer": "resources/tokenizer.json", "max_tokens": 8, "overlap_tokens": 2}
    golden = {"input_ids": np.array([[2, 6], [3, 7]]), "attention_mask": np.ones((2, 2), np.int64)}
    entry = _entry("text", preprocess, {"table": table}, table.shape[1])
    entry = entry.model_copy(update={"tokens": table.shape[1] if tokens else None})
    resources = {"resources/tokenizer.json": tokenizer.to_str()}
    return _write(store, name, entry, graphs | (others or {}), golden, tasks or {}, resources)


def protein_bundle(store: Path, name: str = "residues") -> Bundle:
    """A mean of residue vectors -> 8 features; tasks `tag` (lysine is a helix), `contacts` (cysteines touch) and
    `mutations` (at a masked place the later residues of the alphabet are the likelier ones).
    """
    modality, preprocess = get("protein"), get("protein").Preprocess(max_residues=16, overlap=4)
    reader, table = modality(preprocess), np.random.default_rng(0).normal(size=(30, _DIM))
    lysine, cysteine = (reader.prepare(reader.read(one))[0].arrays["input_ids"][1] for one in "KC")
    states, bound = np.tile([0.0, 5.0], (30, 1)), np.full((30, 1), -1.0)
    states[lysine], bound[cysteine] = (5, 0), 3
    likely = np.random.default_rng(1).normal(size=(30, 30))
    likely[MASK] = np.arange(30) / 10
    node, ids = helper.make_node, {key: (TensorProto.INT64, ["B", "T"]) for key in ("input_ids", "attention_mask")}
    pairs = [
        node("Gather", ["bound", "input_ids"], ["here"]),
        node("Transpose", ["here"], ["there"], perm=[0, 2, 1]),
        node("Add", ["here", "there"], ["out_contacts"]),
    ]
    graphs = {
        "encode_protein": _mean_of_tokens(table),
        "complete_tag": _graph(
            [node("Gather", ["states", "input_ids"], ["out_tag"])], ids, ("T", 2), {"states": states}
        ),
        "complete_contacts": _graph(pairs, ids, ("T", "T"), {"bound": bound}),
        "complete_residues": _graph(
            [node("Gather", ["likely", "input_ids"], ["out_mutations"])], ids, ("T", 30), {"likely": likely}
        ),
    }
    golden = reader.collate([reader.prepare(reader.read(one))[0] for one in ("MKTAYIAK", "WGDEV", "CKKC")])
    tasks = {
        "tag": {"graph": "complete_tag", "labels": {"H": "helix", "C": "coil"}},
        "contacts": {"graph": "complete_contacts"},
        "mutations": {"graph": "complete_residues"},
    }
    entry = _entry("protein", preprocess.model_dump(mode="json"), {"table": table})
    return _write(store, name, entry, graphs, golden, tasks)


def molecule_bundle(store: Path, name: str = "formulas") -> Bundle:
    """How much of all that stands in each input -> 8 features; tasks `regress` of a boiling point and `relations`: an
    ångström for each bond between two atoms.
    """
    node, modality = helper.make_node, get("molecule")(get("molecule").Preprocess(max_atoms=16))
    inner = {"atoms": (8,), "degrees": (), "placed": (), "hops": (16,), "ways": (16, 5), "places": (3,)}
    inputs: dict[str, Any] = {
        key: (TensorProto.FLOAT if key == "places" else TensorProto.INT64, ["B", "N", *shape])
        for key, shape in inner.items()
    }
    nodes, sums = [], []
    for key, shape in inner.items():
        nodes += [
            node("Cast", [key], [f"{key}_numbers"], to=TensorProto.FLOAT),
            node("Mul", [f"{key}_numbers"] * 2, [f"{key}_squares"]),
            node("ReduceSum", [f"{key}_squares", f"axes_{len(shape)}"], [f"{key}_total"], keepdims=0),
            node("Unsqueeze", [f"{key}_total", "axes_0"], [f"{key}_column"]),
        ]
        sums.append(f"{key}_column")
    rng = np.random.default_rng(0)
    weight, head = rng.normal(0, 0.01, (len(inner), _DIM)), rng.normal(size=(_DIM, 1))
    nodes += [node("Concat", sums, ["sums"], axis=1), node("MatMul", ["sums", "weight"], ["out_embedding"])]
    constants = {"weight": weight} | {f"axes_{count}": np.arange(1, 2 + count) for count in range(3)}
    graphs = {
        "encode_molecule": _graph(nodes, inputs, (_DIM,), constants),
        "head_regress": _graph(
            [node("MatMul", ["embedding", "head"], ["out_regress"])],
            {"embedding": (TensorProto.FLOAT, ["B", _DIM])},
            (1,),
            {"head": head},
        ),
    }
    nodes = [
        node("Shape", ["atoms"], ["count"], start=1, end=2),
        node("Slice", ["hops", "nought", "count", "last"], ["real"]),
        node("Sub", ["real", "one"], ["bonds"]),
        node("Cast", ["bonds"], ["out_relations"], to=TensorProto.FLOAT),
    ]
    constants = {"nought": np.array([0]), "last": np.array([2]), "one": np.array([1])}
    graphs["complete_relations"] = _graph(nodes, inputs, ("N", "N"), constants)
    golden = modality.collate([modality.prepare(modality.read(one))[0] for one in ("CCO", "c1ccccc1", "CC(C)N", "C")])
    spec = {"names": ["boiling_point"], "units": ["K"], "head": "head_regress", "errors": [list(range(50))]}
    entry = _entry("molecule", modality.preprocess.model_dump(mode="json"), {"weight": weight})
    return _write(store, name, entry, graphs, golden, {"regress": spec, "relations": {"graph": "complete_relations"}})


def ranking_bundle(store: Path, name: str = "ranks", *, by: str = "cosine") -> Bundle:
    """The text bundle with a task `rank`; by pairs a text scores one for every word that it shares with the query."""
    if by == "cosine":
        return text_bundle(store, name, tasks={"rank": {"by": by, "graph": "encode_text"}})
    node = helper.make_node
    nodes = [
        node("Gather", ["each", "input_ids"], ["words"]),
        node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        node("Cast", ["token_type_ids"], ["type"], to=TensorProto.FLOAT),
        node("Mul", ["mask", "type"], ["second"]),
        node("Sub", ["mask", "second"], ["first"]),
        *[node("Unsqueeze", [part, "last"], [f"{part}_wide"]) for part in ("first", "second")],
        *[node("Mul", ["words", f"{part}_wide"], [f"{part}_words"]) for part in ("first", "second")],
        *[node("ReduceSum", [f"{part}_words", "one"], [f"{part}_counts"], keepdims=0) for part in ("first", "second")],
        node("Mul", ["first_counts", "second_counts"], ["shared"]),
        node("ReduceSum", ["shared", "one"], ["out_rank"], keepdims=1),
    ]
    inputs = {name: (TensorProto.INT64, ["B", "T"]) for name in ("input_ids", "attention_mask", "token_type_ids")}
    constants = {"each": np.eye(len(WORDS)), "last": np.array([2]), "one": np.array([1])}
    spec = {"by": by, "graph": "complete_rank", "max_tokens": 16}
    return text_bundle(
        store, name, tasks={"rank": spec}, others={"complete_rank": _graph(nodes, inputs, (1,), constants)}
    )


def slow_bundle(store: Path, name: str = "slow", *, milliseconds: float = 80) -> Bundle:
    """A text bundle that takes about so much CPU time of this machine an item, with onnxruntime on one thread."""
    side = 256
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(side, side)))[0]
    multiplications = round(milliseconds / _milliseconds_of_a_multiplication(turn))
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "input_ids"], ["tokens"]),
        node("ReduceMean", ["tokens"], ["embedding"], axes=[1], keepdims=0),
        node("ReduceMean", ["tokens"], ["scale"], axes=[1, 2], keepdims=1),
        node("Mul", ["scale", "turn"], ["work_0"]),
        *(node("MatMul", [f"work_{i}", "turn"], [f"work_{i + 1}"]) for i in range(multiplications)),
        node("ReduceMax", [f"work_{multiplications}"], ["worked"], axes=[1, 2], keepdims=0),
        node("Unsqueeze", ["worked", "last"], ["column"]),
        node("Mul", ["column", "zero"], ["nothing"]),
        node("Add", ["embedding", "nothing"], ["out_embedding"]),
    ]
    return _laborious_bundle(store, name, nodes, {"turn": turn, "zero": np.array([0.0])})


def hungry_bundle(store: Path, name: str = "hungry", *, mib: int = 16) -> Bundle:
    """A text bundle whose graph fills so much memory for every pair of words of a text."""
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "input_ids"], ["tokens"]),
        node("ReduceMean", ["tokens"], ["embedding"], axes=[1], keepdims=0),
        node("ReduceMean", ["tokens"], ["rows"], axes=[2], keepdims=1),
        node("Transpose", ["rows"], ["columns"], perm=[0, 2, 1]),
        node("Mul", ["rows", "columns"], ["pairs"]),
        node("Unsqueeze", ["pairs", "end"], ["narrow"]),
        node("Mul", ["narrow", "wide"], ["filled"]),
        node("ReduceMax", ["filled"], ["worked"], axes=[1, 2, 3], keepdims=0),
        node("Unsqueeze", ["worked", "last"], ["column"]),
        node("Mul", ["column", "zero"], ["nothing"]),
        node("Add", ["embedding", "nothing"], ["out_embedding"]),
    ]
    constants = {"wide": np.ones(mib * 2**18), "end": np.array([3]), "zero": np.array([0.0])}
    return _laborious_bundle(store, name, nodes, constants)


def _laborious_bundle(store: Path, name: str, nodes: list[Any], constants: dict[str, np.ndarray]) -> Bundle:
    """A text bundle of these nodes: mean word vectors, and work for nothing."""
    table = np.random.default_rng(1).normal(size=(len(WORDS), _DIM))
    ids = {name: (TensorProto.INT64, ["B", "T"]) for name in ("input_ids", "attention_mask")}
    graph = _graph(nodes, ids, (_DIM,), {"table": table, "last": np.array([1]), **constants})
    tokenizer = (text_bundle(store, f"{name}-words").path / "resources/tokenizer.json").read_text()
    preprocess = {"tokenizer": "resources/tokenizer.json", "max_tokens": 8, "overlap_tokens": 2}
    golden = {"input_ids": np.array([[2], [3]]), "attention_mask": np.ones((2, 1), np.int64)}
    entry = _entry("text", preprocess, {"table": table})
    return _write(store, name, entry, {"encode_text": graph}, golden, {}, {"resources/tokenizer.json": tokenizer})


def _milliseconds_of_a_multiplication(turn: np.ndarray) -> float:
    """CPU time and not the clock's, so that other tests on the machine change nothing; the least of three."""
    count, side = 60, len(turn)
    nodes = [helper.make_node("MatMul", [f"work_{i}", "turn"], [f"work_{i + 1}"]) for i in range(count - 1)]
    nodes.append(helper.make_node("MatMul", [f"work_{count - 1}", "turn"], ["out"]))
    graph = _graph(nodes, {"work_0": (TensorProto.FLOAT, [side, side])}, (side,), {"turn": turn})
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    times = []
    for _ in range(3):
        started = time.thread_time()
        session.run(None, {"work_0": turn.astype(np.float32)})
        times.append(time.thread_time() - started)
    return min(times) * 1000 / count


def colours_bundle(store: Path, name: str = "colours") -> Bundle:
    """Images and texts in one space of three dimensions: how red, green and blue an image is, or a text says."""
    with TemporaryDirectory() as folder:
        channels, words = np.kron(np.eye(3), np.ones((16, 1))) / 16, np.zeros((len(WORDS), 3))
        words[[WORDS.index(label) for label in LABELS]] = np.eye(3)
        images = image_bundle(Path(folder), weight=channels)
        texts = text_bundle(Path(folder), table=words)
        with new_bundle(store, name) as draft:
            goldens = {}
            for one in (images, texts):
                shutil.copytree(one.path, draft, dirs_exist_ok=True)
                with np.load(one.path / "golden.npz") as file:
                    goldens |= dict(file)
            np.savez(draft / "golden.npz", **goldens)
            (draft / "manifest.json").unlink()
            (draft / "graphs/head_classify.onnx").unlink()
            both = (images.manifest, texts.manifest)
            entries = {key: entry for one in both for key, entry in one.entries.items()}
            graphs = {key: graph for one in both for key, graph in one.graphs.items() if graph.role == "encode"}
            joint = {key: entry.model_copy(update={"space": "sp_colours"}) for key, entry in entries.items()}
            update = {"name": name, "entries": joint, "graphs": graphs, "tasks": {}}
            seal(draft, images.manifest.model_copy(update=update))
    return open_bundle(store / name / "1")


def volume_bundle(store: Path, name: str = "scans") -> Bundle:
    """16 voxels a side -> their mean -> 8 features; task `segment` tells what is above and below it by a half."""
    weight, node = np.ones((1, _DIM)), helper.make_node
    side, cube = 16, {"volume": (TensorProto.FLOAT, ["B", 1, 16, 16, 16])}
    mean = [node("GlobalAveragePool", ["volume"], ["mean"]), node("Flatten", ["mean"], ["flat"])]
    classes = {"slope": np.array([0.0, 1.0, -1.0]).reshape(3, 1, 1, 1, 1), "offset": np.array([0.5, 0.0, 0.0])}
    graphs = {
        "encode_volume": _graph(
            [*mean, node("MatMul", ["flat", "weight"], ["out_embedding"])], cube, (_DIM,), {"weight": weight}
        ),
        "complete_segment": _graph(
            [node("Conv", ["volume", "slope", "offset"], ["out_segment"])], cube, (3, side, side, side), classes
        ),
    }
    preprocess = get("volume").Preprocess(spacing=2.0, patch=side)
    modality, rng = get("volume")(preprocess), np.random.default_rng(0)
    golden = modality.collate([modality.prepare(modality.read(rng.normal(size=(40, 40, 40))))[0] for _ in range(4)])
    entry = _entry("volume", preprocess.model_dump(mode="json"), {"weight": weight})
    tasks = {"segment": {"labels": ("background", "bright", "dark"), "graph": "complete_segment"}}
    return _write(store, name, entry, graphs, golden, tasks)


def points_bundle(store: Path, name: str = "clouds") -> Bundle:
    """8 patches of 8 points -> how far centres and points are spread along each axis -> 8 features."""
    node, weight = helper.make_node, np.random.default_rng(0).normal(size=(6, _DIM))
    nodes = [
        node("Mul", ["centres", "centres"], ["wide"]),
        node("Mul", ["patches", "patches"], ["near"]),
        node("ReduceMean", ["wide"], ["of_centres"], axes=[1], keepdims=0),
        node("ReduceMean", ["near"], ["of_patches"], axes=[1, 2], keepdims=0),
        node("Concat", ["of_centres", "of_patches"], ["spread"], axis=1),
        node("MatMul", ["spread", "weight"], ["out_embedding"]),
    ]
    inputs = {"centres": (TensorProto.FLOAT, ["B", 8, 3]), "patches": (TensorProto.FLOAT, ["B", 8, 8, 3])}
    preprocess = get("points").Preprocess(points=64, patches=8, neighbours=8)
    modality, rng = get("points")(preprocess), np.random.default_rng(0)
    golden = modality.collate([modality.prepare(modality.read(rng.normal(size=(100, 3))))[0] for _ in range(4)])
    entry = _entry("points", preprocess.model_dump(mode="json"), {"weight": weight})
    return _write(store, name, entry, {"encode_points": _graph(nodes, inputs, (_DIM,), {"weight": weight})}, golden, {})


def series_bundle(store: Path, name: str = "courses") -> Bundle:
    """24 steps -> means of every eighth of them; task `forecast` says again the four steps of a day ago."""
    node, places = helper.make_node, np.tile(np.eye(_DIM), (3, 1)) / 3
    window = {key: (TensorProto.FLOAT, ["B", "C", 24]) for key in ("series", "measured")}
    used = [node("Mul", ["series", "measured"], ["seen"])]  # so that both are inputs
    graphs = {
        "encode_series": _graph(
            [
                *used,
                node("ReduceSum", ["seen", "channels"], ["total"], keepdims=0),
                node("MatMul", ["total", "places"], ["out_embedding"]),
            ],
            window,
            (_DIM,),
            {"channels": np.array([1]), "places": places},
        ),
        "complete_forecast": _graph(
            [*used, node("Slice", ["seen", "from", "to", "axis"], ["out_forecast"])],
            window,
            ("C", 4),
            {"from": np.array([0]), "to": np.array([4]), "axis": np.array([2])},
        ),
    }
    preprocess = get("series").Preprocess(window=24)
    modality, rng = get("series")(preprocess), np.random.default_rng(0)
    golden = modality.collate([modality.prepare(modality.read(rng.normal(size=(30, 2))))[0] for _ in range(4)])
    residuals = io.BytesIO()
    np.save(residuals, rng.normal(0, 0.1, (50, 4)).astype(np.float32))
    spec = {"graph": "complete_forecast", "residuals": "resources/residuals.npy"}
    resources = {"resources/residuals.npy": residuals.getvalue()}
    entry = _entry("series", preprocess.model_dump(mode="json"), {"places": places})
    return _write(store, name, entry, graphs, golden, {"forecast": spec}, resources)


def records_bundle(store: Path, name: str = "persons") -> Bundle:
    """Sums of all that a history holds -> 8 features; task `estimate` of two counts; known are cough, fever, weight."""
    node, modality = helper.make_node, get("records")(get("records").Preprocess(max_visits=8, visit_codes=3, places=4))
    persons = [
        modality.read({"events": [{"time": day, "code": code} for day in range(n + 1)], "about": {"age": 30.0 + n}})
        for n, code in enumerate(("cough", "fever", "weight", "cough"))
    ]
    resources = modality.learnt(persons)
    rng = np.random.default_rng(0)
    weight, head = rng.normal(0, 0.01, (1, _DIM)), rng.normal(size=(_DIM, 2))
    inputs = {
        "codes": (TensorProto.INT64, ["B", "T", 3]),
        "gaps": (TensorProto.FLOAT, ["B", "T"]),
        "about": (TensorProto.FLOAT, ["B", "T", 4]),
    }
    nodes = [
        node("Cast", ["codes"], ["numbers"], to=TensorProto.FLOAT),
        node("ReduceSum", ["numbers", "inner"], ["seen"], keepdims=0),
        node("ReduceSum", ["about", "inner"], ["known"], keepdims=0),
        node("ReduceSum", ["gaps", "outer"], ["lasted"], keepdims=0),
        node("Sum", ["seen", "known", "lasted"], ["total"]),
        node("Unsqueeze", ["total", "outer"], ["wide"]),
        node("MatMul", ["wide", "weight"], ["out_embedding"]),
    ]
    constants = {"inner": np.array([1, 2]), "outer": np.array([1]), "weight": weight}
    graphs = {
        "encode_records": _graph(nodes, inputs, (_DIM,), constants),
        "head_estimate": _graph(
            [node("MatMul", ["embedding", "head"], ["out_estimate"])],
            {"embedding": (TensorProto.FLOAT, ["B", _DIM])},
            (2,),
            {"head": head},
        ),
    }
    with TemporaryDirectory() as folder:
        (Path(folder) / "resources").mkdir()
        for path, content in resources.items():
            (Path(folder) / path).write_bytes(content)
        reader = get("records")(modality.preprocess, folder=Path(folder))
        golden = reader.collate([reader.prepare(person)[0] for person in persons])
    spec = {"names": ["visits", "falls"], "head": "head_estimate", "days": 365, "dispersions": [0.0, 0.5]}
    entry = _entry("records", modality.preprocess.model_dump(mode="json"), {"weight": weight})
    return _write(store, name, entry, graphs, golden, {"estimate": spec}, resources)


def trajectory_bundle(store: Path, name: str = "arms") -> Bundle:
    """What each of three arms brought in all, beside nothing -> 8 features; task `act` prefers the most."""
    node, preprocess = helper.make_node, get("trajectory").Preprocess(actions=3, horizon=8)
    modality, spread = get("trajectory")(preprocess), np.eye(3, _DIM)
    inputs = {"steps": (TensorProto.FLOAT, ["B", "N", 6]), "mask": (TensorProto.INT64, ["B", "N"])}
    nodes = [
        node("Slice", ["steps", "one", "four", "last"], ["taken"]),
        node("Slice", ["steps", "five", "six", "last"], ["got"]),
        node("Mul", ["taken", "got"], ["brought"]),
        node("Cast", ["mask"], ["real"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["real", "last"], ["there"]),
        node("Mul", ["brought", "there"], ["counted"]),
        node("ReduceSum", ["counted", "middle"], ["total"], keepdims=0),
        node("MatMul", ["total", "spread"], ["arms"]),
        node("Add", ["arms", "bias"], ["out_embedding"]),
    ]
    places = {"one": 1, "four": 4, "five": 5, "six": 6, "last": 2, "middle": 1}
    constants = {key: np.array([value]) for key, value in places.items()}
    constants |= {"spread": spread, "bias": np.eye(1, _DIM, _DIM - 1)[0]}
    graphs = {
        "encode_trajectory": _graph(nodes, inputs, (_DIM,), constants),
        "head_act": _graph(
            [node("MatMul", ["embedding", "head"], ["out_act"])],
            {"embedding": (TensorProto.FLOAT, ["B", _DIM])},
            (3,),
            {"head": spread.T * 3},
        ),
    }
    rng = np.random.default_rng(0)
    told = [{"actions": [0, 1, 2, n % 3], "rewards": rng.random(4).tolist()} for n in range(4)]
    golden = modality.collate([modality.prepare(modality.read(one))[0] for one in told])
    spec = {"names": ["left", "middle", "right"], "head": "head_act"}
    entry = _entry("trajectory", preprocess.model_dump(mode="json"), {"spread": spread})
    return _write(store, name, entry, graphs, golden, {"act": spec})


def graph_bundle(store: Path, name: str = "nodes") -> Bundle:
    """Of the nodes of a graph the sum of their two numbers, and how many neighbours they have in all -> 8 features."""
    node, preprocess = helper.make_node, get("graph").Preprocess(features=2, neighbours=3, max_nodes=16)
    modality, spread = get("graph")(preprocess), np.eye(3, _DIM)
    inputs = {
        "features": (TensorProto.FLOAT, ["B", "N", 2]),
        "neighbours": (TensorProto.INT64, ["B", "N", 3]),
        "kinds": (TensorProto.INT64, ["B", "N"]),
    }
    nodes = [
        node("Cast", ["neighbours"], ["numbered"], to=TensorProto.BOOL),
        node("Cast", ["numbered"], ["heard"], to=TensorProto.FLOAT),
        node("ReduceSum", ["heard", "last"], ["count"], keepdims=1),
        node("Concat", ["features", "count"], ["told"], axis=2),
        node("Cast", ["kinds"], ["known"], to=TensorProto.BOOL),
        node("Cast", ["known"], ["real"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["real", "last"], ["there"]),
        node("Mul", ["told", "there"], ["counted"]),
        node("ReduceSum", ["counted", "middle"], ["total"], keepdims=0),
        node("MatMul", ["total", "spread"], ["out_embedding"]),
    ]
    constants = {"last": np.array([2]), "middle": np.array([1]), "spread": spread}
    graphs = {"encode_graph": _graph(nodes, inputs, (_DIM,), constants)}
    chains = [{"x": [[1, k]] * k, "edges": [[i, i + 1] for i in range(k - 1)]} for k in range(2, 6)]
    golden = modality.collate([modality.prepare(modality.read(one))[0] for one in chains])
    entry = _entry("graph", preprocess.model_dump(mode="json", exclude_none=True), {"spread": spread})
    return _write(store, name, entry, graphs, golden, {})


def speaker_bundle(store: Path, name: str = "speaker", *, sizes: tuple[str, str] = ("small", "large")) -> Bundle:
    """Writes WORDS one after the other, over and over; size `small` says dog where `large` says sat."""
    node, bundle = helper.make_node, text_bundle(store, f"{name}-text")
    graphs, records = {}, {}
    for size in sizes:
        follows = np.eye(len(WORDS))[np.roll(np.arange(len(WORDS)), -1)] * 9.0
        if size == sizes[0]:
            follows[WORDS.index("cat")] = np.eye(len(WORDS))[WORDS.index("sat")] * 9.0
        nodes = [
            node("Gather", ["follows", "input_ids"], ["out_logits"]),
            node("Gather", ["nothing", "input_ids"], ["new"]),
            node("Unsqueeze", ["new", "axes"], ["wide"]),
            node("Concat", ["cache", "wide"], ["out_cache"], axis=4),
        ]
        constants = {"follows": follows, "nothing": np.zeros((len(WORDS), 1)), "axes": np.array([1, 2, 3])}
        step = helper.make_graph(
            nodes,
            "step",
            [
                helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["B", "S"]),
                helper.make_tensor_value_info("cache", TensorProto.FLOAT, ["B", 1, 1, 1, "P", 1]),
            ],
            [
                helper.make_tensor_value_info("out_logits", TensorProto.FLOAT, ["B", "S", len(WORDS)]),
                helper.make_tensor_value_info("out_cache", TensorProto.FLOAT, ["B", 1, 1, 1, "N", 1]),
            ],
            [
                numpy_helper.from_array(value.astype(np.float32 if value.dtype == np.float64 else value.dtype), key)
                for key, value in constants.items()
            ],
        )
        graphs[size] = helper.make_model(step, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    facts, entry = bundle.manifest, bundle.manifest.entries["text"]
    with new_bundle(store, name) as draft:
        shutil.copytree(bundle.path, draft, dirs_exist_ok=True)
        with np.load(draft / "golden.npz") as file:
            golden = dict(file)
        vectors = golden.pop("text/fp32/out_embedding")
        inputs = {key.replace("text/", f"text/{size}/"): value for key, value in golden.items() for size in sizes}
        np.savez(draft / "golden.npz", **inputs, **{f"text/{size}/fp32/out_embedding": vectors for size in sizes})
        for size, model in graphs.items():
            onnx.save(model, draft / f"graphs/step.{size}.onnx")
            files = {"fp32": f"graphs/step.{size}.onnx"}
            names = {"inputs": ("input_ids", "cache"), "outputs": ("out_logits", "out_cache")}
            records[f"step.{size}"] = Graph(role="step", files=files, **names, state={"cache": "out_cache"})
        spaces = {size: Size(space=entry.space + size, dimensions=_DIM) for size in sizes}
        spec = {"graph": "step", "tokenizer": "resources/tokenizer.json", "context": 4096, "end": "<eos>"}
        manifest = facts.model_copy(
            update={
                "name": name,
                "version": 1,
                "sizes": sizes,
                "graphs": {**facts.graphs, **records},
                "entries": {"text": entry.model_copy(update={"space": entry.space + sizes[-1], "sizes": spaces})},
                "tasks": {"generate": spec | {"caches": dict.fromkeys(sizes, (1, 1, 1, 0, 1))}},
            }
        )
        (draft / "manifest.json").unlink()
        seal(draft, manifest)
    return open_bundle(store / name / "1")


def _entry(modality: str, preprocess: dict[str, Any], weights: dict[str, np.ndarray], dimensions: int = _DIM) -> Entry:
    space = space_id(weights, preprocess=preprocess, pooling="mean", normalize=True, dimensions=dimensions)
    return Entry(
        modality=modality,
        graph=f"encode_{modality}",
        space=space,
        dimensions=dimensions,
        pooling="mean",
        normalize=True,
        preprocess=preprocess,
    )


def _mean_of_tokens(table: np.ndarray) -> onnx.ModelProto:
    """A mean of the rows [V, D] of an item's tokens, padding left out."""
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "input_ids"], ["out_tokens"]),
        node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["mask", "last"], ["wide"]),
        node("Mul", ["out_tokens", "wide"], ["real"]),
        node("ReduceSum", ["real", "one"], ["total"], keepdims=0),
        node("ReduceSum", ["mask", "one"], ["count"], keepdims=1),
        node("Div", ["total", "count"], ["out_embedding"]),
    ]
    ids = {name: (TensorProto.INT64, ["B", "T"]) for name in ("input_ids", "attention_mask")}
    return _graph(nodes, ids, table.shape[1:], {"table": table, "last": np.array([2]), "one": np.array([1])})


def _graph(
    nodes: list[Any], inputs: dict[str, Any], shape: tuple[int | str, ...], constants: dict[str, np.ndarray]
) -> onnx.ModelProto:
    """shape   of what comes out, of one item"""
    floats = {key: value.astype(np.float32) if value.dtype == np.float64 else value for key, value in constants.items()}
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, *facts) for name, facts in inputs.items()],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, ["B", *shape])],
        [numpy_helper.from_array(value, key) for key, value in floats.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _write(
    store: Path,
    name: str,
    entry: Entry,
    graphs: Any,
    golden: Any,
    tasks: Any,
    resources: Mapping[str, str | bytes] | None = None,
) -> Bundle:
    version = max(versions(store, name), default=0) + 1
    with new_bundle(store, name) as draft:
        (draft / "graphs").mkdir()
        records = {}
        for graph_name, model in graphs.items():
            onnx.save(model, draft / "graphs" / f"{graph_name}.onnx")
            records[graph_name] = Graph(
                role=graph_name.partition("_")[0],
                files={"fp32": f"graphs/{graph_name}.onnx"},
                inputs=tuple(node.name for node in model.graph.input),
                outputs=tuple(node.name for node in model.graph.output),
            )
        for path, content in (resources or {}).items():
            (draft / path).parent.mkdir(exist_ok=True)
            (draft / path).write_bytes(content.encode() if isinstance(content, str) else content)
        found = load("onnxruntime", draft / "graphs" / f"{entry.graph}.onnx", threads=1).run(golden)
        inputs = {f"{entry.modality}/in/{key}": value for key, value in golden.items()}
        np.savez(draft / "golden.npz", **inputs, **{f"{entry.modality}/fp32/out_embedding": found["out_embedding"]})
        manifest = Manifest(
            name=name,
            version=version,
            created=datetime.now(UTC),
            entries={entry.modality: entry},
            graphs=records,
            tasks=tasks,
            licence="Apache-2.0",
            lineage=Lineage(source="made by a test"),
        )
        seal(draft, manifest)
    return open_bundle(store / name / str(version))
