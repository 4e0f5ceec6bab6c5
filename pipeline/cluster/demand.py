"""What a run asks of its cluster and has not got: resources without room, nodes on their way, actors that start."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

SECONDS = 5.0  # for the head to answer
ACTOR = re.compile(r"MapWorker\(MapBatches\((\w+)\)\)")  # of a stage

Shape = dict[str, float]  # resources that one task or actor asks for


@dataclass(frozen=True)
class Demand:
    """A moment of a cluster.

    Attributes:
        waiting: resources that found no room, and how many tasks and actors wait for them.
        nodes: number of nodes that are up.
        most: the most of each resource that one of them has. total: CPUs and GPUs of all of them.
        coming: number of nodes on their way, by node type.
        refused: node types that could not be started, with the provider's reason.
        actors: of each stage: those that work, and those that start (or wait for room to).
    """

    waiting: list[tuple[Shape, int]] = field(default_factory=list)
    nodes: int = 0
    most: Shape = field(default_factory=dict)
    total: Shape = field(default_factory=dict)
    coming: dict[str, int] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    actors: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def without_room(self) -> Shape:
        """The amount of CPUs, GPUs and other resources that found no room."""
        amounts: Shape = {"CPU": 0.0, "GPU": 0.0}
        for shape, count in self.waiting:
            for name, amount in shape.items():
                amounts[name] = amounts.get(name, 0.0) + amount * count
        return amounts

    @property
    def impossible(self) -> list[str]:
        """Resources that something waits for, although no node has as much of them and none is on its way."""
        if self.coming:
            return []
        short: Shape = {}
        for shape, _ in self.waiting:
            missing = {name: amount for name, amount in shape.items() if amount > self.most.get(name, 0.0)}
            short |= {name: max(amount, short.get(name, 0.0)) for name, amount in missing.items()}
        return [f"{amount:g} {name}" for name, amount in sorted(short.items())]


def look() -> Demand | None:
    """The demand of this process's cluster now; None if its head does not answer."""
    from pipeline.cluster import ray_private

    try:
        reply, report = ray_private.cluster_status(SECONDS)
        stages = ray_private.actors()
    except Exception:  # of Ray, whose errors have no common class; a run must not end because it cannot report
        return None
    return demand(reply, report, stages)


def demand(reply: Any, report: dict[str, Any], stages: list[tuple[str, str]]) -> Demand:
    """Make a Demand of Ray's own records; see `ray_private.cluster_status` and `ray_private.actors`."""
    cluster, scaler = reply.cluster_resource_state, reply.autoscaling_state
    states = type(cluster).DESCRIPTOR.file.enum_types_by_name["NodeStatus"].values_by_name
    nodes = [one for one in cluster.node_states if one.status != states["DEAD"].number]
    most: Shape = {}
    for node in nodes:
        for name, amount in node.total_resources.items():
            most[name] = max(amount, most.get(name, 0.0))
    total = {name: sum(node.total_resources.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU")}
    coming = Counter(report.get("pending_launches") or {})
    coming.update(kind for _, kind, _ in report.get("pending_nodes") or [])
    coming.update({one.ray_node_type_name: one.count for one in scaler.pending_instance_requests})
    coming.update(one.ray_node_type_name for one in scaler.pending_instances)
    refused = {one.ray_node_type_name: one.reason for one in scaler.failed_instance_requests} | _refused(report)
    waiting: Counter[tuple[tuple[str, float], ...]] = Counter()
    for one in cluster.pending_resource_requests:
        waiting[tuple(sorted(one.request.resources_bundle.items()))] += one.count
    shapes = [(dict(shape), count) for shape, count in waiting.items()]
    return Demand(shapes, len(nodes), most, total, +coming, refused, _actors(stages))


def _refused(report: dict[str, Any]) -> dict[str, str]:
    found = (report.get("node_availability_summary") or {}).get("node_availabilities") or {}
    reasons = {kind: one.get("unavailable_node_information") or {} for kind, one in found.items()}
    return {
        kind: reasons[kind].get("description") or "no reason given" for kind in found if not found[kind]["is_available"]
    }


def _actors(stages: list[tuple[str, str]]) -> dict[str, tuple[int, int]]:
    counts: dict[str, list[int]] = {}
    for kind, state in stages:
        if stage := ACTOR.search(kind):
            counts.setdefault(stage[1].lower(), [0, 0])[state != "ALIVE"] += 1
    return {stage: (work, start) for stage, (work, start) in sorted(counts.items())}
