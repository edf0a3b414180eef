"""Answers as the explorer draws them, each from what its task really gives."""

import json

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from enfold import tasks
from enfold.modalities.protein import STANDARD
from enfold.modalities.splats import ply
from enfold.tasks.act import ActAnswer
from enfold.tasks.complete import CompleteAnswer
from enfold.tasks.contacts import ContactsAnswer, Pair
from enfold.tasks.detect import DetectAnswer, Scored
from enfold.tasks.estimate import EstimateAnswer, Estimated
from enfold.tasks.forecast import Course, ForecastAnswer
from enfold.tasks.mutations import Mutation, MutationsAnswer
from enfold.tasks.regress import RegressAnswer, Regressed
from enfold.tasks.relations import RelationsAnswer
from enfold.tasks.tag import TagAnswer
from tests.examples import splats

BOX = Scored(label="chair", centre=(1, 2, 3), size=(2, 4, 6), yaw=np.pi / 2, score=0.9)


def drawn(task: str, answer) -> AppTest:
    def page(task, answer):
        from app import answers

        answers.draw(task, answer)

    assert isinstance(answer, tasks.get(task).Answer)
    shown = AppTest.from_function(page, args=(task, answer.model_dump(mode="json")), default_timeout=30).run()
    assert not shown.exception
    return shown


@pytest.mark.parametrize("times", [None, ["2026-01-01", "2026-01-02"]])
@pytest.mark.parametrize("quantiles", [{}, {"0.1": [0.5, 0.6], "0.5": [1, 2], "0.9": [1.5, 2.5]}])
def test_a_forecast_is_a_line_with_its_range(times, quantiles):
    drawn(
        "forecast", ForecastAnswer(times=times, courses=[Course(channel="load", forecast=[1, 2], quantiles=quantiles)])
    )


@pytest.mark.parametrize("days", [None, 365.0])
def test_counts_stand_with_their_intervals(days):
    found = [
        Estimated(name="visits", expected=4.2, low=2, high=7),
        Estimated(name="falls", expected=0.1, low=0, high=0),
    ]
    shown = drawn("estimate", EstimateAnswer(estimates=found, coverage=0.8, days=days))
    assert "80%" in shown.caption[0].value
    assert ("365 days" in shown.caption[0].value) == (days is not None)
    assert shown.dataframe[0].value["high"].tolist() == [7, 0]


def test_a_value_stands_in_its_unit_with_its_interval():
    found = [Regressed(name="boiling_point", value=351.52, unit="K", low=320, high=383)]
    shown = drawn("regress", RegressAnswer(values=found, coverage=0.9))
    assert (shown.metric[0].label, shown.metric[0].value) == ("Boiling point", "351.5 K")
    assert shown.caption[0].value == "320 to 383 K with a probability of 90%"


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_an_action_is_named_and_says_how_it_was_chosen(mode):
    shown = drawn("act", ActAnswer(action=1, name="arm 1", probabilities=[0.3, 0.7], mode=mode))
    assert shown.metric[0].value == "arm 1"
    assert ("drawn" in shown.caption[0].value) == (mode == "online")


def test_boxes_are_turned_about_their_upright_axis():
    found = BOX.corners
    np.testing.assert_allclose(found.mean(0), (1, 2, 3), atol=1e-9)
    np.testing.assert_allclose(np.ptp(found, axis=0), (4, 2, 6), atol=1e-9)  # a quarter turn swaps x and y
    page = drawn("detect", DetectAnswer(boxes=[BOX]))
    assert page.dataframe[0].value["label"].tolist() == ["chair"]


def test_residues_stand_on_the_colours_of_their_labels():
    answer = TagAnswer(
        sequence="MKTA",
        tags="HHCC",
        labels={"H": "helix", "E": "strand", "C": "coil"},
        probabilities=[[1, 0, 0], [0.8, 0.1, 0.1], [0, 0, 1], [0.2, 0, 0.8]],
    )
    page = drawn("tag", answer)
    [shown] = page.get("html")
    assert [part.split("<")[0] for part in shown.proto.body.split('#222">')[1:]] == ["MK", "TA"]
    assert "4 residues, of whose labels it is 90% sure" in page.caption[0].value


@pytest.mark.parametrize("pairs", [[], [Pair(first=1, second=7, probability=0.5)]])
def test_contacts_are_a_map_and_their_surest_pairs(pairs):
    answer = ContactsAnswer(sequence="MKTAYIA", pairs=pairs, contacts=np.zeros((7, 7)).tolist())
    page = drawn("contacts", answer)
    if pairs:
        assert page.dataframe[0].value.iloc[0].tolist() == ["M 1", "A 7", 0.5]


def test_mutations_are_a_map_of_places_and_residues_and_a_table():
    answer = MutationsAnswer(
        sequence="MKTAYIA",
        mutations=[Mutation(mutation="A7G", score=1.5), Mutation(mutation="K2R", score=-0.5)],
        places=[2, 7],
        residues=STANDARD,
        scores=np.zeros((2, 20)).tolist(),
    )
    page = drawn("mutations", answer)
    assert page.dataframe[0].value["mutation"].tolist() == ["A7G", "K2R"]
    [chart] = page.get("plotly_chart")
    [shown] = json.loads(chart.proto.spec)["data"]
    assert (shown["x"], shown["y"]) == (["K2", "A7"], list(STANDARD))


def test_distances_are_a_map_of_the_atoms_by_their_names():
    page = drawn("relations", RelationsAnswer(atoms=["C1", "O3"], distances=[[0, 1.4], [1.4, 0]]))
    [chart] = page.get("plotly_chart")
    [shown] = json.loads(chart.proto.spec)["data"]
    assert shown["x"] == shown["y"] == ["C1", "O3"]
    assert "ångström" in page.caption[0].value


def test_nothing_found_is_drawn_too():
    drawn("detect", DetectAnswer(boxes=[]))
    drawn("mutations", MutationsAnswer(sequence="XX", mutations=[], places=[], residues=STANDARD, scores=[]))


def test_a_completed_set_is_a_picture_and_a_file():
    page = drawn("complete", CompleteAnswer(splats=ply(splats(50)), left=30, found=20))
    assert "30 splats were left, 20 were found" in page.caption[0].value
