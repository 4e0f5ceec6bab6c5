"""Checks of cluster.yaml (Ray on AWS), rayjob.yaml (KubeRay) and the Dockerfile that need no cloud."""

from __future__ import annotations

import copy
import functools
import re
import shlex
from pathlib import Path
from typing import Any

import botocore.session  # type: ignore[import-untyped]
import botocore.validate  # type: ignore[import-untyped]
import jsonschema  # type: ignore[import-untyped]
import pytest
import typer
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from jobs.__main__ import app
from jobs.remote_command import checked

ROOT = Path(__file__).parent.parent
CONSTRAINTS = (ROOT / "constraints.txt").read_text()


def load(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text())


@pytest.fixture
def cluster() -> Any:
    return load("cluster.yaml")


@pytest.fixture
def rayjob() -> Any:
    return load("rayjob.yaml")


def change(document: Any, path: str, value: Any) -> None:
    """Set the value at a path such as spec/workerGroupSpecs/0/replicas, which may not exist yet."""
    *parents, last = path.split("/")
    for name in parents:
        document = document[int(name) if name.isdigit() else name]
    document[last] = value


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


def test_nodes_have_the_tested_versions(cluster: Any) -> None:
    assert cluster["docker"]["image"] == f"rayproject/ray:{pinned('ray')}-py311-cpu"  # where they were tested
    assert cluster["file_mounts"]["~/constraints.txt"] == "constraints.txt"
    assert "pip install --no-cache-dir -r ~/constraints.txt" in cluster["setup_commands"]
    options = cluster["docker"]["run_options"] + cluster["available_node_types"]["gpu"]["docker"]["worker_run_options"]
    assert all(option.startswith("-") for option in options)  # a comma in the wrong place makes two of one


def pinned(package: str) -> str:
    (version,) = re.findall(rf"^{package}==(.+)$", CONSTRAINTS, re.MULTILINE)
    return str(version)


# The part of the ray.io/v1 and core/v1 schemas that rayjob.yaml uses, after the API references of KubeRay
# (ray-project.github.io/kuberay/reference/api) and of Kubernetes. A field that is not named here is an error, whether
# it is misspelt or only new.


def fields(required: str = "", **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required.split(), "additionalProperties": False}


def items(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": schema, "minItems": 1}


TEXT = {"type": "string", "minLength": 1}
FLAG = {"type": "boolean"}
COUNT = {"type": "integer", "minimum": 0}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
QUANTITY = {"type": "string", "pattern": r"^\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"}
QUANTITIES = {"type": "object", "additionalProperties": QUANTITY}
NAME = {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 47}  # KubeRay adds to it

CONTAINER = fields(
    "name image resources",
    name=NAME,
    image=TEXT,
    env=items(fields("name", name=TEXT, value={"type": "string"})),
    envFrom=items(fields(secretRef=fields("name", name=NAME, optional=FLAG))),
    resources=fields("requests limits", requests=QUANTITIES, limits=QUANTITIES),
    securityContext=fields(allowPrivilegeEscalation=FLAG, capabilities=fields(drop=items(TEXT))),
)
OF_CONTAINER = CONTAINER["properties"]["securityContext"]
POD = fields(
    "containers",
    containers=items(CONTAINER),
    terminationGracePeriodSeconds=COUNT,
    automountServiceAccountToken=FLAG,
    serviceAccountName=NAME,
    restartPolicy={"enum": ["Always", "OnFailure", "Never"]},
    securityContext=fields(
        runAsNonRoot=FLAG,
        runAsUser=COUNT,
        fsGroup=COUNT,
        seccompProfile=fields("type", type={"enum": ["RuntimeDefault", "Localhost", "Unconfined"]}),
    ),
    tolerations=items(
        fields(
            key=TEXT,
            operator={"enum": ["Exists", "Equal"]},
            value=TEXT,
            effect={"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"]},
        )
    ),
)
TEMPLATE = fields("spec", metadata=fields(labels=TEXTS, annotations=TEXTS), spec=POD)
HEAD = fields(
    "rayStartParams template",
    rayStartParams=TEXTS,
    serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    template=TEMPLATE,
)
WORKERS = fields(
    "groupName minReplicas maxReplicas rayStartParams template",
    groupName=NAME,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    rayStartParams=TEXTS,
    template=TEMPLATE,
)
CLUSTER = fields(
    "headGroupSpec",
    rayVersion=TEXT,
    authOptions=fields(mode={"enum": ["disabled", "token"]}),
    enableInTreeAutoscaling=FLAG,
    autoscalerOptions=fields(version={"enum": ["v1", "v2"]}, idleTimeoutSeconds=COUNT, securityContext=OF_CONTAINER),
    headGroupSpec=HEAD,
    workerGroupSpecs=items(WORKERS),
)
JOB = fields(
    "entrypoint rayClusterSpec",
    entrypoint=TEXT,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    backoffLimit=COUNT,
    activeDeadlineSeconds=COUNT,
    shutdownAfterJobFinishes=FLAG,
    ttlSecondsAfterFinished=COUNT,
    submitterPodTemplate=TEMPLATE,
    rayClusterSpec=CLUSTER,
)
RAYJOB = fields(
    "apiVersion kind metadata spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=fields("name", name=NAME, namespace=NAME, labels=TEXTS, annotations=TEXTS),
    spec=JOB,
)


