"""What items find something in a collection, where models have several entries of one modality."""

from app.server import searched_by
from enfold.wire import CollectionInfo, EntryInfo, ModelInfo

ROW = {"modality": "table", "model": "stars@1"}


def collection(entry: str, modality: str, space: str = "sp_stars") -> CollectionInfo:
    about = {"name": "c", "model": "stars@1", "dimensions": 8, "points": 3, "indexed": 0}
    return CollectionInfo(**about, entry=entry, modality=modality, space=space)


def model(name: str, space: str, **entries: str) -> ModelInfo:
    """entries   name -> modality"""
    told = {one: EntryInfo(modality=kind, space=space, dimensions=8, limits={}) for one, kind in entries.items()}
    about = {"version": 1, "tasks": [], "labels": {}, "variants": ["fp32"], "method": None, "run": None}
    about |= {"licence": "MIT", "metrics": {}, "runtime": "onnxruntime", "runtime_reason": "", "card": ""}
    return ModelInfo(name=name, entries=told, **about)


STARS = model("stars", "sp_stars", series="series", colours="table", metadata="table")


def test_entries_of_one_modality_are_chosen_by_name_and_others_by_modality():
    assert searched_by(collection("series", "series"), [STARS]) == {
        "series": {"modality": "series"},
        "colours": ROW | {"entry": "colours"},
        "metadata": ROW | {"entry": "metadata"},
    }


def test_the_collections_own_comes_first():
    assert list(searched_by(collection("metadata", "table"), [STARS])) == ["metadata", "series", "colours"]
    assert list(searched_by(collection("colours", "table"), [STARS])) == ["colours", "series", "metadata"]


def test_models_of_other_spaces_bring_nothing_and_what_none_reads_is_left_to_the_server():
    other = model("words", "sp_words", text="text")
    assert searched_by(collection("text", "text", "sp_words"), [STARS, other]) == {"text": {"modality": "text"}}
    assert searched_by(collection("series", "series", "sp_lost"), [STARS]) == {"series": {"modality": "series"}}
