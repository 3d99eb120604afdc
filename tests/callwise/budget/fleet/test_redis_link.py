"""Link to a Redis server: order, company, broken connections, and no password in any text."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from callwise.budget.fleet.redis_link import RedisLink, Script, link_from_env
from callwise.calls.errors import BudgetStoreLost, ConfigError

ADD = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")


@asynccontextmanager
async def linked(url, **options):
    """A link that is closed again."""
    link = RedisLink(url, **{"timeout_seconds": 60, **options})
    try:
        yield link
    finally:
        await link.aclose()


async def test_commands_of_many_waiters_travel_together_and_in_order(redis_url, name):
    """One connection; many commands a write; each gets the reply to what it gave."""
    async with linked(redis_url) as link:
        replies = await asyncio.gather(*(link.run(ADD, (name,), (1,)) for _ in range(1000)))
        assert replies == list(range(1, 1001))
        counts = link.statistics()
        assert counts["connections"] == 1
        assert counts["commands"] >= 1000
        assert counts["writes"] <= 10


async def test_a_refused_command_fails_alone(redis_url, name):
    """A key of another type is its command's error, with the way out; the others go on."""
    async with linked(redis_url) as link:
        await link.command("LPUSH", name, "x")
        results = await asyncio.gather(
            link.command("INCR", name + "1"),
            link.command("INCR", name),
            link.command("INCR", name + "1"),
            return_exceptions=True,
        )
        assert (results[0], results[2]) == (1, 2)
        assert isinstance(results[1], ConfigError)
        assert f"refuses a command for INCR {name}: WRONGTYPE" in str(results[1])
        with pytest.raises(ConfigError, match=f"refuses a command for {name}: WRONGTYPE"):
            await link.run(ADD, (name,), (1,))


async def test_a_server_that_was_started_again_is_found_again(make_server, name):
    """The connection is made again once, and a script that the server has forgotten is sent."""
    server = make_server()
    async with linked(server.url) as link:
        assert await link.run(ADD, (name,), (1,)) == 1
        server.stop()
        with pytest.raises(BudgetStoreLost):
            await link.run(ADD, (name,), (1,))
        server.start()
        assert await link.run(ADD, (name,), (1,)) == 1
        assert link.statistics()["connections"] == 2


async def test_a_connection_that_the_server_has_closed_is_made_again(redis_url, name):
    """As it closes idle ones: the command after that is answered, over a new connection."""
    async with linked(redis_url) as link, linked(redis_url) as other:
        assert await link.run(ADD, (name,), (1,)) == 1
        await other.command("CLIENT", "KILL", "ID", await link.command("CLIENT", "ID"))
        assert await link.run(ADD, (name,), (1,)) == 2
        assert link.statistics()["connections"] == 2


async def test_scripts_keep_their_place_in_the_order(redis_url, name):
    """Also the first time that the server sees them."""
    async with linked(redis_url) as link:
        fresh = [Script(f"return redis.call('INCRBY', KEYS[1], {n})") for n in (1, 10)]
        replies = await asyncio.gather(
            *(link.run(fresh[index % 2], (name,), ()) for index in range(6))
        )
        assert replies == [1, 11, 12, 22, 23, 33]


async def test_scripts_that_another_client_has_flushed_are_sent_again(redis_url, name):
    """Each is performed once, in the order in which it was given; a cancelled one is not."""
    append = Script("return redis.call('RPUSH', KEYS[1], ARGV[1])")
    async with linked(redis_url, timeout_seconds=60) as link:
        await link.run(append, (name,), ("before",))
        await link.command("SCRIPT", "FLUSH")
        given = [link.run(append, (name,), (number,)) for number in range(4)]
        given[1].cancel()
        ends = await asyncio.gather(*given, return_exceptions=True)
        assert [ends[0], *ends[2:]] == [2, 3, 4]
        assert await link.command("LRANGE", name, 0, -1) == [b"before", b"0", b"2", b"3"]
        assert link.statistics()["connections"] == 1


async def test_a_server_that_does_not_answer_is_lost_in_time(make_server):
    """All that wait get the error, which names the server; afterwards it works again."""
    server = make_server()
    async with linked(server.url, timeout_seconds=60) as link:
        assert await link.command("PING") == b"PONG"
        server.freeze()
        link._timeout_seconds = 0.2
        results = await asyncio.gather(
            *(link.command("PING") for _ in range(10)), return_exceptions=True
        )
        server.thaw()
        link._timeout_seconds = 60
        assert {type(each) for each in results} == {BudgetStoreLost}
        assert f"127.0.0.1:{server.port}" in str(results[0])
        assert await link.command("PING") == b"PONG"


