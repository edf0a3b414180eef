"""A bundle as a model repository: every page is one that Triton reads, every graph runs from there."""

import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from enfold.errors import UnknownName
from enfold.runtime import load, openvino
from export import onnx as graphs
from export.publish import publish
from export.triton import write_repository
from tests import bundles
from tests.unit.export.drafts import image_draft, vit


def pages(repository):
    return {
        path.parent.name: text_format.Parse(path.read_text(), ModelConfig()) for path in repository.glob("*/*.pbtxt")
    }


def tensors(listed):
    return {tensor.name: (tensor.data_type, list(tensor.dims)) for tensor in listed}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """As on a processor with bf16, with weights in files of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openvino, "_has_bf16", lambda core: True)
        patch.setattr(graphs, "INLINE_BYTES", 1000)
        return publish([image_draft(vit())], "photos", tmp_path_factory.mktemp("home") / "bundles")


@pytest.fixture
def photos(published, home):
    home.mkdir()
    (home / "bundles").symlink_to(published.path.parents[1])
    return published


@pytest.mark.parametrize("backend", ["onnxruntime", "tensorrt", "python"])
def test_every_graph_and_variant_becomes_a_model(photos, tmp_path, backend):
    assert "bf16" in photos.manifest.variants
    done = write_repository("photos", tmp_path / "repository", backend)
    found = pages(tmp_path / "repository")
    served = [variant for variant in photos.manifest.variants if variant != "bf16"]  # Triton has no engine for it
    names = {f"photos.encode_image{'' if variant == 'fp32' else f'.{variant}'}" for variant in served}
    assert set(found) == names | {"photos.head_classify"}
    assert sorted(done["models"]) == sorted(f"{name}/1" for name in found)

    encoder, head = found["photos.encode_image"], found["photos.head_classify"]
    assert tensors(encoder.input) == {"image": (ModelConfig().input.add(data_type="TYPE_FP32").data_type, [3, 16, 16])}
    assert tensors(encoder.output)["out_embedding"][1] == [16]
    assert (encoder.max_batch_size, head.max_batch_size) == (32, 0)
    assert tensors(head.input)["embedding"][1] == [-1, 16]
    assert encoder.backend == ("python" if backend == "python" else "onnxruntime")
    assert encoder.HasField("dynamic_batching") == (backend != "python")
    assert not head.HasField("dynamic_batching")
    accelerators = [one.name for one in encoder.optimization.execution_accelerators.gpu_execution_accelerator]
    assert accelerators == (["tensorrt"] if backend == "tensorrt" else [])
    for name in found:
        assert (tmp_path / "repository" / name / "1" / "model.py").exists() == (backend == "python")


def test_graphs_run_where_they_were_put_with_the_weights_beside_them(photos, tmp_path):
    write_repository("photos", tmp_path / "repository")
    pixels = np.random.default_rng(0).normal(size=(2, 3, 16, 16)).astype(np.float32)
    for variant in ("fp32", "fp16"):
        file = photos.path / photos.manifest.graphs["encode_image"].files[variant]
        put = tmp_path / "repository" / f"photos.{file.stem}" / "1"
        assert (put / f"{file.stem}.data").exists()
        want, found = (
            load("onnxruntime", path, threads=1).run({"image": pixels}) for path in (file, put / "model.onnx")
        )
        np.testing.assert_array_equal(found["out_embedding"], want["out_embedding"])
        onnx.load(file)  # which refuses weights that have a second name


def test_a_state_is_not_batched_and_sizes_are_models_of_their_own(home, tmp_path):
    bundles.speaker_bundle(home / "bundles")
    write_repository("speaker", tmp_path)
    found = pages(tmp_path)
    assert {"speaker.step.small", "speaker.step.large"} <= set(found)
    assert found["speaker.step.small"].max_batch_size == 0
    assert tensors(found["speaker.step.small"].input)["cache"][1] == [-1, 1, 1, 1, -1, 1]


def test_versions_lie_side_by_side_and_one_written_again_is_replaced(home, tmp_path):
    for seed in (1, 2):
        bundles.image_bundle(home / "bundles", seed=seed)
        write_repository("tiny", tmp_path)
    stale = tmp_path / "tiny.encode_image" / "2" / "stale"
    stale.touch()
    write_repository("tiny@2", tmp_path)
    assert sorted(path.name for path in (tmp_path / "tiny.encode_image").iterdir()) == ["1", "2", "config.pbtxt"]
    assert not stale.exists()


def test_an_unknown_backend_names_those_there_are(image_bundle, tmp_path):
    with pytest.raises(UnknownName, match=r"unknown backend of Triton 'tensorrtx'\. Did you mean 'tensorrt'"):
        write_repository("tiny", tmp_path, "tensorrtx")
    assert not list(tmp_path.glob("tiny*"))