def test_the_rayjob_has_the_fields_of_its_schema(rayjob: Any) -> None:
    jsonschema.Draft202012Validator.check_schema(RAYJOB)
    jsonschema.validate(rayjob, RAYJOB)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec/entryPoint", "interlcm"),
        ("spec/backoffLimit", "3"),
        ("spec/rayClusterSpec/workerGroupSpec", []),
        ("spec/rayClusterSpec/authOptions/mode", "on"),
        ("spec/rayClusterSpec/headGroupSpec/rayStartParams/num-cpus", 0),
        ("spec/rayClusterSpec/workerGroupSpecs/0/minReplica", 0),
        ("spec/rayClusterSpec/workerGroupSpecs/1/template/spec/containers/0/resources/limits/cpu", 4),
        ("spec/rayClusterSpec/headGroupSpec/template/spec/containers/0/envFrom", []),
    ],
)
def test_the_schema_does_not_accept_everything(path: str, value: Any, rayjob: Any) -> None:
    change(rayjob, path, value)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(rayjob, RAYJOB)


def test_the_rayjob_starts_with_its_head_alone(rayjob: Any) -> None:
    spec = rayjob["spec"]["rayClusterSpec"]
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}
    groups = {group["groupName"]: group for group in spec["workerGroupSpecs"]}
    assert set(groups) == {"cpu", "gpu"}
    assert [(group["replicas"], group["minReplicas"]) for group in groups.values()] == [(0, 0), (0, 0)]
    limits = {name: group["template"]["spec"]["containers"][0]["resources"]["limits"] for name, group in groups.items()}
    assert "nvidia.com/gpu" not in limits["cpu"] and limits["gpu"]["nvidia.com/gpu"] == "1"


def test_secrets_of_the_rayjob_come_from_a_secret_and_to_the_head_only(rayjob: Any) -> None:
    spec = rayjob["spec"]["rayClusterSpec"]
    assert spec["authOptions"] == {"mode": "token"}
    assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
    (head,) = spec["headGroupSpec"]["template"]["spec"]["containers"]
    assert head["envFrom"] == [{"secretRef": {"name": "interlcm-storage", "optional": True}}]
    assert spec["headGroupSpec"]["template"]["spec"]["serviceAccountName"] == "interlcm"
    for group in spec["workerGroupSpecs"]:
        (worker,) = group["template"]["spec"]["containers"]
        assert not {"env", "envFrom"} & set(worker)
        assert group["template"]["spec"]["automountServiceAccountToken"] is False
        assert group["template"]["spec"]["serviceAccountName"] == "interlcm"  # which the cloud's role is bound to


