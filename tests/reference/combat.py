"""ComBat step by step, as Johnson et al. (Biostatistics 2007) print it."""

import numpy as np


def harmonise(y: np.ndarray, batch: np.ndarray, covariates: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give location and scale (batch, feature), and the adjusted data with the covariates' effects put back."""
    studies, features = y.shape
    batches = np.unique(batch)
    # Step 1: standardise.
    design = np.column_stack([(batch == b).astype(float) for b in batches] + [covariates])
    z, alpha, sigma = np.empty_like(y), np.empty(features), np.empty(features)
    fitted = np.empty_like(y)
    for g in range(features):
        coefficient = np.linalg.inv(design.T @ design) @ design.T @ y[:, g]
        alpha[g] = sum((batch == b).sum() / studies * coefficient[i] for i, b in enumerate(batches))
        sigma[g] = np.sqrt(np.sum((y[:, g] - design @ coefficient) ** 2) / studies)
        fitted[:, g] = covariates @ coefficient[len(batches) :]
        z[:, g] = (y[:, g] - alpha[g] - fitted[:, g]) / sigma[g]
    # Step 2: empirical Bayes; step 3: adjust.
    gammas, deltas, adjusted = [], [], np.empty_like(y)
    for b in batches:
        rows = z[batch == b]
        n = len(rows)
        gamma_hat, delta_hat = rows.mean(axis=0), rows.var(axis=0, ddof=1)
        gamma_bar, tau2 = gamma_hat.mean(), gamma_hat.var(ddof=1)
        v, s2 = delta_hat.mean(), delta_hat.var(ddof=1)
        lam, theta = (v**2 + 2 * s2) / s2, (v**3 + v * s2) / s2
        gamma, delta = np.empty(features), np.empty(features)
        for g in range(features):
            gamma[g], delta[g] = gamma_hat[g], delta_hat[g]
            for _ in range(2000):
                new = (n * tau2 * gamma_hat[g] + delta[g] * gamma_bar) / (n * tau2 + delta[g])
                delta[g] = (theta + 0.5 * np.sum((rows[:, g] - new) ** 2)) / (n / 2 + lam - 1)
                gamma[g] = new
        gammas.append(gamma)
        deltas.append(np.sqrt(delta))
        adjusted[batch == b] = sigma * (rows - gamma) / np.sqrt(delta) + alpha + fitted[batch == b]
    return np.stack(gammas), np.stack(deltas), adjusted
