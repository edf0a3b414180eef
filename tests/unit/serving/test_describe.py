"""What a server tells of a model."""

import enfold
from serving.models import describe


def test_the_runtime_and_why_it_was_picked(image_bundle):
    told = describe(enfold.open("tiny", runtime="auto"))
    assert told.runtime in ("onnxruntime", "openvino")
    assert told.runtime_reason.startswith("fastest here on 2 golden items: ")
    assert describe(enfold.open("tiny")).runtime_reason == "the usual one"
