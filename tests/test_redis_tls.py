"""REDIS_URL=rediss://USER:PASSWORD@HOST: a Redis that wants a password, behind a certificate of the house's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis as client
from channels_redis.pubsub import RedisPubSubChannelLayer  # type: ignore[import-untyped]

from privategpt.serving import redis as start
from privategpt.serving.firststart import BadSetting
from tests.certificates import certificate
from tests.redis_server import TlsDoor, a_redis
from tests.running import manage
from tests.socket_agent import echo_of
from tests.socket_server import Web, copied, door_to

USER, PASSWORD, WRITTEN = "house", "s@fe/word", "s%40fe%2Fword"
# docs/scaling.md: the rights that are needed, and no more.
RIGHTS = "resetkeys resetchannels &switchboard* -@all +ping +publish +subscribe +unsubscribe"


@pytest.fixture(scope="module")
def safe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """What to put into the URL, and a way in for the test itself."""
    file, key = certificate(tmp_path_factory.mktemp("certificate"), "127.0.0.1")
    with_password = ["--user", USER, "on", f">{PASSWORD}", *RIGHTS.split(), "--requirepass", "its administrator's"]
    for redis in a_redis(*with_password):
        with TlsDoor(file, key, redis.path) as door:
            url = f"rediss://{USER}:{WRITTEN}@127.0.0.1:{door.port}/0?ssl_ca_certs={file}"
            inside = client.Redis(unix_socket_path=redis.path, password="its administrator's")
            yield SimpleNamespace(url=url, port=door.port, authority=file, inside=inside)
            inside.close()


async def test_an_ask_is_answered_by_the_other_processs_agent(
    safe: SimpleNamespace, tmp_path: Path, data_template: Path
) -> None:
    data = copied(data_template, tmp_path)
    with Web(data, REDIS_URL=safe.url) as here_web, Web(data, REDIS_URL=safe.url) as there_web:
        async with AsyncExitStack() as stack:
            here, there = [await stack.enter_async_context(door_to(web)) for web in (here_web, there_web)]
            agent = await stack.enter_async_context(there.agent())
            await here.until_listed(agent.id)
            reply = await here.ask("Over there?")
            assert (reply.status_code, reply.json()["content"]) == (200, echo_of("Over there?"))
    assert PASSWORD not in here_web.log + there_web.log
    assert WRITTEN not in here_web.log + there_web.log


async def test_word_of_answers_that_grow_goes_the_same_way(safe: SimpleNamespace) -> None:
    here, there = (RedisPubSubChannelLayer(hosts=[safe.url], prefix="switchboard-test") for _ in range(2))
    channel = await there.new_channel()
    await there.group_add("answers", channel)
    await here.group_send("answers", {"type": "answers.changed"})
    assert await there.receive(channel) == {"type": "answers.changed"}
    await here.flush()
    await there.flush()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("rediss://house:another-password@127.0.0.1:{port}?ssl_ca_certs={ca}", "refuses the user or the password"),
        ("rediss://house:a-password@127.0.0.1:{port}", "?ssl_ca_certs=/PATH"),
        ("rediss://house:a-password@127.0.0.1:{port}?ssl_ca=/x", "REDIS_URL has the option ssl_ca; known with rediss"),
    ],
)
def test_the_server_refuses_to_start_in_one_sentence_without_the_password(
    safe: SimpleNamespace, tmp_path: Path, url: str, said: str
) -> None:
    done = manage(tmp_path, "serve", "0", REDIS_URL=url.format(port=safe.port, ca=safe.authority))
    assert done.returncode == 1
    assert said in done.stderr.splitlines()[-1]
    assert "password@" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("rediss://127.0.0.1:{port}?ssl_ca_certs={ca}", "refuses the user or the password"),
        ("rediss://house:s%40fe%2Fword@localhost:{port}?ssl_ca_certs={ca}", "certificate that is not trusted"),
        ("rediss://house:s%40fe%2Fword@127.0.0.1:{port}?ssl_ca_certs=/no/such.pem", "The file /no/such.pem"),
        ("redis://house:s%40fe%2Fword@127.0.0.1:{port}", "No Redis answers at 127.0.0.1"),
    ],
)
def test_what_is_wrong_with_the_url_is_named(safe: SimpleNamespace, url: str, said: str) -> None:
    with pytest.raises(BadSetting, match=said.replace("?", r"\?")) as refused:
        start.check(url.format(port=safe.port, ca=safe.authority))
    assert "s%40fe" not in str(refused.value)


def test_a_user_who_may_not_publish_is_refused_at_the_start(safe: SimpleNamespace) -> None:
    safe.inside.acl_setuser("deaf", enabled=True, passwords=["+secret"], commands=["+ping", "+subscribe"])
    with pytest.raises(BadSetting, match=r"docs/scaling\.md names the rights"):
        start.check(f"rediss://deaf:secret@127.0.0.1:{safe.port}?ssl_ca_certs={safe.authority}")