async def test_cancelling_a_waiter_does_not_shift_the_replies(redis_url, name):
    """The others still get the reply to what they gave."""
    async with linked(redis_url) as link:
        given = [asyncio.ensure_future(link.run(ADD, (name,), (1,))) for _ in range(9)]
        given[3].cancel()
        results = await asyncio.gather(*given, return_exceptions=True)
        assert isinstance(results[3], asyncio.CancelledError)
        assert [each for each in results if isinstance(each, int)] == [1, 2, 3, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("password", ["s3cret-word-9", "p%40ss-w0rd-9"])
async def test_a_password_is_in_no_text(make_server, password):
    """Neither where it is refused, nor where the link is shown, nor where it is lost."""
    server = make_server("--requirepass", "another")
    url = server.url.replace("redis://", f"redis://:{password}@")
    async with linked(url) as link:
        with pytest.raises(ConfigError, match="refuses the user or the password") as refused:
            await link.command("PING")
        server.stop()
        with pytest.raises(BudgetStoreLost) as lost:
            await link.command("PING")
        for text in (str(refused.value), str(lost.value), repr(link)):
            assert password not in text
            assert "p@ss" not in text


async def test_a_password_that_the_server_repeats_is_in_no_text(make_server):
    """As one without AUTH does: it names the arguments of an unknown command."""
    server = make_server("--rename-command", "AUTH", "")
    async with linked(server.url.replace("redis://", "redis://:s3cret-word-9@")) as link:
        with pytest.raises((ConfigError, BudgetStoreLost), match="unknown command") as refused:
            await link.command("PING")
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost", "not one"),
        ("redis://", "not one"),
        ("redis://host:port/0", "not one"),
        ("localhost:6379", "not one"),
    ],
)
def test_what_is_no_url_is_refused(url, expected):
    """The error shows how one is written, and not what was given: it may have a password."""
    with pytest.raises(ConfigError, match=expected) as refused:
        RedisLink(url)
    assert "redis://host:port/database" in str(refused.value)


def test_an_environment_without_the_variable_is_refused():
    """The error names the variable."""
    with pytest.raises(ConfigError, match="CALLWISE_NO_SUCH_URL"):
        link_from_env("CALLWISE_NO_SUCH_URL", timeout_seconds=1.0)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ("redis_version:6.0.16\r\nredis_mode:standalone", "version 6.0.16"),
        ("redis_version:7.2.4\r\nredis_mode:cluster", "cluster"),
        ("redis_version:next\r\nredis_mode:standalone", "version next"),
    ],
)
async def test_a_server_that_cannot_be_used_is_refused(facts, expected):
    """An old server and a cluster are named before anything is counted there."""

    async def serve(reader, writer):
        while head := await reader.readline():
            words = [
                await reader.readexactly(int((await reader.readline())[1:]) + 2)
                for _ in range(int(head[1:]))
            ]
            info = f"${len(facts)}\r\n{facts}\r\n".encode()
            writer.write(info if words[0] == b"INFO\r\n" else b"+OK\r\n")
        writer.close()
        has_ended.set()

    has_ended = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, linked(f"redis://127.0.0.1:{port}", timeout_seconds=60) as link:
        with pytest.raises(ConfigError, match=expected):
            await link.command("PING")
        await has_ended.wait()


@pytest.mark.parametrize(
    ("options", "is_warned"),
    [
        ("--maxmemory 50mb --maxmemory-policy allkeys-lru", True),
        ("--maxmemory 50mb --maxmemory-policy volatile-lru", False),
        ("--maxmemory 0 --maxmemory-policy allkeys-lru", False),
    ],
)
async def test_a_server_that_may_drop_counts_is_named_in_the_log(
    make_server, caplog, options, is_warned
):
    """Counts have no time at which they end, so only a policy for all keys drops them."""
    server = make_server(*options.split())
    async with linked(server.url) as link:
        await link.command("PING")
    assert ("Set noeviction or volatile-lru" in caplog.text) is is_warned


async def test_a_server_whose_memory_is_full_is_lost(make_server, name):
    """The error has the way out; what frees memory is performed, and then all is."""
    server = make_server()
    async with linked(server.url, timeout_seconds=60) as link:
        await link.run(ADD, (name,), (1,))
        await link.command("CONFIG", "SET", "maxmemory", "1")
        for given in (link.run(ADD, (name,), (1,)), link.command("INCR", name)):
            with pytest.raises(BudgetStoreLost, match=r"cannot serve now .*maxmemory.*raise its"):
                await given
        await link.command("CONFIG", "SET", "maxmemory", "0")
        assert await link.run(ADD, (name,), (1,)) == 2


async def test_a_replica_is_lost(make_server, name):
    """Its error asks for the primary; nothing is written."""
    primary = make_server()
    replica = make_server("--replicaof", "127.0.0.1", str(primary.port))
    async with linked(replica.url, timeout_seconds=60) as link:
        for given in (link.run(ADD, (name,), (1,)), link.command("INCR", name)):
            with pytest.raises(BudgetStoreLost, match=r"a replica: use the URL of its primary"):
                await given


async def test_an_old_servers_error_of_a_script_is_read(redis_url):
    """Servers before 7 put the code behind the name of the script."""
    link = RedisLink(redis_url, timeout_seconds=60)
    text = "Error running script (call to f_1): @user_script:12: @user_script: 12: -OOM command"
    script = Script("return redis.error_reply(ARGV[1])")
    with pytest.raises(BudgetStoreLost, match="memory is full"):
        await link.run(script, (), (text,))
    await link.aclose()


async def test_a_server_that_needs_a_password_is_named(make_server):
    """Without one in the URL."""
    server = make_server("--requirepass", "another")
    async with linked(server.url, timeout_seconds=60) as link:
        with pytest.raises(ConfigError, match="refuses the user or the password"):
            await link.command("PING")


async def test_a_user_without_rights_is_named_what_it_needs(make_server):
    """The error has the server's reason."""
    server = make_server("--user default on nopass ~* +@all -info")
    async with linked(server.url) as link:
        with pytest.raises(ConfigError, match=r"does not give its version: .*info.* Allow"):
            await link.command("PING")


async def test_a_server_of_another_protocol_is_lost():
    """An HTTP server on the port is an error that names the address."""

    async def serve(reader, writer):
        await reader.readline()
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, linked(f"redis://127.0.0.1:{port}", timeout_seconds=60) as link:
        with pytest.raises(BudgetStoreLost, match=f"127.0.0.1:{port}"):
            await link.command("PING")
