"""The committed nginx configuration in front of a running server: fast, bounded in age, and there
while the server is not.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import mercantile
import pytest

from layers.database_urls import DatabaseUrls
from tests.conftest import Database, fresh_database
from tests.examples import TREES
from tests.nginx import command, edge, free_port, rendered
from tests.web import measured, total, web_server

pytestmark = pytest.mark.db

LIMITS = httpx.Limits(max_connections=64)
STOPS = TREES.model_copy(update={"id": "stops", "s_maxage_s": 3600})
AGED_S = 2.1  # older than a tile may be at the edge: 1 s, and nginx counts whole seconds


def path(layer: str, z: int) -> str:
    """The tile of a zoom that holds what is there. Each test has a zoom for itself."""
    at = mercantile.tile(4.85, 45.2, z)
    return f"/tiles/{layer}/{at.z}/{at.x}/{at.y}.mvt"


@dataclass(frozen=True, slots=True)
class Edge:
    """A browser's view of the edge, and the database behind it all."""

    client: httpx.Client
    database: Database
    server: str

    def get(self, path: str, takes: str = "gzip", **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.get(path, headers={"accept-encoding": takes} | named)

    def rename(self, layer: str, genus: str) -> int:
        """Change the one feature; the revision that did it."""
        self.database.run(f"UPDATE city.{layer} SET genus = '{genus}'")
        revision: int = self.database.value(
            "SELECT revision FROM quartier.layer_state WHERE layer_id = :layer", layer=layer
        )
        return revision

    def asked_of_server(self) -> float:
        return total(measured(self.server), "quartier_tile_answers_total")


def says(answer: httpx.Response) -> str:
    status: str = answer.headers.get("cache-status", "")
    return status


@pytest.fixture(scope="module")
def at_edge(
    server: DatabaseUrls, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Edge]:
    folder = tmp_path_factory.mktemp("edge")
    with fresh_database(server, template) as database:
        database.declare(TREES, STOPS)
        for layer in ("trees", "stops"):
            database.run(
                f"INSERT INTO city.{layer} (number, genus, geom)"
                " VALUES ('1', 'Tilia', ST_Point(4.85, 45.2, 4326))"
            )
        with (
            web_server(database, folder, workers=1) as served,
            edge(folder, served.removeprefix("http://")) as url,
            httpx.Client(base_url=url, timeout=20, limits=LIMITS) as client,
        ):
            yield Edge(client, database, served)


def test_the_configuration_is_one_that_nginx_takes(tmp_path: Path) -> None:
    conf = rendered(tmp_path, free_port(), "127.0.0.1:9")
    said = subprocess.run([*command(tmp_path, conf), "-t"], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr


def test_a_second_request_is_answered_by_the_edge_in_each_encoding(at_edge: Edge) -> None:
    at, before = path("stops", 14), at_edge.asked_of_server()
    for takes, coding in (("br;q=0, gzip", "gzip"), ("identity", None), ("gzip, deflate", "gzip")):
        first, second = at_edge.get(at, takes), at_edge.get(at, takes)
        assert second.status_code == 200
        assert second.headers.get("content-encoding") == coding
        assert second.content == first.content
        assert says(second) == "edge; hit"
        again = at_edge.get(at, takes, if_none_match=first.headers["etag"])
        assert again.status_code == 304
    assert at_edge.asked_of_server() == before + 2, "all who take gzip share one"


def test_what_sites_hang_on_links_shares_the_tile_and_other_parameters_do_not(
    at_edge: Edge,
) -> None:
    at = path("stops", 13)
    at_edge.get(at)
    for query in ("utm_source=x", "fbclid=1&utm_medium=y", "utm_source"):
        assert says(at_edge.get(f"{at}?{query}")) == "edge; hit"
    assert at_edge.get(f"{at}?filter=x").status_code == 400
    assert at_edge.get(f"{at}?utm_source=x&filter=x").status_code == 400
    assert at_edge.get(f"{at}?filter=x").json()["parameter"] == "filter", "nor is that kept"


def test_a_tile_at_the_edge_is_never_older_than_its_layer_allows(at_edge: Edge) -> None:
    at = path("trees", 14)
    before = at_edge.get(at).headers["etag"]
    time.sleep(AGED_S)
    unchanged = at_edge.get(at)
    assert unchanged.headers["etag"] == before
    assert says(unchanged) == "edge; fwd=stale; fwd-status=304", "and costs no tile"
    for genus in ("Acer", "Ulmus"):
        at_edge.rename("trees", genus)
        time.sleep(AGED_S)  # nobody asked meanwhile: even the first to ask gets no older one
        after = at_edge.get(at)
        assert after.headers["etag"] != before
        before = after.headers["etag"]


def test_an_announced_revision_is_never_answered_with_an_older_tile(at_edge: Edge) -> None:
    at = path("stops", 15)
    at_edge.get(at)
    before = at_edge.get(at)
    assert "s-maxage=3600" in before.headers["cache-control"]
    for genus in ("Acer", "Ulmus", "Quercus"):
        revision = at_edge.rename("stops", genus)
        told = at_edge.get(f"{at}?revision=stops:{revision}&utm_source=x")
        assert told.headers["etag"] != before.headers["etag"]
        assert genus.encode() in told.content
        assert says(at_edge.get(f"{at}?revision=stops:{revision}")) == "edge; hit"
    assert at_edge.get(at).headers["etag"] == before.headers["etag"], "kept for those not told"


def test_many_who_ask_for_a_cold_tile_cost_the_server_one_request(at_edge: Edge) -> None:
    at, before = path("stops", 12), at_edge.asked_of_server()
    with ThreadPoolExecutor(64) as crowd:
        answers = list(crowd.map(lambda _: at_edge.get(at), range(64)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert at_edge.asked_of_server() == before + 1


def test_only_the_house_sees_health_and_metrics(at_edge: Edge) -> None:
    for address in ("/metrics", "/health/ready", "/health/live"):
        assert at_edge.get(address).status_code == 404
    assert at_edge.get("/collections").status_code == 200


def test_a_tile_is_served_on_while_the_server_is_away(database: Database, tmp_path: Path) -> None:
    database.declare(TREES)
    at = path("trees", 14)
    port = free_port()
    with edge(tmp_path, f"127.0.0.1:{port}") as url, httpx.Client(base_url=url) as client:
        with web_server(database, tmp_path, workers=1, port=port):
            first = client.get(at)
            assert first.status_code == 204
        time.sleep(AGED_S)
        away = client.get(at)
        assert (away.status_code, away.headers["etag"]) == (204, first.headers["etag"])
        assert "stale-if-error" in away.headers["cache-status"]
        assert client.get(path("trees", 15)).status_code == 502
        with web_server(database, tmp_path, workers=1, port=port):
            assert "stale-if-error" not in client.get(at).headers["cache-status"]
