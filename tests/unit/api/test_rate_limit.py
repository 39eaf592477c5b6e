"""How many questions an address may ask, and whose address it is."""

from __future__ import annotations

from typing import Any

import pytest

from api.addresses import address_of, parse_networks
from api.rate_limit import RateLimit

TRUSTED = parse_networks("127.0.0.0/8, ::1/128, 10.1.0.0/16")


def scope(client: str, forwarded: str = "", path: str = "/collections") -> dict[str, Any]:
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    return {"type": "http", "path": path, "client": (client, 5), "headers": headers}


@pytest.mark.parametrize(
    ("client", "forwarded", "address"),
    [
        ("203.0.113.9", "", "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("127.0.0.1", "", None),
        ("127.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "6.6.6.6, 198.51.100.1, 10.1.2.3", "198.51.100.1"),
        ("127.0.0.1", "6.6.6.6, 198.51.100.1:4711", "198.51.100.1"),
        ("127.0.0.1", "6.6.6.6, [2001:db8:1:2:3::4]:4711", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.9", "", "203.0.113.9"),
        ("::ffff:127.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.1.0.7", "rubbish", None),
        ("2001:db8:1:2:3::4", "", "2001:db8:1:2::/64"),
        ("", "", None),
    ],
)
def test_an_address_is_believed_only_of_trusted_proxies(
    client: str, forwarded: str, address: str | None
) -> None:
    assert address_of(scope(client, forwarded), TRUSTED) == address


def test_a_header_of_the_clients_own_is_not_believed_before_the_proxys() -> None:
    asked = scope("127.0.0.1")
    for value in (b"6.6.6.6", b"198.51.100.1"):
        asked["headers"].append((b"x-forwarded-for", value))
    assert address_of(asked, TRUSTED) == "198.51.100.1"


class Asked:
    """An application behind a limit, at a time of the test's own."""

    def __init__(self, **limits: Any) -> None:
        self.now = 100.0
        self.limit = RateLimit(self._app, trusted=TRUSTED, clock=lambda: self.now, **limits)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def ask(self, client: str = "203.0.113.9", path: str = "/collections") -> Any:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await self.limit(scope(client, path=path), _nothing, send)
        return sent[0]


@pytest.mark.anyio
async def test_who_asks_too_much_is_told_when_to_come_back() -> None:
    asked = Asked(per_s=2, burst=3)
    assert [(await asked.ask())["status"] for _ in range(4)] == [200, 200, 200, 429]
    refused = await asked.ask()
    assert dict(refused["headers"])[b"retry-after"] == b"1"
    assert (await asked.ask("203.0.113.8"))["status"] == 200, "others are not kept waiting"
    assert (await asked.ask(path="/tiles/a/0/0/0.mvt"))["status"] == 200
    asked.now += 0.5
    assert [(await asked.ask())["status"] for _ in range(2)] == [200, 429]


@pytest.mark.anyio
async def test_this_machine_and_a_limit_of_nothing_are_not_limited() -> None:
    local, open_ = Asked(per_s=1, burst=1), Asked(per_s=0, burst=1)
    for _ in range(5):
        assert (await local.ask("127.0.0.1"))["status"] == 200
        assert (await open_.ask())["status"] == 200


async def _nothing() -> Any:
    return {}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
