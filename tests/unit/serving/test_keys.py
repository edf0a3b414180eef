"""Keys with scopes and rates: made, replaced and taken back while a server runs."""

import json
import stat

import httpx
import pytest

from enfold import settings
from enfold.client import Client
from enfold.errors import Busy, Conflict, Forbidden, Unauthorized, Unavailable, UnknownName, WrongUse
from serving import keys
from serving.keys import Keys, scope_of
from tests import bundles, servers
from tests.unit.serving.conftest import new_collection, pictures


def made(name, scope, per_minute=None):
    return keys.new_key(name, scope, per_minute)["key"]


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/models", "read"),
        ("GET", "/jobs", "read"),
        ("POST", "/embed", "read"),
        ("POST", "/predict", "read"),
        ("POST", "/v1/embeddings", "read"),
        ("POST", "/v2/models/emoji/infer", "read"),
        ("POST", "/collections/photos/search", "read"),
        ("POST", "/collections/photos/items", "write"),
        ("POST", "/collections/photos/delete", "write"),
        ("POST", "/collections/search/items", "write"),
        ("PUT", "/collections/photos/layout", "write"),
        ("POST", "/heads", "write"),
        ("DELETE", "/collections/photos", "admin"),
        ("POST", "/collections/photos/generations", "admin"),
        ("POST", "/jobs", "admin"),
        ("DELETE", "/jobs/x", "admin"),
        ("PATCH", "/nowhere", "write"),
    ],
)
def test_what_a_request_asks_to_be_allowed(method, path, scope):
    assert scope_of(method, path) == scope


def test_a_server_without_keys_lets_everybody_in(home):
    assert Keys(settings.load()).admit("", "admin") is None


def test_a_scope_allows_what_those_before_it_do(home):
    told = {scope: f"Bearer {made(scope, scope)}" for scope in keys.SCOPES}
    door = Keys(settings.load())
    for rank, (name, header) in enumerate(told.items()):
        for asked in keys.SCOPES[: rank + 1]:
            assert door.admit(header, asked) == name
        for asked in keys.SCOPES[rank + 1 :]:
            with pytest.raises(Forbidden, match=f"key '{name}' may {name}, and this asks for {asked}"):
                door.admit(header, asked)


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Bearer enf_no", "Basic x", "Bearer \udcff"])
def test_who_has_no_key_is_told_how_to_send_one(home, header):
    made("one", "admin")
    with pytest.raises(Unauthorized, match="wants a key"):
        Keys(settings.load()).admit(header, "read")


def test_the_environments_key_may_do_everything_beside_those_of_the_file(home, monkeypatch):
    monkeypatch.setenv("ENFOLD_API_KEY", "own")
    other = made("other", "read")
    door = Keys(settings.load())
    assert door.admit("Bearer own", "admin") == "owner"
    assert door.admit(f"Bearer {other}", "read") == "other"


def test_keys_come_and_go_while_the_server_runs(home):
    door = Keys(settings.load())
    first = made("one", "read")
    assert door.admit(f"Bearer {first}", "read") == "one"
    second = made("two", "read")
    keys.revoke_key("one")
    assert door.admit(f"Bearer {second}", "read") == "two"
    with pytest.raises(Unauthorized):
        door.admit(f"Bearer {first}", "read")
    assert [row["name"] for row in keys.list_keys()] == ["two"]


def test_a_door_that_had_keys_stays_shut_without_them(home):
    door = Keys(settings.load())
    made("one", "admin")
    with pytest.raises(Unauthorized):
        door.admit("", "read")
    keys.revoke_key("one")
    for _ in range(2):
        with pytest.raises(Unauthorized):
            door.admit("", "read")
        (home / "keys.json").unlink(missing_ok=True)


def test_a_key_that_asks_too_often_waits(home, monkeypatch):
    header, now = f"Bearer {made('one', 'read', 60)}", 1000.0
    monkeypatch.setattr(keys.time, "monotonic", lambda: now)
    door = Keys(settings.load())
    for _ in range(60):
        door.admit(header, "read")
    with pytest.raises(Busy, match="60 times a minute") as refused:
        door.admit(header, "read")
    assert refused.value.retry_after_seconds == 1
    now += 1.01
    door.admit(header, "read")
    with pytest.raises(Busy):
        door.admit(header, "read")


