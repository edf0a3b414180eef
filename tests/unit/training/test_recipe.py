"""A recipe resolves once; whatever is wrong with it is told in one sentence."""

import pytest

from enfold.errors import UnknownName, WrongUse
from training import recipe


@pytest.mark.parametrize("slug", recipe.names())
@pytest.mark.parametrize("smoke", [False, True])
def test_every_recipe_resolves_in_both_sizes(slug, smoke):
    assert recipe.load(slug, smoke=smoke).slug == slug


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("data.sauce=x", "unknown key 'data.sauce'. Known: exclude, held_out_items, only, source, train_items"),
        ("encoder.nam=vit", "unknown key 'encoder.nam'. Known: config, name"),
        ("preprocess.sice=3", "unknown key 'sice'"),
        ("stage.pretrain.lr=3", "Known: config, data, encoder, method, name, needs, preprocess, seed, train, verb"),
        ("stage.evaluate.needs=['nothing']", "needs 'nothing'"),
        ("sides.caption={modality='text'}", "add [tokenizer] vocabulary = 4096"),
        (
            "sides.labels={modality='volume', preprocess={spacing=2.0, patch=8}}",
            "'gmml' takes no columns beside the item",
        ),
        ("stage.pretrain.method=stunet", "'stunet' learns from columns beside the item: name them in [sides.*]"),
        ("stage.evaluate.side=caption", "stage 'evaluate' works on column 'caption'; [sides] names none"),
        ("preprocess.size=0", "'size' is 0"),
        ("stage.pretrain.preprocess={size=0}", "stage.pretrain.preprocess: 'size' is 0"),
        ("slug.x.y=1", "there is no 'slug.x.y' to set"),
        ("stage.pretrain.config={mask=2}", "method 'gmml': unknown key 'mask'"),
        ("stage.pretrain.train={steps=0}", "'steps' is 0"),
        ("encoder.config={depht=4}", "encoder 'vit': unknown key 'depht'. Known: "),
        ("seed", "write it as key=value"),
    ],
)
def test_a_wrong_value_names_itself_and_the_known(override, sentence):
    with pytest.raises(WrongUse) as refused:
        recipe.load("gmml", overrides=[override])
    assert sentence in str(refused.value)


def test_unknown_recipes_and_stages_list_the_known():
    with pytest.raises(UnknownName, match=r"Known: .*gmml"):
        recipe.load("gmm")
    with pytest.raises(UnknownName, match="Did you mean 'pretrain'"):
        recipe.load("gmml", overrides=["stage.pretran.method=x"])
    with pytest.raises(UnknownName, match=r"unknown method 'gmmm'. Did you mean 'gmml'"):
        recipe.load("gmml", overrides=["stage.pretrain.method=gmmm"])
    with pytest.raises(UnknownName, match=r"Known: .*causal_lm, .*gru, .*vit"):
        recipe.load("gmml", overrides=["encoder.name=wit"])


def test_words_that_are_no_tokens_need_no_tokenizer():
    facts = recipe.load("softcon")
    assert facts.tokenizer is None
    assert facts.sides_of()["cover"].read("coast river") == "coast river"
    with pytest.raises(WrongUse, match="tokenizer"):
        recipe.load("softcon", overrides=["sides.cover.tokens=true"])


def test_a_side_of_the_items_modality_is_read_as_they_are_where_it_says_nothing():
    facts = recipe.load("softcon")
    assert facts.sides_of()["other"].preprocess == facts.modality_of().preprocess
    own = recipe.load("stunet", overrides=["sides.labels.preprocess={spacing=4.0, patch=8}"])
    assert own.sides_of()["labels"].preprocess.patch == 8


def test_a_stage_may_have_preprocessing_of_its_own():
    facts = recipe.load("softcon")
    stages = {stage.name: stage for stage in facts.stage}
    names = {name: len(facts.modality_of(stage=stages[name]).preprocess.bands) for name in ("colours", "pretrain")}
    assert names == {"colours": 3, "pretrain": 5}


def test_a_stage_may_work_on_a_column_with_what_reads_it():
    facts = recipe.load("astrom3")
    stages = {stage.name: stage for stage in facts.stage}
    read = {name: facts.modality_of(stage=stages[name]) for name in ("tune", "tune_colours", "tune_metadata")}
    assert {name: one.name for name, one in read.items()} == {
        "tune": "series", "tune_colours": "table", "tune_metadata": "table",
    }  # fmt: skip
    assert read["tune_colours"].preprocess.columns == "resources/colours.json"


def test_overrides_reach_named_stages():
    resolved = recipe.load("gmml", overrides=["stage.pretrain.train.steps=7", "data.source=my photos"])
    assert resolved.stage[0].train["steps"] == 7
    assert resolved.data.source == "my photos"


def test_a_file_that_is_not_toml_is_refused(tmp_path):
    (tmp_path / "mine.toml").write_text("slug = ")
    with pytest.raises(WrongUse, match="not TOML"):
        recipe.load(str(tmp_path / "mine.toml"))


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        ("stage = 5", "'stage' is 5"),
        ("stage = ['x']", "'stage.0' is 'x'"),
        ("[[stage]]\nverb = 'pretrain'", "'stage.0.name' is missing"),
        ("claim = 'x'", "'claim' is 'x'"),
        ("[claim]\narms = 3", "'claim.arms' is 3"),
        ("[[claim.arms]]\nname = 'a'\nstages = [[1]]", "'claim.arms.0.stages.0' is [1]"),
        ("[claim]\nset = 1", "'claim.set' is 1"),
        ("smoke = true", "'smoke' is True"),
        ("[smoke]\nstage = 'x'\n'stage.a.b' = 1", "smoke.stage: 'stage' is 'x'"),
    ],
)
def test_a_page_of_another_shape_is_one_sentence(tmp_path, page, sentence):
    (tmp_path / "mine.toml").write_text(page)
    with pytest.raises(WrongUse) as refused:
        recipe.load(str(tmp_path / "mine.toml"), smoke=True)
    assert sentence in str(refused.value)


def test_a_smoke_size_reaches_a_stage_wherever_it_stands():
    """In the recipe, in arms that change it, and where it is the claim's alone."""
    small = recipe.load("simclrv2", smoke=True)
    tunings = [stage for arm in small.claim.arms for stage in arm.stage if stage.name == "tune"]
    assert {stage.train["steps"] for stage in tunings} == {4}
    assert {stage.train["lr"] for stage in tunings} == {1e-3, 3e-3}
    own = [stage for arm in recipe.load("gmml", smoke=True).claim.arms for stage in arm.stage if stage.name == "tune"]
    assert {stage.train["steps"] for stage in own} == {4}
