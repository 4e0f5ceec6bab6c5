"""Checks of cluster.yaml (Ray on AWS) that need no cloud."""

from __future__ import annotations

import copy
import functools
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import botocore.session
import botocore.validate
import jsonschema  # type: ignore[import-untyped]
import pytest
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.support.deployment import ROOT, change, dockerfile, load, pinned


@pytest.fixture
def cluster() -> Any:
    return load("cluster.yaml")


def test_ray_accepts_the_cluster(cluster: Any) -> None:
    validate_config(prepare_config(copy.deepcopy(cluster)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("max_worker", 3),
        ("provider/use_internal_ips", "no"),
        ("docker/images", "a"),
        ("available_node_types/gpu/spot", True),
        ("available_node_types/gpu/resources", {"GPU": 0.5}),
        ("head_node_type", "ray.head.default"),
    ],
)
def test_ray_would_not_accept_everything(path: str, value: Any, cluster: Any) -> None:
    change(cluster, path, value)
    with pytest.raises((jsonschema.ValidationError, ValueError)):
        validate_config(prepare_config(cluster))


@functools.cache
def run_instances() -> Any:
    """The input of EC2's RunInstances, as botocore models it."""
    return botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape


def ec2_report(node_config: dict[str, Any]) -> str:
    """The errors in EC2's input; Ray itself adds the number of instances and the subnet."""
    words = {**node_config, "MinCount": 1, "MaxCount": 1}
    return str(botocore.validate.ParamValidator().validate(words, run_instances()).generate_report())


@pytest.mark.parametrize("name", ["head", "cpu", "gpu"])
def test_aws_knows_the_settings_of_each_node(name: str, cluster: Any) -> None:
    node_config = cluster["available_node_types"][name]["node_config"]
    assert ec2_report(node_config) == ""
    assert "Unknown parameter" in ec2_report({**node_config, "InstanceMarket": {}})
    assert "Invalid type" in ec2_report({**node_config, "SecurityGroupIds": "sg-1"})


def test_the_cluster_starts_with_its_head_alone(cluster: Any) -> None:
    head, cpu, gpu = (cluster["available_node_types"][name] for name in ("head", "cpu", "gpu"))
    assert cluster["head_node_type"] == "head"
    assert head["resources"] == {"CPU": 0}
    assert [node["min_workers"] for node in (head, cpu, gpu)] == [0, 0, 0]
    assert head["max_workers"] == 0
    assert cluster["max_workers"] == cpu["max_workers"] + gpu["max_workers"]
    markets = [node["node_config"].get("InstanceMarketOptions") for node in (head, cpu, gpu)]
    assert markets == [None, None, {"MarketType": "spot"}]
    assert "GPU" not in cpu["resources"] and gpu["resources"]["GPU"] == 1


def test_nobody_gets_into_the_cluster_without_the_token(cluster: Any) -> None:
    assert {"-e RAY_AUTH_MODE=token", "-e RAY_AUTH_TOKEN_PATH=/home/ray/ray_auth_token"} <= set(
        cluster["docker"]["run_options"]
    )
    assert cluster["file_mounts"]["~/ray_auth_token"] == "~/.ray/auth_token"
    for node in cluster["available_node_types"].values():
        assert "run_options" not in node.get("docker", {})  # it would replace those of all nodes


def test_nothing_is_open_to_the_world(cluster: Any) -> None:
    start = " ".join(cluster["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in start
    assert "0.0.0.0" not in (ROOT / "cluster.yaml").read_text()
    groups = [node["node_config"]["SecurityGroupIds"] for node in cluster["available_node_types"].values()]
    assert groups == [["sg-00000000000000000"]] * 3  # or Ray makes one in which everybody may use SSH
    assert "security_group" not in cluster["provider"]


def test_nodes_have_roles_and_no_keys(cluster: Any) -> None:
    roles = {name: node["node_config"]["IamInstanceProfile"]["Name"]
             for name, node in cluster["available_node_types"].items()}  # fmt: skip
    assert roles == {"head": "interlcm-head", "cpu": "interlcm-worker", "gpu": "interlcm-worker"}
    assert not re.search(r"AWS_|SECRET|ACCESS_KEY", (ROOT / "cluster.yaml").read_text())


def test_nodes_have_the_image_in_which_the_versions_were_tested(cluster: Any) -> None:
    assert cluster["docker"]["image"] == f"rayproject/ray:{pinned('ray')}-py311-cpu"
    options = cluster["docker"]["run_options"] + cluster["available_node_types"]["gpu"]["docker"]["worker_run_options"]
    assert all(option.startswith("-") for option in options)  # a comma in the wrong place makes two of one


def test_each_node_installs_what_the_image_of_its_stages_has(cluster: Any) -> None:
    """A node type's own worker_setup_commands replace the general ones, so each must list all that it needs."""
    prepared = prepare_config(cluster)
    types = prepared["available_node_types"]
    libraries, *more = prepared["setup_commands"]
    assert not more
    cpu, gpu = (f"cd ~/interlcm && {line}" for line in re.findall(r"^RUN (pip .*)$", dockerfile(), re.MULTILINE))
    assert types["cpu"]["worker_setup_commands"] == [libraries, cpu]
    assert types["gpu"]["worker_setup_commands"] == [libraries, gpu]
    assert prepared["head_setup_commands"][:2] == [libraries, gpu]  # the driver
    for words in re.findall(r"^RUN (sudo .*?) && \\$", dockerfile(), re.MULTILINE):
        assert words == libraries
    assert "torch" not in " ".join([libraries, cpu]) and "[stages,cluster]" in cpu


def test_nodes_get_the_files_from_which_pip_reads_the_dependencies(cluster: Any, tmp_path: Path) -> None:
    """pyproject.toml names two of them; without the packages there is no code, which comes with each job."""
    sent = {target: source for target, source in cluster["file_mounts"].items() if target.startswith("~/interlcm/")}
    assert {target.removeprefix("~/interlcm/") for target in sent} == set(sent.values())
    for source in sent.values():
        shutil.copy(ROOT / source, tmp_path)
    build = "from setuptools.build_meta import build_wheel; print(build_wheel('.'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=tmp_path, capture_output=True, text=True, check=True)
    with ZipFile(tmp_path / done.stdout.split()[-1]) as wheel:
        assert not [name for name in wheel.namelist() if name.endswith(".py")]
        (metadata,) = [name for name in wheel.namelist() if name.endswith("METADATA")]
        assert 'Requires-Dist: ray[data,default]<2.61,>=2.60; extra == "cluster"' in wheel.read(metadata).decode()
    assert (tmp_path / "constraints.txt").exists()


def test_the_quotas_that_the_page_asks_for_suffice(cluster: Any) -> None:
    page = (ROOT / "docs/cluster.md").read_text()
    asked = {code: int(count) for code, count in re.findall(r"(L-\w{8})=(\d+)", page)}
    types = cluster["available_node_types"]
    cpu, gpu = (types[name]["max_workers"] * types[name]["resources"]["CPU"] for name in ("cpu", "gpu"))
    assert asked == {"L-1216C47A": cpu + 4, "L-3819A6DF": gpu}  # a head of 4 vCPUs is on demand like the CPU workers
