"""FID: the distance of Gaussians in closed form, and features as pytorch-fid computes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import pytorch_fid.inception
import torch

from interlcm.fid import Moments, frechet_distance, inception, inception_features, load_inception
from interlcm.weights_index import WeightsError
from tests.support.parts import listed


def moments(features: torch.Tensor, batch: int = 7) -> Moments:
    made = Moments()
    for part in features.split(batch):
        made.add(part)
    return made


def with_moments(mean: np.ndarray, covariance: np.ndarray, count: int = 64) -> torch.Tensor:
    """(count, D) features whose mean and covariance are exactly these."""
    raw = np.random.default_rng(0).normal(size=(count, len(mean)))
    raw -= raw.mean(0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw.T))).T
    return torch.from_numpy(white @ np.linalg.cholesky(covariance).T + mean)


def test_moments_are_those_of_all_features_at_once() -> None:
    features = torch.randn(50, 6) * 3 + 100
    made = moments(features)
    assert made.mean.numpy() == pytest.approx(features.double().mean(0).numpy())
    assert made.covariance.numpy() == pytest.approx(np.cov(features.double().numpy().T), abs=1e-8)


def test_distance_is_the_closed_form_where_covariances_commute() -> None:
    """For commuting covariances, the distance follows from the eigenvalues: |m|^2 + sum (sqrt(a) - sqrt(b))^2."""
    basis, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))
    a, b = np.array([1.0, 4, 9, 0.25, 2]), np.array([4.0, 1, 16, 2.25, 2])
    shift = np.array([3.0, 0, -1, 0, 2])
    one = moments(with_moments(np.zeros(5), basis @ np.diag(a) @ basis.T))
    other = moments(with_moments(shift, basis @ np.diag(b) @ basis.T))
    expected = 14 + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    assert frechet_distance(one, other) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(other, one) == pytest.approx(expected, rel=1e-6)


def test_distance_is_that_of_2_by_2_matrices_that_do_not_commute() -> None:
    """For 2 x 2 matrices, tr (AB)^(1/2) = sqrt(tr AB + 2 sqrt(det AB))."""
    a, b = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[1.0, -0.3], [-0.3, 3.0]])
    expected = np.trace(a + b) - 2 * np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a @ b)))
    zero = np.zeros(2)
    made = frechet_distance(moments(with_moments(zero, a)), moments(with_moments(zero, b)))
    assert made == pytest.approx(expected, rel=1e-6)


def test_fewer_pictures_than_features_give_a_number() -> None:
    features = torch.randn(4, 30)
    assert frechet_distance(moments(features), moments(features)) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(moments(features), moments(features + 1)) == pytest.approx(30, rel=1e-6)
    with pytest.raises(ValueError, match="two features"):
        frechet_distance(moments(features[:1]), moments(features))


def test_features_are_those_of_pytorch_fid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    state = inception().state_dict()
    torch.save(state, tmp_path / "inception.pth")
    monkeypatch.setattr(pytorch_fid.inception, "load_state_dict_from_url", lambda *_, **__: state)
    published = pytorch_fid.inception.InceptionV3().eval()
    faces = torch.rand(2, 3, 96, 96)
    with torch.inference_mode():
        expected = published(faces)[0].flatten(1)
        found = inception_features(load_inception(listed(tmp_path), "inception.pth"), faces * 2 - 1)
    assert found.shape == (2, 2048)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "inception.pth")
    with pytest.raises(WeightsError, match="does not hold the weights of FID's Inception"):
        load_inception(listed(tmp_path), "inception.pth")
