"""Small pools for hypothesis, rectangular and ragged."""

import numpy as np
from hypothesis import strategies as st


@st.composite
def pools(draw, max_prompts=3, max_pool=7):
    """Small pools of small integers, so that ties are common and sums are exact."""
    shape = draw(st.integers(1, max_prompts)), draw(st.integers(1, max_pool))
    size = shape[0] * shape[1]
    proxy = draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    values = draw(st.lists(st.integers(-8, 8), min_size=size, max_size=size))
    return np.reshape(proxy, shape).astype(float), np.reshape(values, shape).astype(float)


def every_n(proxy):
    return list(range(1, proxy.shape[1] + 1))


@st.composite
def ragged_pools(draw):
    """Flat proxy, values, and sizes of up to six prompts, in any order of size."""
    cases = draw(st.lists(pools(max_prompts=1), min_size=1, max_size=6))
    proxy, values = (np.concatenate([case[i].ravel() for case in cases]) for i in (0, 1))
    return proxy, values, np.array([case[0].size for case in cases])


def one_by_one(proxy, values, sizes):
    ends = np.cumsum(sizes)
    return [(proxy[end - size : end], values[end - size : end]) for end, size in zip(ends, sizes, strict=True)]
