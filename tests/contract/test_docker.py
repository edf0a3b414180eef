"""Images copy their rooms alone, and what the files of docker/ name is there. No image is built here."""

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import REGISTRY

from serving.batcher import Backlog
from serving.door import PROBES
from serving.health import Health

DOCKER = Path(__file__).parents[2] / "docker"
ROOMS = {
    "serve": {"enfold", "serving"},
    "serve-gpu": {"enfold", "serving"},
    "app": {"enfold", "app"},
    "train": {"enfold", "training", "export"},
}


def lines(image: str) -> list[str]:
    """The instructions of a Dockerfile, continued lines joined."""
    text = (DOCKER / f"{image}.Dockerfile").read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_every_image_is_known_here():
    assert {file.stem for file in DOCKER.glob("*.Dockerfile")} == set(ROOMS)


@pytest.mark.parametrize("image", ROOMS)
def test_an_image_copies_its_rooms_and_the_contracts_and_runs_as_nobody_special(image: str):
    copied = [line.split()[1:] for line in lines(image) if line.startswith(("COPY", "ADD"))]
    assert copied[0] == ["pyproject.toml", "README.md", "LICENSE", "./"]
    assert {room for room, _ in copied[1:]} == ROOMS[image]
    assert all(room == to for room, to in copied[1:])
    assert "USER enfold" in lines(image)


def test_the_servers_images_differ_in_their_engine_alone():
    engine = ("RUN", "ENV SITE", "ENV LD_LIBRARY_PATH")
    cpu, gpu = ([line for line in lines(image) if not line.startswith(engine)] for image in ("serve", "serve-gpu"))
    assert cpu == gpu
    assert all("torch" not in line for line in [*lines("serve"), *lines("serve-gpu")])


def test_what_compose_names_is_there():
    whole = yaml.safe_load((DOCKER / "compose.yml").read_text())
    gpu = yaml.safe_load((DOCKER / "compose.gpu.yml").read_text())
    services = whole["services"]
    assert set(gpu["services"]) <= set(services)
    for service in [*services.values(), *gpu["services"].values()]:
        if "build" in service:
            assert (DOCKER / service["build"]["context"] / service["build"]["dockerfile"]).exists()
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (DOCKER / source).is_file() if source.startswith(".") else source in whole["volumes"]
        assert set(service.get("depends_on", [])) <= set(services)
        assert set(service.get("secrets", [])) <= set(whole["secrets"])
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert any(probe in services["serve"]["healthcheck"]["test"][-1] for probe in PROBES)


def test_prometheus_reads_the_server_with_its_key():
    (job,) = yaml.safe_load((DOCKER / "prometheus.yml").read_text())["scrape_configs"]
    services = yaml.safe_load((DOCKER / "compose.yml").read_text())["services"]
    host, port = job["static_configs"][0]["targets"][0].split(":")
    assert services[host]["ports"][0].endswith(f":{port}")
    assert Path(job["authorization"]["credentials_file"]).name in services["prometheus"]["secrets"]


def test_every_metric_of_the_dashboard_is_one_that_the_server_has():
    import serving.service  # noqa: F401  # all metrics are registered

    families = [*REGISTRY.collect(), *Health(list).describe(), *Backlog(list).describe()]
    endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "gauge": [""]}
    known = {family.name + end for family in families for end in endings.get(family.type, [])}
    panels = json.loads((DOCKER / "grafana/enfold.json").read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    named = {name for expression in asked for name in re.findall(r"enfold_\w+", expression)}
    assert len(named) > 15
    assert named <= known, named - known
