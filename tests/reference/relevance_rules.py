"""Rules of relevance as their definitions read: dense matrices of z_ij in float64, one layer, one study at a time."""

import itertools

import numpy as np

STABILISER = 1e-6


def dense_convolution(weight, size, stride=(1, 1, 1), padding=(0, 0, 0)):
    """w_ij of a convolution, inputs (channel, x, y, z) by outputs (channel, x, y, z), both flattened."""
    out_channels, in_channels, *kernel = weight.shape
    out = [(n + 2 * p - k) // s + 1 for n, p, k, s in zip(size, padding, kernel, stride, strict=True)]
    matrix = np.zeros((in_channels, *size, out_channels, *out))
    connected = np.zeros_like(matrix, dtype=bool)
    for place in itertools.product(*map(range, out)):
        for offset in itertools.product(*map(range, kernel)):
            source = tuple(o * s - p + k for o, s, p, k in zip(place, stride, padding, offset, strict=True))
            if all(0 <= i < n for i, n in zip(source, size, strict=True)):
                for i, j in itertools.product(range(in_channels), range(out_channels)):
                    matrix[(i, *source, j, *place)] = weight[(j, i, *offset)]
                    connected[(i, *source, j, *place)] = True
    rows = in_channels * int(np.prod(size))
    return matrix.reshape(rows, -1), connected.reshape(rows, -1), tuple(out)


def sign(values):
    """+1 for zero and above, else -1."""
    return np.where(values >= 0, 1.0, -1.0)


def shared(z, denominator, relevance, stabiliser=STABILISER):
    """sum_j z_ij / (d_j + s sign(d_j)) R_j."""
    return (z / (denominator + stabiliser * sign(denominator)) * relevance).sum(axis=1)


def epsilon(a, w, b, relevance, amount):
    z = a[:, None] * w
    return shared(z, z.sum(axis=0) + b, relevance, amount)


def alpha_beta(a, w, b, relevance, alpha):
    z = a[:, None] * w
    positive, negative = np.maximum(z, 0), np.minimum(z, 0)
    gain = shared(positive, positive.sum(axis=0) + np.maximum(b, 0), relevance)
    loss = shared(negative, negative.sum(axis=0) + np.minimum(b, 0), relevance)
    return alpha * gain - (alpha - 1) * loss


def gamma(a, w, b, relevance, amount, directions=(1.0, -1.0), active=None):
    """Where z_j > 0 the parts that raise it are enhanced, where z_j < 0 those that lower it."""
    z = a[:, None] * w
    result = np.zeros_like(a)
    for direction in directions:
        enhanced = z + amount * direction * np.maximum(direction * z, 0)
        bias = b + amount * direction * np.maximum(direction * b, 0)
        passing = direction * (z.sum(axis=0) + b) > 0 if active is None else active
        result += shared(enhanced, enhanced.sum(axis=0) + bias, relevance * passing)
    return result


def zero(a, w, b, relevance):
    z = a[:, None] * w
    return shared(z, z.sum(axis=0) + b, relevance)


def box(a, w, relevance, low, high):
    """The z^B rule: a_i w_ij - l w_ij+ - h w_ij-."""
    z = a[:, None] * w - low * np.maximum(w, 0) - high * np.minimum(w, 0)
    return shared(z, z.sum(axis=0), relevance)


def w_square(a, w, b, relevance):
    return shared(w**2, (w**2).sum(axis=0) + b**2, relevance)


def flat(connected, relevance):
    z = connected.astype(float)
    return shared(z, z.sum(axis=0), relevance)


def pooled(size, pool):
    """Which voxels a block averages; blocks at the upper edges are cut."""
    out = [-(-n // pool) for n in size]
    matrix = np.zeros((*size, *out), dtype=bool)
    for voxel in itertools.product(*map(range, size)):
        matrix[(*voxel, *(i // pool for i in voxel))] = True
    return matrix.reshape(int(np.prod(size)), -1), tuple(out)


def explain(layers, image, start, *, alpha=2.0, epsilon_amount=1e-4, bias=True):
    """Relevance of an image (x, y, z) by the paper's rules.

    `layers` in forward order: ("pool", edge), ("convolution", weight, bias) or ("linear", weight, bias), each layer
    with weights but the last followed by ReLU; `start` gives the relevance of the outputs from the outputs.
    """
    convolutions = sum(kind == "convolution" for kind, *_ in layers)
    a, size, seen, steps = image.reshape(-1), image.shape, 0, []
    for number, (kind, *parameters) in enumerate(layers):
        if kind == "pool":
            connected, size = pooled(size, parameters[0])
            steps.append(lambda r, c=connected: flat_blocks(c, r))
            a = (connected * a[:, None]).sum(axis=0) / connected.sum(axis=0)
            continue
        weight, offset = parameters
        if kind == "convolution":
            w, connected, size = dense_convolution(weight, size)
            b = np.repeat(offset, int(np.prod(size)))
        else:
            w, b = weight.T, offset
        kept = b if bias else np.zeros_like(b)
        if kind == "linear":
            steps.append(lambda r, a=a, w=w, b=kept: epsilon(a, w, b, r, epsilon_amount))
        elif seen < convolutions // 2:
            steps.append(lambda r, c=connected: flat(c, r))
        else:
            steps.append(lambda r, a=a, w=w, b=kept: alpha_beta(a, w, b, r, alpha))
        seen += kind == "convolution"
        a = a @ w + b
        if number < len(layers) - 1:
            a = np.maximum(a, 0)
    relevance = start(a)
    sums = [relevance.sum()]
    for step in reversed(steps):
        relevance = step(relevance)
        sums.append(relevance.sum())
    return a, relevance.reshape(image.shape), np.array(sums)


def flat_blocks(connected, relevance):
    """Average pooling: z_ij = 1 / n_j, whose sum is one."""
    z = connected / connected.sum(axis=0)
    return shared(z, z.sum(axis=0), relevance)
