"""One thread for each operation: on a busy machine, waiting for a second one costs 20 times the work."""

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    """Fresh weights and inputs are the same in every run, alone or after other tests."""
    torch.manual_seed(0)
