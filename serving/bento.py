"""A bundle as a Bento: the code that serves it, the bundle and its settings in one archive, for `bentoml serve`."""

import os
import shutil
import tempfile
from contextlib import suppress
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from enfold import modalities, settings, store

_ROOT = Path(__file__).parents[1]
_NO_CODE = shutil.ignore_patterns("__pycache__")
_ENTRY = """import os
from pathlib import Path

os.environ.setdefault("ENFOLD_BUNDLES", str(Path(__file__).parent / "bundles"))
os.environ.setdefault("ENFOLD_MODELS", "{ref}")

from serving.service import Server
"""


def build(ref: store.Ref) -> dict[str, Any]:
    """Build a Bento that serves one bundle, and names it `<bundle>:<version>`.

    It lies in the folder `bentoml` of this home: BENTOML_HOME=… bentoml serve TAG finds it there. The settings of the
    environment in which it is served hold; the bundle is the Bento's own.
    """
    config = settings.load()
    bundle = store.open_ref(config.bundles, ref)
    home = config.home.absolute() / "bentoml"
    os.environ |= {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
    from bentoml import bentos  # reads the environment when it is imported
    from bentoml.exceptions import NotFound

    name, version = bundle.manifest.name, str(bundle.manifest.version)
    with suppress(NotFound):
        bentos.delete(f"{name}:{version}")  # built again, it is new
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        for room in ("enfold", "serving"):
            shutil.copytree(_ROOT / room, context / room, ignore=_NO_CODE)
        shutil.copytree(bundle.path, context / "bundles" / name / version)
        ours = distribution("enfold")
        about = context / f"enfold-{ours.version}.dist-info"  # what the server tells as its version
        about.mkdir()
        (about / "METADATA").write_text(ours.read_text("METADATA") or ours.read_text("PKG-INFO") or "")
        (context / "bento.py").write_text(_ENTRY.format(ref=bundle.ref))
        made = bentos.build(
            "bento:Server",
            name=name,
            version=version,
            build_ctx=str(context),
            include=["*"],
            python={"packages": _packages(), "lock_packages": False},
        )
    return {"bento": str(made.tag), "bentoml_home": str(home), "megabytes": round(made.total_size() / 1e6, 1)}


def _packages() -> list[str]:
    """What the server needs, as the distribution says: itself, and the extras that its image has."""
    from packaging.requirements import Requirement

    wanted = {"", "serve", "trace", "cpu", *modalities.names()}
    found = [Requirement(line) for line in distribution("enfold").requires or []]
    return [
        str(one).partition(";")[0].strip()
        for one in found
        if one.name != "enfold" and (not one.marker or any(one.marker.evaluate({"extra": extra}) for extra in wanted))
    ]
