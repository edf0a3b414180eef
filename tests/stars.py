"""*Synthetic* stars, for tests alone: light curve, spectrum, colours and metadata that one temperature and period tie.

A spectrum is a Planck curve times absorption lines whose depth is the class's, in emission for Miras; a light curve is
the class's waveform at uneven moments; distance moves magnitudes and nothing else, and a tenth of cells are missing.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from enfold.modalities.series import Signal

CLASSES = {  # period in days from, to; temperature in K; shares of second and third harmonic; depth of lines
    "RRAB": (0.4, 0.8, 6500, (0.5, 0.3), 0.3),
    "RRC": (0.2, 0.4, 7200, (0.1, 0.0), 0.2),
    "CEP": (2.0, 30.0, 5500, (0.4, 0.2), 0.5),
    "M": (100.0, 400.0, 3200, (0.2, 0.0), -0.8),  # Miras
}
WAVELENGTHS = np.linspace(3850, 9000, 515)  # in Angstrom
_LINES = (4102, 4340, 4861, 5175, 5890, 6563, 8542)
_PLANCK = 1.4388e8  # second radiation constant, in Angstrom times K


def star(number: int) -> dict[str, Any]:
    """{"label", "curve": Signal, "spectrum": Signal, "colours": row, "metadata": row}"""
    rng = np.random.default_rng(number)
    label = list(CLASSES)[number % len(CLASSES)]
    low, high, kelvin, harmonics, depth = CLASSES[label]
    period = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    kelvin = kelvin * rng.normal(1, 0.03) * (period / np.sqrt(low * high)) ** -0.05
    amplitude, faint = float(rng.uniform(0.3, 0.9)), float(15 + rng.normal() - np.log10(period))
    colour = 7000 / kelvin - 0.5
    metadata = {"log period": np.log10(period), "amplitude": amplitude}
    colours = {"I magnitude": faint, "V magnitude": faint + colour, "V minus I": colour}
    return {
        "label": label,
        "curve": curve(period, amplitude, harmonics, faint, rng),
        "spectrum": spectrum(kelvin, depth, rng),
        "colours": _some(colours, rng),
        "metadata": _some(metadata, rng),
    }


def curve(period: float, amplitude: float, harmonics: tuple[float, ...], faint: float, rng: Any) -> Signal:
    phase = np.sort(rng.random(int(rng.integers(20, 33)))) * rng.uniform(1, 3)
    turn = 2 * np.pi * (phase + rng.random())
    wave = np.cos(turn) + sum(share * np.cos((k + 2) * turn + 1) for k, share in enumerate(harmonics))
    error = rng.uniform(0.01, 0.03, len(phase))
    values = np.stack([faint + amplitude / 2 * wave + error * rng.normal(size=len(phase)), error], 1)
    return Signal(values, (phase - phase[0]) * period, ("magnitude", "error"))


def spectrum(kelvin: float, depth: float, rng: Any) -> Signal:
    flux = WAVELENGTHS**-5 / np.expm1(_PLANCK / (WAVELENGTHS * kelvin))
    flux = flux / flux.mean()
    for line in _LINES:
        flux = flux * (1 - depth * np.exp(-0.5 * ((WAVELENGTHS - line) / 15) ** 2))
    error = np.full_like(flux, 0.02)
    return Signal(np.stack([flux + error * rng.normal(size=len(flux)), error], 1), WAVELENGTHS, ("flux", "error"))


def _some(row: dict[str, float], rng: Any) -> dict[str, float]:
    """A tenth of the cells are missing, never all."""
    kept = {name: float(value) for name, value in row.items() if rng.random() > 0.1}
    return kept or {name: float(value) for name, value in row.items()}


def csv(signal: Signal) -> str:
    assert signal.times is not None
    lines = [",".join(f"{cell:.5f}" for cell in (time, *row)) for time, row in zip(signal.times, signal.values)]  # noqa: B905
    return "\n".join(["time," + ",".join(signal.channels or ()), *lines, ""])


RECIPE = """
slug = "stars"
modality = "series"
data = { source = "SOURCE" }
preprocess = { window = 32, channels = 2, times = "scaled" }
sides.colours = { modality = "table", preprocess = { columns = "resources/colours.json", max_tokens = 8 } }
sides.metadata = { modality = "table", preprocess = { columns = "resources/metadata.json", max_tokens = 8 } }
tokenizer = { vocabulary = 320 }
encoder.name = "projected"
encoder.config = { name = "step_transformer", config = { dim = 8, depth = 1, heads = 2, dropout = 0 }, dim = 8 }

[[stage]]
name = "pretrain"
verb = "pretrain"
method = "astrom3"
train = { steps = 60, batch = 16, lr = 1e-2, precision = "fp32" }

[stage.config.towers]
colours = { name = "projected", config = { name = "column_mlp", config = { dim = 16 }, dim = 8 } }
metadata = { name = "projected", config = { name = "column_mlp", config = { dim = 16 }, dim = 8 } }

[[stage]]
name = "match"
verb = "evaluate"
needs = ["pretrain"]
evaluations = ["tower_retrieval", "fused_probe"]

[[stage]]
name = "together"
verb = "export"
bundle = "stars"
needs = ["pretrain"]

[[stage]]
name = "tune_colours"
verb = "adapt"
adaptation = "fine_tune"
side = "colours"
needs = ["pretrain"]
labels = 0.5
train = { steps = 200, batch = 8, lr = 1e-2, precision = "fp32" }

[[stage]]
name = "alone"
verb = "export"
bundle = "stars-by-colour"
needs = ["tune_colours"]
"""


def page(folder: Path, count: int = 96) -> Path:
    """A recipe on so many stars, with their manifest and the files that it names."""
    rows = []
    for number in range(count):
        one = star(number)
        (folder / f"{number}.csv").write_text(csv(one["curve"]))
        split = ("train", "train", "train", "val", "test")[number // 4 % 5]
        beside = {name: one[name] for name in ("label", "colours", "metadata")}
        rows.append({"id": f"star-{number}", "path": f"{number}.csv", "split": split, **beside})
    (folder / "stars.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "stars.toml").write_text(RECIPE.replace("SOURCE", str(folder / "stars.jsonl")))
    return folder / "stars.toml"