def pods_of(rayjob: Any) -> dict[str, Any]:
    """The pods of a RayJob by name."""
    spec = rayjob["spec"]["rayClusterSpec"]
    groups = {group["groupName"]: group["template"]["spec"] for group in spec["workerGroupSpecs"]}
    head, submitter = spec["headGroupSpec"]["template"]["spec"], rayjob["spec"]["submitterPodTemplate"]["spec"]
    return {"submitter": submitter, "head": head, **groups}


def test_a_restricted_namespace_admits_every_pod(rayjob: Any) -> None:
    """What kubernetes.io/docs/concepts/security/pod-security-standards asks for under "restricted"."""
    confined = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    pods = pods_of(rayjob)
    assert set(pods) == {"submitter", "head", "cpu", "gpu"}
    for pod in pods.values():
        assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert [container["securityContext"] for container in pod["containers"]] == [confined]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert rayjob["spec"]["rayClusterSpec"]["autoscalerOptions"]["securityContext"] == confined


# CPUs and GiB of the machines that the comments of rayjob.yaml name.
MACHINES = {"head": (4, 16), "cpu": (16, 64), "gpu": (4, 16)}


@pytest.mark.parametrize("name", MACHINES)
def test_a_pod_leaves_room_on_its_machine(name: str, rayjob: Any) -> None:
    """A kubelet keeps up to 0.1 CPU and 3 GiB, daemons of the cluster about as much again."""
    cpus, memory = MACHINES[name]
    requests = pods_of(rayjob)[name]["containers"][0]["resources"]["requests"]
    assert cpus - 2 <= int(requests["cpu"]) < cpus
    assert 0.7 <= int(requests["memory"].removesuffix("Gi")) / memory <= 0.85


def test_the_quotas_that_the_page_asks_for_suffice(cluster: Any) -> None:
    page = (ROOT / "docs/cluster.md").read_text()
    asked = {code: int(count) for code, count in re.findall(r"(L-\w{8})=(\d+)", page)}
    types = cluster["available_node_types"]
    cpu, gpu = (types[name]["max_workers"] * types[name]["resources"]["CPU"] for name in ("cpu", "gpu"))
    assert asked == {"L-1216C47A": cpu + 4, "L-3819A6DF": gpu}  # a head of 4 vCPUs is on demand like the CPU workers


def test_the_entrypoint_of_the_rayjob_is_a_command_for_a_cluster(rayjob: Any) -> None:
    program, *words = shlex.split(rayjob["spec"]["entrypoint"])
    assert program == "interlcm"
    assert checked(words, typer.main.get_command(app)) == (words, None)


def test_two_images_and_one_version_of_ray(rayjob: Any, cluster: Any) -> None:
    spec = rayjob["spec"]["rayClusterSpec"]
    assert spec["rayVersion"] == pinned("ray")
    images = {name: pod["containers"][0]["image"] for name, pod in pods_of(rayjob).items()}
    tags = dict(re.findall(r"--target (\w+) -t (\S+)", dockerfile()))
    assert images == {"submitter": tags["gpu"], "head": tags["gpu"], "cpu": tags["cpu"], "gpu": tags["gpu"]}
    base, *stages = re.findall(r"^FROM (.*)$", dockerfile(), re.MULTILINE)
    assert base == f"{cluster['docker']['image']} AS base"
    assert stages == ["base AS cpu", "base AS gpu"]


def test_the_dockerfile_copies_what_it_installs() -> None:
    copied = [words.split()[:-1] for words in re.findall(r"^COPY --chown=ray (.*)$", dockerfile(), re.MULTILINE)]
    names = {name for words in copied for name in words}
    assert all((ROOT / name).exists() for name in names)
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert kept == names
    assert {"constraints.txt", "pyproject.toml", "README.md", "LICENSE", "interlcm", "pipeline", "jobs"} == names


def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text()
