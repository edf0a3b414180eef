"""trajectory: what somebody saw, did and got, step by step, and where the next action is to be taken.

A decoded item is `Steps`. The encoder sees the state of the question, then a token for each step: state, action (one of
so many), state after it, reward; of more steps than it takes the last. There may be none: nothing is known yet.
"""
# H steps, S numbers of a state, A actions, N = 1 + H tokens of F = 2 S + A + 1 numbers

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, Field, WithJsonSchema

from enfold.errors import BadItem, TooLarge
from enfold.modalities import Arrays, Modality, Part, Sample, Spec, Stored
from enfold.modalities.table import padded

_LARGEST = 1e6  # of a number of a state, and of a reward
_FIELDS = ("observations", "actions", "rewards", "next_observations", "query")
_NUMBERS = {"type": "array", "items": {"type": "number"}}
_STATES = {"type": "array", "items": {"anyOf": [{"type": "number"}, _NUMBERS]}}


@dataclass(frozen=True)
class Steps:
    query: np.ndarray  # float64 [S]
    states: np.ndarray  # float64 [H, S]
    actions: np.ndarray  # int64 [H]
    rewards: np.ndarray  # float64 [H]
    next_states: np.ndarray  # float64 [H, S]


class TrajectoryPreprocess(Spec):
    """From steps to float32 [N, F] and a mask int64 [N]."""

    state: int = Field(1, ge=1)  # S
    actions: int = Field(5, ge=2)  # A
    horizon: int = Field(100, ge=1)  # H at most


class TrajectoryLimits(Spec):
    max_bytes: int = 16 * 2**20
    max_steps: int = 100_000
    max_state: int = 4096  # numbers
    max_parts: int = 1024


class TrajectoryJson(BaseModel, extra="forbid"):
    trajectory: Annotated[
        Any,
        WithJsonSchema(
            {
                "description": "H actions (counted from 0) with their rewards; observations before each and after the "
                "last, H + 1 in all, or H with as many next_observations, or none where there is one state alone; "
                "query: the state of the question, the last if left out. Or a .json file, base64",
                "anyOf": [
                    {
                        "type": "object",
                        "required": ["actions", "rewards"],
                        "properties": {
                            "observations": _STATES,
                            "actions": {"type": "array", "items": {"type": "integer"}},
                            "rewards": _NUMBERS,
                            "next_observations": _STATES,
                            "query": {"anyOf": [{"type": "number"}, _NUMBERS]},
                        },
                    },
                    {"type": "string", "contentEncoding": "base64"},
                ],
            }
        ),
    ]


