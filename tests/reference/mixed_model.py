"""The random-intercept model with its matrices written out, slowly."""

import numpy as np
from scipy.optimize import minimize_scalar


def fit(
    y: np.ndarray, x: np.ndarray, site: np.ndarray, sites: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float, float]:
    """Give coefficients, their covariance, site effects, residual and site variance.

    The residual variance is that of a fit with fixed sites; the site variance maximises the restricted likelihood plus
    the log of its root.
    """
    z = np.eye(sites)[site]
    fixed = np.column_stack([z, x[:, 1:]])
    rest = y - fixed @ np.linalg.lstsq(fixed, y, rcond=None)[0]
    residual = float(rest @ rest / (y.size - np.linalg.matrix_rank(fixed)))

    def covariance(between: float) -> np.ndarray:
        return residual * np.eye(y.size) + between * z @ z.T

    def loss(log_variance: float) -> float:
        v = covariance(np.exp(log_variance))
        information = x.T @ np.linalg.solve(v, x)
        b = np.linalg.solve(information, x.T @ np.linalg.solve(v, y))
        r = y - x @ b
        likelihood = np.linalg.slogdet(v)[1] + np.linalg.slogdet(information)[1] + r @ np.linalg.solve(v, r)
        return float(likelihood - log_variance)

    found = float(np.exp(minimize_scalar(loss, bounds=(-12, 5), method="bounded", options={"xatol": 1e-9}).x))
    v = covariance(found)
    cov = np.linalg.inv(x.T @ np.linalg.solve(v, x))
    b = cov @ x.T @ np.linalg.solve(v, y)
    u = found * z.T @ np.linalg.solve(v, y - x @ b)
    return b, cov, u, residual, found


def prediction_variance(
    x: np.ndarray, site: np.ndarray, sites: int, residual: float, between: float, row: np.ndarray, at: int
) -> float:
    """Give the variance of a new study about its prediction, from Henderson's mixed model equations."""
    design = np.column_stack([x, np.eye(sites)[site]])
    equations = design.T @ design / residual
    equations[x.shape[1] :, x.shape[1] :] += np.eye(sites) / between
    new = np.concatenate([row, np.eye(sites)[at]])
    return float(residual + new @ np.linalg.solve(equations, new))
