"""A GPU's work of one step, recorded once and started again by one call: a host starts some 60 kernels in 1 to 3 ms.

What is recorded must be sure to do the same kernels each time, whatever the numbers: no decision of the host, no
waiting for the GPU, and nothing that doing it twice would change.
"""

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")


class Recording(NamedTuple, Generic[Result]):
    """A graph that reads `x` and writes `result`."""

    graph: Any
    x: Tensor
    result: Result


class Replay(Generic[Result]):
    """Runs a function of one tensor by a recording of it, made at the first call for a shape and `key`.

    Results are overwritten by the next call. Also the first call's come from the recording, so that a step's bits do
    not depend on when a process began.
    """

    def __init__(self) -> None:
        self._recordings: dict[tuple[object, ...], Recording[Result]] = {}

    def __call__(self, function: Callable[[Tensor], Result], x: Tensor, key: object) -> Result:
        """`function` of `x`, which must stay the same function for one `key`."""
        place = (x.shape, key)
        if place not in self._recordings:
            self._recordings[place] = _recorded(function, x.clone())
        recording = self._recordings[place]
        recording.x.copy_(x)
        recording.graph.replay()
        return recording.result

    def __deepcopy__(self, memo: dict[int, object]) -> "Replay[Result]":
        return Replay()


def _recorded(function: Callable[[Tensor], Result], x: Tensor) -> Recording[Result]:
    """Runs `function` once before it records, so that kernels are compiled and libraries set up."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        function(x)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        result = function(x)
    return Recording(graph, x, result)
