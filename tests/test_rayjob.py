"""Checks of rayjob.yaml (KubeRay) and the Dockerfile that need no cluster."""

from __future__ import annotations

import re
import shlex
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import typer

from jobs.__main__ import app
from jobs.remote_command import checked
from tests.support.deployment import ROOT, change, dockerfile, load, pinned


@pytest.fixture
def rayjob() -> Any:
    return load("rayjob.yaml")


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


def test_the_entrypoint_of_the_rayjob_is_a_command_for_a_cluster(rayjob: Any) -> None:
    program, *words = shlex.split(rayjob["spec"]["entrypoint"])
    assert program == "interlcm"
    assert checked(words, typer.main.get_command(app)) == (words, None)


def test_two_images_and_one_version_of_ray(rayjob: Any) -> None:
    spec = rayjob["spec"]["rayClusterSpec"]
    assert spec["rayVersion"] == pinned("ray")
    images = {name: pod["containers"][0]["image"] for name, pod in pods_of(rayjob).items()}
    tags = dict(re.findall(r"--target (\w+) -t (\S+)", dockerfile()))
    assert images == {"submitter": tags["gpu"], "head": tags["gpu"], "cpu": tags["cpu"], "gpu": tags["gpu"]}
    base, *stages = re.findall(r"^FROM (.*)$", dockerfile(), re.MULTILINE)
    assert base == f"{load('cluster.yaml')['docker']['image']} AS base"
    assert stages == ["base AS cpu", "base AS gpu"]


def test_the_dockerfile_copies_what_it_installs() -> None:
    copied = [words.split()[:-1] for words in re.findall(r"^COPY --chown=ray (.*)$", dockerfile(), re.MULTILINE)]
    names = {name for words in copied for name in words}
    assert all((ROOT / name).exists() for name in names)
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert kept == names
    assert {"constraints.txt", "pyproject.toml", "README.md", "LICENSE", "interlcm", "pipeline", "jobs"} == names