class Trajectory(Modality[Steps]):
    name = "trajectory"
    media_types = {}
    shared_types = {".json": "application/json"}
    Preprocess, Limits, Json = TrajectoryPreprocess, TrajectoryLimits, TrajectoryJson
    batch_cost, light_bytes, ragged, inline = 2048, 4096, True, True

    @property
    def input_size(self) -> int:
        """F."""
        return 2 * int(self.preprocess.state) + int(self.preprocess.actions) + 1

    def read(self, item: Any) -> Steps:
        """From a .json file, its text, its decoded object, or `Steps`. Raises BadItem or TooLarge."""
        if isinstance(item, Steps):
            return item
        if isinstance(item, str) and item.lstrip().startswith("{"):
            item = item.encode("utf-8", "surrogatepass")
        if isinstance(item, Stored):
            item = _decoded(self.file_bytes(item))
        if not isinstance(item, Mapping):
            raise BadItem(f"a trajectory is an object of actions and rewards, or a file, not {type(item).__name__}")
        if unknown := sorted(set(map(str, item)) - set(_FIELDS)):
            raise BadItem(f"a trajectory has {', '.join(_FIELDS)}; '{unknown[0][:60]}' is none of them")
        return self._steps(item)

    def from_json(self, item: TrajectoryJson) -> bytes:
        """File bytes, or the object as the JSON it came in. Raises BadItem."""
        if isinstance(item.trajectory, str):
            return super().from_json(item)
        if not isinstance(item.trajectory, dict):
            raise BadItem(f"a trajectory in a request is an object or a file, not {type(item.trajectory).__name__}")
        return json.dumps(item.trajectory).encode()

    def prepare(self, value: Steps, *, parts: bool = False) -> list[Sample]:
        """Samples {"steps": float32 [N, F], "mask": int64 [N]} of the last `horizon` steps, or with `parts` of all.

        Raises BadItem for states and actions that the encoder does not know.
        """
        S, A, H = self.preprocess.state, self.preprocess.actions, self.preprocess.horizon
        if len(value.query) != S:
            raise BadItem(f"a state has {len(value.query)} numbers; this model takes {S}")
        if len(value.actions) and value.actions.max() >= A:
            raise BadItem(f"there is an action {value.actions.max()}; this model knows {A}, from 0 to {A - 1}")
        last = max(len(value.actions) - H, 0)
        starts = [*range(0, last, H), last] if parts else [last]
        if len(starts) > self.limits.max_parts:
            raise TooLarge(f"the trajectory makes {len(starts):,} parts; at most {self.limits.max_parts:,}")
        made = [tokens(value, A, slice(start, start + H)) for start in starts]
        if len(starts) == 1:
            return [Sample(made[0])]
        return [
            Sample(one, Part(index=index, start=start, end=start + H))
            for index, (start, one) in enumerate(zip(starts, made, strict=True))
        ]

    def collate(self, samples: Sequence[Sample]) -> Arrays:
        """Pad to the most steps: [B, N, …]."""
        most = max(map(self.cost, samples))
        return {name: np.stack([padded(one.arrays[name], most) for one in samples]) for name in samples[0].arrays}

    def prepared(self, arrays: Arrays) -> list[Sample]:
        """Of steps [B, N, F] and mask [B, N], whose ones come first."""
        steps, mask = arrays["steps"], arrays["mask"]
        if steps.shape != (*mask.shape, self.input_size):
            raise BadItem(f"steps {list(steps.shape)} and mask {list(mask.shape)} do not fit: {self.input_size} a step")
        if not 1 <= mask.shape[1] <= self.preprocess.horizon + 1:
            raise BadItem(f"there are {mask.shape[1]} tokens; this model takes 1 to {self.preprocess.horizon + 1}")
        if not np.isin(mask, (0, 1)).all() or not mask[:, 0].all() or (mask[:, 1:] > mask[:, :-1]).any():
            raise BadItem("mask is 1 for the question and every step, then 0 for padding")
        return super().prepared(arrays)

    def cost(self, sample: Sample) -> int:
        return len(sample.arrays["mask"])  # tokens

    def mark(self, value: Steps) -> str:
        """A digest of all that was seen, done and got."""
        total = hashlib.sha256()
        for values in (value.query, value.states, value.actions, value.rewards, value.next_states):
            total.update(str(values.shape).encode() + values.tobytes())
        return total.hexdigest()

    def thumbnail(self, value: Steps, side: int = 96) -> bytes:
        """Steps from left to right, each a mark in the line of its action, the greener the more it brought."""
        from PIL import Image, ImageDraw

        page, file = Image.new("RGB", (side, side), "white"), io.BytesIO()
        draw, count = ImageDraw.Draw(page), len(value.actions)
        lines = max(2, int(value.actions.max(initial=1)) + 1)
        for line in range(lines):
            draw.line((0, side * (line + 0.5) / lines, side, side * (line + 0.5) / lines), fill=(225, 225, 225))
        low, reach = value.rewards.min(initial=0), max(float(np.ptp(value.rewards)) if count else 0, 1e-12)
        for step, (action, reward) in enumerate(zip(value.actions, value.rewards, strict=True)):
            left, middle = side * step / count, side * (action + 0.5) / lines
            share = (reward - low) / reach
            ink = (int(200 - 180 * share), int(60 + 90 * share), 60)
            draw.rectangle((left, middle - 3, left + max(1, side / count - 1), middle + 3), fill=ink)
        page.save(file, "WEBP", quality=85)
        return file.getvalue()

    def _steps(self, item: Mapping[str, Any]) -> Steps:
        if item.get("actions") is None or item.get("rewards") is None:
            raise BadItem("a trajectory has actions and rewards, as lists: empty ones where nothing was done yet")
        listed = {name: item[name] for name in _FIELDS if item.get(name) is not None and name != "query"}
        if wrong := next((name for name, given in listed.items() if not isinstance(given, list)), None):
            raise BadItem(f"{wrong} of a trajectory are a list, not {type(listed[wrong]).__name__}")
        count = len(item["actions"])
        if count > self.limits.max_steps:
            raise TooLarge(f"the trajectory has {count:,} steps; at most {self.limits.max_steps:,}: send the last ones")
        if len(item["rewards"]) != count:
            raise BadItem(f"there are {count:,} actions and {len(item['rewards']):,} rewards: each action has its own")
        actions = np.array([_action(number, one) for number, one in enumerate(item["actions"], 1)], np.int64)
        rewards = np.array([_number(one, f"reward {number}") for number, one in enumerate(item["rewards"], 1)], float)
        states, after = self._states(listed, count)
        query = after[-1] if count else states[-1] if len(states) else np.ones(1)
        if item.get("query") is not None:
            query = self._state(item["query"], "query")
        if len(query) != states.shape[1] and count:
            raise BadItem(f"query has {len(query)} numbers, the observations {states.shape[1]}: they are states alike")
        return Steps(query, states[:count], actions, rewards, after)

    def _states(self, listed: Mapping[str, list[Any]], count: int) -> tuple[np.ndarray, np.ndarray]:
        """Before each step, with one after the last where that is given, and after each, [H, S]."""
        if "observations" not in listed:
            if "next_observations" in listed:
                raise BadItem("there are next_observations and no observations: give both, or neither")
            return np.ones((count, 1)), np.ones((count, 1))
        found = {}
        for name in ("observations", "next_observations"):
            rows = [self._state(one, f"{name} {number}") for number, one in enumerate(listed.get(name, []), 1)]
            if len({len(row) for row in rows}) > 1:
                raise BadItem(f"{name} are not of one length: every state has as many numbers")
            found[name] = np.array(rows).reshape(len(rows), -1) if rows else np.ones((0, 1))
        before, after = found["observations"], found["next_observations"]
        if "next_observations" not in listed:
            if len(before) != count + 1:
                raise BadItem(
                    f"there are {count:,} actions and {len(before):,} observations: give {count + 1:,}, one before "
                    "each action and one after the last, or next_observations too"
                )
            return before, before[1:]
        if len(before) != count or len(after) != count or before.shape != after.shape:
            raise BadItem(f"{count:,} actions have as many observations and next_observations, of as many numbers")
        return before, after

    def _state(self, given: Any, where: str) -> np.ndarray:
        numbers = given if isinstance(given, list) else [given]
        if not 1 <= len(numbers) <= self.limits.max_state:
            raise BadItem(f"{where} has {len(numbers):,} numbers; a state has 1 to {self.limits.max_state:,}")
        return np.array([_number(one, where) for one in numbers])


def tokens(value: Steps, actions: int, kept: slice) -> Arrays:
    """The question, then the steps that are kept: state, action, state after it, reward."""
    S, done = len(value.query), value.actions[kept]
    rows = np.zeros((1 + len(done), 2 * S + actions + 1), np.float32)
    rows[0, :S] = value.query
    if len(done):
        rows[1:, :S], rows[1:, S + actions : -1] = value.states[kept], value.next_states[kept]
        rows[np.arange(1, len(rows)), S + done] = 1
        rows[1:, -1] = value.rewards[kept]
    return {"steps": rows, "mask": np.ones(len(rows), np.int64)}


def _action(number: int, given: Any) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or not 0 <= given < 2**31:
        raise BadItem(f"action {number} is {repr(given)[:40]}: actions are whole numbers, counted from 0")
    return given


def _number(given: Any, where: str) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise BadItem(f"{where} is {repr(given)[:40]}: it is a number")
    if not abs(given) <= _LARGEST:  # nor NaN
        raise BadItem(f"{where} is not finite, or beyond {_LARGEST:g}: check its unit")
    return float(given)


def _decoded(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise BadItem(f"the trajectory is no JSON in UTF-8, or cut short ({str(error)[:80]})") from None
