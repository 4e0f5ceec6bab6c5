"""What a cluster is asked for: of a real one, and of Ray's own records with autoscalers of both versions."""

from __future__ import annotations

import time
from typing import Any

import pytest
from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply, NodeStatus  # type: ignore[attr-defined]

from pipeline.cluster.demand import Demand, demand, look


@pytest.mark.usefixtures("ray_cluster")
def test_a_task_that_no_node_can_take() -> None:
    import ray

    @ray.remote(num_cpus=0.5, num_gpus=3)
    def never() -> None:
        pass

    waits = never.remote()
    end = time.monotonic() + 300
    while not (found := look()) or not found.impossible:
        assert time.monotonic() < end, found
        time.sleep(0.5)
    ray.cancel(waits, force=True)
    assert ({"CPU": 0.5, "GPU": 3.0}, 1) in found.waiting
    assert found.impossible == ["3 GPU"]
    assert (found.nodes, found.coming) == (1, {})
    assert found.most["CPU"] >= 4


def reply(*, coming: bool = False) -> Any:
    found = GetClusterStatusReply()
    for status, cpus, gpus in ((NodeStatus.RUNNING, 16, 0), (NodeStatus.IDLE, 4, 1), (NodeStatus.DEAD, 64, 8)):
        resources = {"CPU": cpus, "GPU": gpus, "object_store_memory": 5e9}
        found.cluster_resource_state.node_states.add(status=status, total_resources=resources)
    for count in (3, 2):  # of one shape, as two nodes reported it
        waits = found.cluster_resource_state.pending_resource_requests.add(count=count)
        waits.request.resources_bundle.update({"CPU": 1.0, "GPU": 2.0})
    if coming:
        found.autoscaling_state.pending_instance_requests.add(ray_node_type_name="gpu", count=4)
        found.autoscaling_state.pending_instances.add(ray_node_type_name="gpu")
        found.autoscaling_state.failed_instance_requests.add(ray_node_type_name="big", reason="no capacity")
    return found


def test_records_without_an_autoscaler() -> None:
    actors = [
        ("MapWorker(MapBatches(Detect))", "ALIVE"),
        ("MapWorker(MapBatches(Detect))", "PENDING_CREATION"),
        ("MapWorker(MapBatches(Restore))", "RESTARTING"),
        ("Ledger", "ALIVE"),
    ]
    found = demand(reply(), {}, actors)
    assert found == Demand(
        waiting=[({"CPU": 1.0, "GPU": 2.0}, 5)],
        nodes=2,
        most={"CPU": 16.0, "GPU": 1.0, "object_store_memory": 5e9},
        total={"CPU": 20.0, "GPU": 1.0},
        actors={"detect": (1, 1), "restore": (0, 1)},
    )
    assert found.impossible == ["2 GPU"]
    assert found.without_room == {"CPU": 5.0, "GPU": 10.0}
    assert Demand().without_room == {"CPU": 0.0, "GPU": 0.0}


FIRST_VERSION = {
    "pending_launches": {"gpu": 4},
    "pending_nodes": [["10.0.0.1", "gpu", "setting-up"]],
    "node_availability_summary": {
        "node_availabilities": {
            "big": {"is_available": False, "unavailable_node_information": {"description": "no capacity"}},
            "gpu": {"is_available": True, "unavailable_node_information": None},
        }
    },
}


@pytest.mark.parametrize("found", [demand(reply(coming=True), {}, []), demand(reply(), FIRST_VERSION, [])])
def test_records_of_an_autoscaler(found: Demand) -> None:
    assert (found.coming, found.refused, found.impossible) == ({"gpu": 5}, {"big": "no capacity"}, [])
