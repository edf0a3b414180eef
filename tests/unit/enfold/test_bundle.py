"""A bundle is loaded whole and unchanged, or refused."""

import errno
import hashlib
import json
import os

import numpy as np
import pytest

import enfold
from enfold import store
from enfold.bundle import new_bundle, open_bundle
from enfold.errors import BundleInvalid, Unavailable, UnknownName
from enfold.model import Model
from tests import bundles


def test_one_changed_byte_is_refused(image_bundle):
    file = image_bundle.path / "graphs" / "encode_image.onnx"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(BundleInvalid, match=r"encode_image\.onnx.*digest"):
        open_bundle(image_bundle.path)


def test_a_newer_schema_is_refused_with_what_to_do(image_bundle):
    edit_manifest(image_bundle, schema_version=99)
    with pytest.raises(BundleInvalid, match=r"schema 99.*upgrade"):
        open_bundle(image_bundle.path)


def test_a_missing_file_is_refused(image_bundle):
    (image_bundle.path / "golden.npz").unlink()
    with pytest.raises(BundleInvalid, match=r"golden.npz.*missing"):
        open_bundle(image_bundle.path)


def test_a_file_that_is_not_listed_is_refused(image_bundle):
    (image_bundle.path / "extra.bin").write_bytes(b"")
    with pytest.raises(BundleInvalid, match=r"extra.bin"):
        open_bundle(image_bundle.path)


def test_a_link_is_refused(image_bundle, tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"")
    os.symlink(tmp_path / "elsewhere", image_bundle.path / "link")
    with pytest.raises(BundleInvalid, match="link"):
        open_bundle(image_bundle.path)


@pytest.mark.parametrize("path", ["/absolute", "../outside", "a/../../b"])
def test_a_path_that_leaves_the_bundle_is_refused(image_bundle, path):
    edit_manifest(image_bundle, files={path: "0" * 64})
    with pytest.raises(BundleInvalid, match="leaves the bundle"):
        open_bundle(image_bundle.path)


def test_a_moved_vector_is_noticed(image_bundle):
    with np.load(image_bundle.path / "golden.npz") as file:
        golden = dict(file)
    golden["image/fp32/out_embedding"] = golden["image/fp32/out_embedding"][:, ::-1]
    np.savez(image_bundle.path / "golden.npz", **golden)
    with pytest.raises(BundleInvalid, match="other vectors"):
        Model(image_bundle).check()


@pytest.mark.parametrize("swapped", [True, False])
def test_what_changed_after_it_was_verified_reaches_no_runtime(image_bundle, monkeypatch, swapped):
    model = Model(image_bundle)
    file = image_bundle.path / "graphs" / "encode_image.onnx"
    if swapped:
        file.write_bytes(file.read_bytes() + b"\0")
    else:
        file.unlink()
    monkeypatch.setattr("enfold.runtime.load", lambda *_, **__: pytest.fail("it was loaded"))
    with pytest.raises(BundleInvalid, match=r"encode_image\.onnx.*(digest|cannot be read)"):
        model.check()


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("golden.npz", b"PK\x03\x04 no archive", "'golden.npz' cannot be read"),
        ("resources/tokenizer.json", b"\xff\xfe", "'resources/tokenizer.json' cannot be read"),
        ("resources/tokenizer.json", b'{"version": 1}', "'resources/tokenizer.json' cannot be read"),
        ("graphs/encode_text.onnx", b"\x08\x09", "encode_text.onnx is no graph"),
    ],
)
def test_what_a_maker_damaged_and_sealed_is_refused_in_a_sentence(text_bundle, file, content, words):
    (text_bundle.path / file).write_bytes(content)
    resealed(text_bundle)
    model = enfold.open(text_bundle.path)
    with pytest.raises(BundleInvalid, match=words):
        (model.check(), model.embed(["red cat"]))


def test_golden_items_that_a_graph_cannot_take_are_refused(text_bundle):
    with np.load(text_bundle.path / "golden.npz") as file:
        golden = dict(file)
    golden["text/in/input_ids"] += 2**40
    np.savez(text_bundle.path / "golden.npz", **golden)
    with pytest.raises(BundleInvalid, match="fails on its golden items"):
        Model(text_bundle).check()
    np.savez(text_bundle.path / "golden.npz", **{key: value for key, value in golden.items() if "/in/" in key})
    with pytest.raises(BundleInvalid, match="has nothing of 'text' in fp32"):
        Model(text_bundle).check()


@pytest.mark.parametrize("place", ["../../../secret.json", "/etc/hostname"])
def test_a_resource_outside_of_the_bundle_is_not_read(text_bundle, home, place):
    (home / "secret.json").write_bytes((text_bundle.path / "resources" / "tokenizer.json").read_bytes())
    resealed(text_bundle, lambda told: told["entries"]["text"]["preprocess"].update(tokenizer=place))
    with pytest.raises(BundleInvalid, match="leaves the bundle"):
        enfold.open(text_bundle.path).embed(["red cat"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda told: told["tasks"]["classify"].pop("head"), "task 'classify' head: Field required"),
        (lambda told: told["graphs"]["encode_image"].update(files={}), "no file in fp32"),
        (lambda told: told["entries"]["image"].update(graph="encode_sound"), "lists no graph 'encode_sound'"),
        (lambda told: told["entries"]["image"]["preprocess"].update(size=2**40), "no input is longer than 16,777,216"),
    ],
)
def test_a_manifest_that_does_not_fit_together_is_refused(image_bundle, change, words):
    resealed(image_bundle, change)
    with pytest.raises(BundleInvalid, match=words):
        enfold.open(image_bundle.path).check()


def test_a_full_disk_leaves_nothing(home):
    with pytest.raises(Unavailable, match="nothing was published"), new_bundle(home / "bundles", "full"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list((home / "bundles").iterdir()) == []


def test_aliases_and_versions_find_bundles(home):
    first, second = (bundles.image_bundle(home / "bundles", seed=seed) for seed in (1, 2))
    assert enfold.open("tiny").bundle.ref == second.ref
    store.promote_bundle("tiny@1")
    assert enfold.open("tiny").bundle.ref == enfold.open("tiny@prod").bundle.ref == first.ref
    assert enfold.open("tiny@2").bundle.ref == second.ref
    with pytest.raises(UnknownName, match="Known: 1, 2, prod"):
        enfold.open("tiny@3")


def test_an_unknown_variant_lists_the_known(image_bundle):
    with pytest.raises(UnknownName, match="fp32"):
        Model(image_bundle, variant="int3")


def test_embedding_and_prediction_agree_with_the_graph(image_bundle):
    image = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    model = Model(image_bundle)
    embedded = model.embed([image, image])
    np.testing.assert_allclose(np.linalg.norm(embedded.vectors, axis=1), 1, atol=1e-6)
    assert embedded.space == image_bundle.manifest.entries["image"].space
    [answer] = model.predict([image])
    assert answer.label in bundles.LABELS
    assert sum(scored.probability for scored in answer.top) == pytest.approx(1)


def resealed(bundle, change=lambda told: None):
    """As whoever made it could: with digests of what is in it now."""
    told = json.loads((bundle.path / "manifest.json").read_bytes())
    change(told)
    files = {name: hashlib.sha256((bundle.path / name).read_bytes()).hexdigest() for name in told["files"]}
    edit_manifest(bundle, **told | {"files": files})


def edit_manifest(bundle, **changes):
    file = bundle.path / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