def test_a_key_that_costs_too_much_waits_until_it_has_paid(home, monkeypatch):
    header, now = f"Bearer {keys.new_key('one', 'read', seconds_per_minute=6)['key']}", 1000.0
    monkeypatch.setattr(keys.time, "monotonic", lambda: now)
    door = Keys(settings.load())
    door.charge(door.admit(header, "read"), 5)
    door.charge(door.admit(header, "read"), 4)  # what it costs is known when it is done
    with pytest.raises(Busy, match=r"6 s of the models' work a minute") as refused:
        door.admit(header, "read")
    assert refused.value.retry_after_seconds == 30
    now += 30.1
    door.admit(header, "read")
    door.charge(None, 99)  # a server without keys keeps no accounts
    with pytest.raises(WrongUse, match="seconds_per_minute of a key"):
        keys.new_key("two", "read", seconds_per_minute=0)


def test_the_work_of_a_request_is_charged_to_its_key(home):
    bundles.text_bundle(home / "bundles")
    told = keys.new_key("small", "read", seconds_per_minute=0.0001)["key"]
    server = servers.start(home, "words")
    try:
        servers.until(Client(server.url, api_key=told).ready)
        with httpx.Client(base_url=server.url, headers={"authorization": f"Bearer {told}"}) as http:
            items = [{"text": "red cat sat"}] * 200
            found = [http.post("/embed", json={"items": items}) for _ in range(4)]
        assert [found[0].status_code, found[-1].status_code] == [200, 429]
        assert int(found[-1].headers["retry-after"]) >= 1
        assert "models' work a minute" in found[-1].json()["detail"]
    finally:
        servers.stop(server)


def test_the_file_holds_digests_and_is_its_owners_alone(home):
    secret = made("one", "read")
    file = home / "keys.json"
    assert secret not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_that_is_damaged_lets_nobody_in(home):
    header = f"Bearer {made('one', 'read')}"
    door = Keys(settings.load())
    (home / "keys.json").write_text("[{")
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"keys\.json cannot be read"):
            door.admit(header, "read")


def test_wrong_use_is_one_sentence(home):
    made("one", "read")
    with pytest.raises(Conflict, match="a key 'one' already"):
        made("one", "write")
    with pytest.raises(Conflict, match="a key 'owner' already"):
        made("owner", "write")
    with pytest.raises(WrongUse, match=r"scope of a key: .*'root'"):
        made("two", "root")
    with pytest.raises(WrongUse, match="name of a key"):
        made("../two", "read")
    with pytest.raises(UnknownName, match="Known: one"):
        keys.revoke_key("two")


def test_a_real_server_keeps_to_them(home, tmp_path):
    bundles.image_bundle(home / "bundles")
    told = {scope: made(f"{scope}s", scope) for scope in keys.SCOPES}
    server = servers.start(home, "tiny")
    try:
        reader, writer, admin = (Client(server.url, api_key=told[scope]) for scope in keys.SCOPES)
        servers.until(reader.ready)
        picture = next(pictures(tmp_path / "photos", 4).rglob("*.png"))
        with pytest.raises(Unauthorized):
            Client(server.url).models()
        space = reader.embed([picture], modality="image").space
        with pytest.raises(Forbidden, match="key 'reads' may read, and this asks for write"):
            reader.create_collection(new_collection("things", space=space, dimensions=8))
        writer.create_collection(new_collection("things", space=space, dimensions=8))
        with pytest.raises(Forbidden):
            writer.drop_collection("things")
        job = admin.start_job("embed", source=str(tmp_path / "photos"), model="tiny", to="index://photos")
        servers.until(lambda: admin.job(job.id).state in ("done", "failed"), 60)
        assert admin.job(job.id).state == "done", admin.job(job.id).log
        assert reader.collection("photos").points == 4
    finally:
        servers.stop(server)
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith('{"request"')]
    assert {"reads", "writes", "admins", "owner"} <= {line["caller"] for line in lines}
    assert not any(secret in server.log.read_text() for secret in told.values())
