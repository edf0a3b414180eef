"""What makes it DPT and no other: the card's invariants."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch.utils.data import default_collate

from enfold.errors import WrongUse
from enfold.modalities.trajectory import TrajectoryPreprocess
from training.data.arms import Bandits
from training.data.darkroom import Darkroom
from training.encoders import build
from training.evaluation import episodes, rollouts
from training.methods import Item
from training.methods.dpt import DPT

ITEM = Item(None, -1, 0)


def method(horizon: int = 12, arms: int = 3, **tasks) -> DPT:
    torch.manual_seed(0)
    encoder = build("transition_gpt", {"dim": 16, "depth": 2, "positions": horizon + 1}, 2 + arms + 1)
    preprocess = TrajectoryPreprocess(actions=arms, horizon=horizon)
    return DPT.build(encoder, {"tasks": {"arms": arms} | tasks}, preprocess)


def in_the_dark(horizon: int = 30, side: int = 4) -> DPT:
    torch.manual_seed(0)
    encoder = build("transition_gpt", {"dim": 32, "depth": 2, "positions": horizon + 1}, 4 + 5 + 1)
    preprocess = TrajectoryPreprocess(state=2, actions=5, horizon=horizon)
    return DPT.build(encoder, {"tasks": {"side": side}}, preprocess)


def batch(made: DPT, count: int, first: int = 0):
    return default_collate([made.example(ITEM, np.random.default_rng(first + k)) for k in range(count)])


def test_the_label_is_the_best_action_and_not_the_one_that_was_taken():
    made, other = method(), 0
    for seed in range(50):
        means = made.config.tasks.means(np.random.default_rng(seed))[0]
        found = made.example(ITEM, np.random.default_rng(seed))
        assert found["best"] == means.argmax()
        other += int((found["steps"][1:, 1:4].argmax(1) != found["best"]).any())
    assert other > 25


def test_the_loss_is_of_every_prefix_and_a_position_knows_no_later_transition():
    made, given = method().eval(), None
    given = batch(made, 4)
    changed = given | {"steps": given["steps"].clone()}
    changed["steps"][:, 7:] += 3
    with torch.no_grad():
        logits, others = (
            made.task_head(made.encoder({name: one[name] for name in ("steps", "mask")}).tokens)
            for one in (given, changed)
        )
        loss = made(given)["loss"]
    torch.testing.assert_close(logits[:, :7], others[:, :7])
    assert not torch.allclose(logits[:, 7:], others[:, 7:])
    told = logits.log_softmax(2).gather(2, given["best"][:, None, None].expand(-1, 13, 1))
    torch.testing.assert_close(loss, -told.mean())


def test_the_action_asked_for_is_told_at_the_last_real_token():
    made, given = method().eval(), None
    given = batch(made, 2)
    given["mask"][0, 6:] = 0
    with torch.no_grad():
        encoded = made.encoder({name: given[name] for name in ("steps", "mask")})
    torch.testing.assert_close(encoded.embedding[0], encoded.tokens[0, 5])
    torch.testing.assert_close(encoded.embedding[1], encoded.tokens[1, -1])


def test_weights_stay_as_they_are_while_the_context_grows():
    made = method().eval()
    before = {name: weight.clone() for name, weight in made.state_dict().items()}
    preprocess = SimpleNamespace(horizon=12)
    subject = SimpleNamespace(method=made, modality=SimpleNamespace(preprocess=preprocess))
    found = rollouts.evaluate(subject)
    assert found == rollouts.evaluate(subject)
    assert found["uniform_regret"] > found["thompson_regret"] > 0
    for name, weight in made.state_dict().items():
        torch.testing.assert_close(weight, before[name], rtol=0, atol=0)


def test_it_becomes_the_posterior():
    """Probability that an arm of two is the best: Beta-Binomial with a uniform prior, by quadrature."""
    made = method(horizon=20, arms=2, pays="bernoulli").train()
    optimizer = torch.optim.AdamW(made.parameters(), 3e-3)
    for step in range(500):
        loss = made(batch(made, 32, first=32 * step))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    made.eval()
    apart = []
    for seed in range(60):
        rng = np.random.default_rng([1, seed])
        family = made.config.tasks
        given = family.context(family.means(rng)[0], rng, int(rng.integers(5, 21)))
        won, lost = (np.bincount(given.actions[given.rewards == reward], minlength=2) for reward in (1, 0))
        first, second = (stats.beta(1 + won[arm], 1 + lost[arm]) for arm in (0, 1))
        x = np.linspace(0, 1, 400)
        better = integrate.trapezoid(first.pdf(x) * second.cdf(x), x)
        apart.append(abs(rollouts.probabilities(made, [given])[0, 0] - better))
    assert np.mean(apart) < 0.1


def test_thompson_sampling_is_as_good_as_the_card_measured():
    means = Bandits().means(np.random.default_rng(0), 400)
    regret = {name: rollouts.played(player, Bandits(), means, 100) for name, player in rollouts.PLAYERS.items()}
    assert regret["thompson"] == pytest.approx(5.9, abs=0.8)
    assert regret["uniform"] == pytest.approx(33.7, abs=1.5)
    assert regret["greedy"] == pytest.approx(5.9, abs=1.2)


def test_the_best_action_is_that_of_the_question_and_walks_straight_to_the_goal():
    room = Darkroom(side=5)
    for goal in room.goals(held_out=True):
        for cell in range(25):
            place, steps = np.array([cell % 5, cell // 5]), 0
            far = np.abs(goal - place).sum()
            while (place != goal).any():
                place, steps = room.moved(place, room.best(goal, place)), steps + 1
            assert steps == far
            assert room.names[room.best(goal, place)] == "stay"
    made = in_the_dark()
    for seed in range(20):
        found = made.example(ITEM, np.random.default_rng(seed))
        goal = np.random.default_rng(seed).choice(made.config.tasks.goals(held_out=False))
        assert found["best"] == made.config.tasks.best(goal, found["steps"][0, :2])


def test_goals_that_are_held_out_are_never_trained_on():
    room, seen = Darkroom(side=4), set()
    kept = {tuple(goal) for goal in room.goals(held_out=True)}
    assert len(kept) == 3
    for seed in range(300):
        steps, _ = room.example(np.random.default_rng(seed), 200)
        seen |= {tuple(place) for place in steps.next_states[steps.rewards > 0].astype(int)}
    assert seen == {(x, y) for x in range(4) for y in range(4)} - kept


def test_an_episode_is_the_context_of_the_next(monkeypatch):
    """Who walks to where the context paid, and by chance else, is as good as who knows the goal, once it was found."""

    def remembering(made, given):
        found = np.full((len(given), 5), 0.2)
        for row, one in enumerate(given):
            if one.rewards.any():
                goal = one.next_states[one.rewards.argmax()]
                found[row] = np.eye(5)[made.config.tasks.best(goal, one.query)]
        return found

    monkeypatch.setattr(episodes, "probabilities", remembering)
    made = in_the_dark()
    subject = SimpleNamespace(method=made, modality=SimpleNamespace(preprocess=SimpleNamespace(horizon=30)))
    found = episodes.evaluate(subject)
    assert found["return"] == pytest.approx(found["best_return"])
    # One in seven of the contexts that are given never saw the goal.
    assert 0.75 * found["best_return"] < found["offline_return"] < found["best_return"]
    assert found["first_return"] == pytest.approx(found["uniform_return"], rel=0.5)
    assert found["first_return"] < 0.3 * found["best_return"]


def test_what_does_not_fit_is_named():
    encoder = build("transition_gpt", {"dim": 16, "positions": 5}, 6)
    with pytest.raises(WrongUse, match="positions must be one more"):
        DPT.build(encoder, {"tasks": {"arms": 3}}, TrajectoryPreprocess(actions=3, horizon=5))
    with pytest.raises(WrongUse, match="actions = 3"):
        DPT.build(encoder, {"tasks": {"arms": 3}}, TrajectoryPreprocess(actions=4, horizon=4))
    with pytest.raises(WrongUse, match=r"preprocess\.state = 2 and actions = 5"):
        DPT.build(encoder, {"tasks": {"side": 5}}, TrajectoryPreprocess(actions=5, horizon=4))
