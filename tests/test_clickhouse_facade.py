"""The façade as the real client sees it: it answers as ClickHouse does, and its faults are what they claim to be."""

from __future__ import annotations

import base64
import gzip
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest
import requests
from clickhouse_connect.driver.exceptions import DatabaseError, Error, OperationalError
from clickhouse_facade import ClickHouseFacade, Exchange
from clickhouse_faults import Cut, Fails, FailsMidway, Hang, Late, Page, Reset
from clickhouse_http import PASSWORD, USER
from clickhouse_process import FacadeProcess
from urllib3 import Timeout

DATABASE = "tests"
TABLE = """CREATE TABLE {} (n UInt64, text LowCardinality(String), raw String, doc JSON MATERIALIZED raw::JSON)
    ENGINE = ReplacingMergeTree ORDER BY n"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseFacade]:
    with ClickHouseFacade(tmp_path_factory.mktemp("clickhouse")) as running:
        for statement in (f"CREATE DATABASE {DATABASE}", TABLE.format(f"{DATABASE}.things")):
            assert curl(running, data=statement).status_code == 200
        yield running


@pytest.fixture
def facade(shared: ClickHouseFacade) -> Iterator[ClickHouseFacade]:
    shared.asked.clear()
    yield shared
    shared.heal()
    assert curl(shared, data=f"TRUNCATE TABLE {DATABASE}.things").status_code == 200


@pytest.fixture
def client(facade: ClickHouseFacade) -> Iterator[Any]:
    with connected(facade) as running:
        yield running


def connected(facade: Any, read: float = 10, **options: Any) -> Any:
    """The real client with connections of its own, and as our store has it; ``read``: seconds that it waits."""
    given = {
        "autogenerate_session_id": False,
        "username": USER,
        "password": PASSWORD,
        "database": DATABASE,
        "dedicated_pool": True,
        **options,
    }
    client: Any = clickhouse_connect.get_client(host="127.0.0.1", port=facade.port, **given)
    client.timeout = Timeout(connect=1, read=read)  # the option takes whole seconds
    return client


def insert(client: Any, *numbers: int, **settings: Any) -> Any:
    columns = [list(numbers), ["ä'\\"] * len(numbers), [json.dumps({"n": n, "x": {"y": "\n"}}) for n in numbers]]
    names = ["n", "text", "raw"]
    return client.insert("things", columns, column_names=names, column_oriented=True, settings=settings)


def count(client: Any) -> int:
    found: int = client.query("SELECT count() FROM things FINAL").result_rows[0][0]
    return found


def curl(facade: ClickHouseFacade, method: str = "POST", path: str = "/", **options: Any) -> requests.Response:
    headers = {"X-ClickHouse-User": USER, "X-ClickHouse-Key": PASSWORD, **options.pop("headers", {})}
    return requests.request(method, f"http://127.0.0.1:{facade.port}{path}", headers=headers, timeout=10, **options)


# --- what it serves


@pytest.mark.parametrize("compress", [True, False, "gzip"])
def test_what_is_inserted_is_found(facade: ClickHouseFacade, compress: bool | str) -> None:
    with connected(facade, compress=compress) as client:
        assert insert(client, *range(1_000), async_insert=1, wait_for_async_insert=1).written_rows == 1_000
        insert(client, 999)
        found = client.query(
            "SELECT n, text, doc.x.y, doc FROM things FINAL"
            " WHERE n >= {least:UInt64} AND text = {text:String} ORDER BY n",
            parameters={"least": 998, "text": "ä'\\"},
        )
        assert found.result_rows == [(n, "ä'\\", "\n", {"n": n, "x": {"y": "\n"}}) for n in (998, 999)]
        assert count(client) == 1_000
    [asked, _] = [each for each in facade.asked if each.text.startswith(b"INSERT")]
    assert (asked.data, asked.form, asked.database) == (None, "Native", DATABASE)
    assert asked.settings["wait_for_async_insert"] == "1"
    assert facade.count("^INSERT INTO") == 2


def test_parameters_may_come_as_a_form(facade: ClickHouseFacade) -> None:
    with connected(facade, form_encode_query_params=True) as client:
        names = ["a", "ä\n'"]
        found = client.query("SELECT {names:Array(String)}, {n:Int64}", parameters={"names": names, "n": -1})
        assert found.result_rows == [(names, -1)]
    answer = curl(facade, data={"query": "SELECT {n:UInt8}", "param_n": "7"})
    assert answer.text == "7\n"


def test_commands_tell_what_they_did(client: Any) -> None:
    assert client.ping()
    assert client.command("SELECT 1 WHERE 0") == ""
    assert client.command("SELECT 7") == 7
    client.command("CREATE TABLE other (n UInt8) ENGINE = MergeTree ORDER BY n")
    assert client.query("SELECT * FROM other LIMIT 0").column_names == ("n",)
    assert client.command("EXISTS TABLE other") == 1
    assert client.raw_query("SELECT 1 AS n", fmt="JSONEachRow") == b'{"n":1}\n'
    client.raw_insert("other", ["n"], b'{"n":1}\n{"n":2}\n', fmt="JSONEachRow")
    client.command("INSERT INTO other VALUES (3)")
    with client.query_rows_stream("SELECT n FROM other ORDER BY n") as rows:
        assert list(rows) == [(1,), (2,), (3,)]


def test_settings_end_with_their_statement(client: Any) -> None:
    asks = "SELECT getSetting('max_threads')"
    assert client.command(asks, settings={"max_threads": 7}) == 7
    assert client.command(asks) != 7


@pytest.mark.parametrize(
    ("statement", "status", "code", "text"),
    [
        ("SELECT , 1", 400, 62, "SYNTAX_ERROR"),
        ("SELECT nothing FROM nowhere", 404, 60, "UNKNOWN_TABLE"),
        ("SELECT throwIf(1, 'so it is')", 500, 395, "so it is"),
        ("SELECT count() FROM numbers(1000000000000) SETTINGS max_execution_time = 0.05", 408, 159, "TIMEOUT_EXCEEDED"),
    ],
)
def test_exceptions_are_told(facade: ClickHouseFacade, statement: str, status: int, code: int, text: str) -> None:
    answer = curl(facade, data=statement)
    assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (status, str(code))
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")
    assert text in answer.text
    assert answer.text.endswith("(official build))\n")
    with connected(facade) as client, pytest.raises(DatabaseError, match=text) as raised:
        client.query(statement)
    assert raised.value.code == code


def test_what_it_does_not_know_is_refused(facade: ClickHouseFacade) -> None:
    assert curl(facade, path="/?nonesuch=1", data="SELECT 1").headers["X-ClickHouse-Exception-Code"] == "115"
    assert curl(facade, path="/?a%20b=1", data="SELECT 1").headers["X-ClickHouse-Exception-Code"] == "115"
    assert curl(facade, path="/?database=nonesuch", data="SELECT 1").status_code == 404
    fields = {"query": "SELECT length({text:String})", "param_text": "x" * 131_072}
    assert curl(facade, data=fields).text == "131072\n"
    assert "too long" in curl(facade, data={**fields, "param_text": "x" * 131_073}).text
    assert "too long" in curl(facade, data={"query": f"SELECT length('{'x' * 131_073}')"}).text
    parts = [("query", (None, "SELECT length('" + "x" * 100_000)), ("query", (None, "x" * 100_000 + "')"))]
    assert curl(facade, files=parts).text == "200000\n"
    answer = curl(facade, data="INSERT INTO tests.things (raw) FORMAT LineAsString\nno JSON\n")
    assert "Cannot parse JSON" in answer.text
    with connected(facade) as client, pytest.raises(DatabaseError, match="CANNOT_READ_ALL_DATA"):
        client.raw_insert("things", ["n"], b"\x01\x05\x01n\x06UInt64123", fmt="Native")


def test_statements_come_in_the_address_or_the_body(facade: ClickHouseFacade) -> None:
    assert curl(facade, "GET", params={"query": "SELECT 1 FORMAT JSONEachRow"}).json() == {"1": 1}
    assert curl(facade, params={"query": "SELECT"}, data="2").text == "2\n"
    assert (
        curl(facade, params={"query": "INSERT INTO tests.things (n, raw) FORMAT TSV"}, data="3\t{}\n").status_code
        == 200
    )
    body = gzip.compress(b"SELECT n FROM tests.things")
    assert curl(facade, data=body, headers={"Content-Encoding": "gzip"}).text == "3\n"
    assert curl(facade, data=iter([b"SEL", b"ECT 4"])).text == "4\n"
    assert curl(facade, "GET", path="/ping").text == "Ok.\n"
    assert curl(facade, "GET", params={"query": "DROP TABLE tests.things"}).text.startswith("Code: 164.")


@pytest.mark.parametrize("way", ["basic", "headers", "parameters", "nothing"])
def test_only_the_user_is_served(facade: ClickHouseFacade, way: str) -> None:
    def ask(password: str) -> int:
        token = base64.b64encode(f"{USER}:{password}".encode()).decode()
        headers = {
            "basic": {"Authorization": f"Basic {token}"},
            "headers": {"X-ClickHouse-User": USER, "X-ClickHouse-Key": password},
        }.get(way, {})
        parameters = {"user": USER, "password": password} if way == "parameters" else {}
        url = f"http://127.0.0.1:{facade.port}/"
        return requests.post(url, "SELECT 1", params=parameters, headers=headers, timeout=10).status_code

    assert (ask(PASSWORD), ask("wrong")) == (403 if way == "nothing" else 200, 403)


def test_the_client_is_told_that_its_password_is_wrong(facade: ClickHouseFacade) -> None:
    with pytest.raises(DatabaseError, match="Authentication failed") as raised:
        connected(facade, password="wrong")
    assert raised.value.code == 516


def test_many_are_served_at_once(facade: ClickHouseFacade) -> None:
    def insert_some(sender: int) -> None:
        with connected(facade) as client:
            for number in range(10):
                insert(client, 100 * sender + number, number)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(insert_some, range(1, 5)))
    with connected(facade) as client:
        assert count(client) == 4 * 10 + 10


def test_a_session_runs_one_statement_at_a_time(facade: ClickHouseFacade) -> None:
    with facade.session("one"):
        answer = curl(facade, path="/?session_id=one", data="SELECT 1")
        assert answer.headers["X-ClickHouse-Exception-Code"] == "373"
        assert curl(facade, path="/?session_id=two", data="SELECT 1").text == "1\n"
    assert curl(facade, path="/?session_id=one", data="SELECT 1").text == "1\n"


ENDLESS = "SELECT count() FROM numbers(1000000000000000)"


@pytest.mark.parametrize("way", ["killed", "left"])
def test_a_statement_ends_when_it_is_killed_or_its_client_goes(facade: ClickHouseFacade, way: str) -> None:
    with (
        connected(facade, read=0.2 if way == "left" else 10) as client,
        connected(facade) as other,
        ThreadPoolExecutor(1) as threads,
    ):
        asked = threads.submit(client.query, ENDLESS, settings={"query_id": "endless", "readonly": 2})
        facade.wait_for("1000000000000000")
        running = "SELECT count() FROM system.processes WHERE query LIKE {text:String}"
        while way == "killed" and not asked.done():
            other.command("KILL QUERY WHERE query_id = 'endless'")
        with pytest.raises(Error, match="QUERY_WAS_CANCELLED" if way == "killed" else "timed out"):
            asked.result()
        while other.command(running, parameters={"text": f"{ENDLESS}%"}):
            pass


# --- its faults


def test_faults_come_in_order_for_the_statements_they_are_for(facade: ClickHouseFacade, client: Any) -> None:
    facade.fail(Fails(status=503), times=2, of="^INSERT INTO.*things")
    facade.fail(Page(502))
    codes = [curl(facade, data="SELECT 1").status_code for _ in range(2)]
    answers = [curl(facade, data="INSERT INTO tests.things (n, raw) FORMAT TSV\n1\t{}\n") for _ in range(3)]
    assert codes == [502, 200]
    assert [answer.status_code for answer in answers] == [503, 503, 200]
    assert "Too many simultaneous queries" in answers[0].text
    assert count(client) == 1


@pytest.mark.parametrize("fault", [Fails(), Page()])
def test_a_fault_for_ever_ends_when_healed(facade: ClickHouseFacade, client: Any, fault: Any) -> None:
    facade.fail(fault, times=None, of="things")
    for _ in range(3):
        with pytest.raises(DatabaseError):
            insert(client, 1)
    facade.heal()
    insert(client, 1)
    assert count(client) == 1


@pytest.mark.parametrize("commit", [True, False])
@pytest.mark.parametrize("fault", [Fails, Page, Reset, Hang])
def test_an_answer_is_lost_after_the_commit_or_before(
    facade: ClickHouseFacade, client: Any, fault: Any, commit: bool
) -> None:
    facade.fail(fault(commit=commit), times=None, of="^INSERT")
    with connected(facade, read=0.1) as impatient, pytest.raises(DatabaseError):
        insert(impatient, 1, 2)
    assert count(client) == 2 * commit
    facade.heal()
    insert(client, 1, 2)
    assert count(client) == 2


@pytest.mark.parametrize("compress", [True, False])
def test_half_an_answer_is_never_taken_for_a_whole_one(facade: ClickHouseFacade, compress: bool) -> None:
    faults = [fault for share in (0, 0.5, 1) for fault in (Cut(share), Cut(share, "length"), FailsMidway(share))]
    with connected(facade, compress=compress) as client:
        for fault in faults:
            facade.fail(fault, times=None, of="numbers")
            with pytest.raises(Error):
                assert client.query("SELECT number FROM numbers(200000)").result_rows
            with pytest.raises(Error):
                assert client.command("SELECT 1 FROM numbers(1)") is None
            facade.heal()


def test_an_insert_may_get_half_an_answer(facade: ClickHouseFacade, client: Any) -> None:
    facade.fail(Cut(), times=None, of="^INSERT")
    with pytest.raises(OperationalError):
        insert(client, 1)
    assert count(client) == 1


def test_an_answer_may_be_late(facade: ClickHouseFacade, client: Any) -> None:
    with connected(facade, read=0.05) as impatient:
        facade.fail(Late(0.2))
        with pytest.raises(OperationalError, match="timed out"):
            impatient.query("SELECT 1")
    facade.fail(Late(0.01))
    assert client.query("SELECT 1").result_rows == [(1,)]


def test_a_fault_may_be_any_function(facade: ClickHouseFacade, client: Any) -> None:
    def refuse_from_now_on(exchange: Exchange) -> None:
        exchange.answer()
        facade.refuse()

    facade.fail(refuse_from_now_on)
    assert client.command("SELECT 1") == 1
    with pytest.raises(OperationalError):
        client.command("SELECT 1")
    assert not client.ping()
    facade.listen()
    assert client.command("SELECT 1") == 1


@pytest.mark.parametrize("way", ["hanging", "running"])
def test_closing_ends_whatever_is_under_way(shared: ClickHouseFacade, way: str) -> None:
    before = set(threading.enumerate())
    facade = ClickHouseFacade(Path(shared.engine.path))
    with ThreadPoolExecutor(1) as threads:
        if way == "hanging":
            facade.fail(Hang(commit=False), times=None)
        path = "/?cancel_http_readonly_queries_on_client_close=1&readonly=2"
        asked = threads.submit(curl, facade, path=path, data=ENDLESS)
        facade.wait_for("numbers")
        facade.close()
        facade.close()
        with pytest.raises(requests.ConnectionError):
            asked.result()
    assert set(threading.enumerate()) <= before


# --- a process of its own


def test_it_may_be_a_process_of_its_own(tmp_path: Path) -> None:
    with FacadeProcess(tmp_path / "clickhouse") as facade, connected(facade, database="default") as client:
        client.command(TABLE.format("things"))
        facade.fail(Fails(status=503), of="INSERT")
        with pytest.raises(DatabaseError, match="Too many"):
            insert(client, 1)
        insert(client, 1)
        facade.wait_for("^INSERT", 2)
        assert facade.count("^INSERT") == 2
        facade.refuse()
        with pytest.raises(OperationalError):
            count(client)
        facade.listen()
        assert count(client) == 1
    port = facade.port
    facade.close()
    with FacadeProcess(tmp_path / "clickhouse", port) as facade, connected(facade, database="default") as client:
        assert (facade.port, count(client)) == (port, 1)
