"""Use one thread per operation: on a busy machine, waiting for a second thread takes 20 times as long as the work."""

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    """Make fresh weights and inputs the same in every run, alone or after other tests."""
    torch.manual_seed(0)
