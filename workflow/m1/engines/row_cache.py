"""The key-value cache of a batch whose rows come and go, and the memory that it may use."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

SPARE = 64
"""Columns beyond the longest row. Rows are moved back once in this many steps, so the copy costs next to nothing."""
GPU_SHARE = 0.8
"""Share of the GPU's memory that the weights leave free; the rest is for activations."""
CPU_BYTES = 4 << 30
"""Size limit on a CPU; an eighth of the machine's memory, if that is less."""

Kept = list[Any]
"""Keys and values of one row: a tensor of shape (heads, tokens, head size) for each layer and kind."""


def token_bytes(config: Any, dtype: torch.dtype) -> int:
    """Size of one token in the key-value cache of a model, in bytes."""
    config = config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(config.num_hidden_layers * heads * size * 2 * dtype.itemsize)


def cache_bytes(device: str) -> int:
    """Bytes that key-value caches may use on a device (``cuda`` or ``cpu``) that holds the weights already."""
    if device == "cuda":
        return int(GPU_SHARE * torch.cuda.mem_get_info()[0])
    return min(CPU_BYTES, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 8)


def columns_for(tokens: int) -> int:
    """Columns of a cache whose longest row has so many tokens; rounded up, so that caches are rarely made anew."""
    return -(-tokens // SPARE) * SPARE + SPARE


@dataclass
class Window:
    """The part of the cache that a forward pass sees: rows from ``first`` to before ``last``, and the ``width`` columns
    before ``end``, of which it writes the last ``queries``."""

    first: int = 0
    last: int = 0
    width: int = 0
    queries: int = 0
    end: int = 0


class Layer(DynamicLayer):
    """Keys and values of a layer: tensors of shape (rows, heads, columns, head size), which are written in place."""

    def __init__(self, window: Window) -> None:
        super().__init__()
        self.window, self.rows, self.columns = window, 0, 0
        self.buffers: list[Any] = []

    def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Write the new keys and values, and return all that the window shows."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.buffers = [
                # Zeros, since a masked column still enters with weight 0, and 0 times uninitialised memory may be NaN.
                states.new_zeros(self.rows, states.shape[1], self.columns, states.shape[3])
                for states in (key_states, value_states)
            ]
        seen = self.window
        rows, end = slice(seen.first, seen.last), seen.end
        for buffer, states in zip(self.buffers, (key_states, value_states)):
            buffer[rows, :, end - seen.queries : end] = states
        self.keys, self.values = (buffer[rows, :, end - seen.width : end] for buffer in self.buffers)
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Number of the window's columns that were filled before the pass."""
        return self.window.width - self.window.queries


class RowCache(Cache):
    """The cache of a batch: all rows end at the same column, and shorter rows are padded on their left.

    So a further token of every row is one further column, and the masks are those of any left-padded batch, whatever
    the architecture. The rows in use come first.
    """

    def __init__(self, config: Any) -> None:
        self.window, self.rows, self.columns = Window(), 0, 0
        self.parts = [Layer(self.window) for _ in range(config.get_text_config().num_hidden_layers)]
        super().__init__(layers=[*self.parts])

    def resize(self, rows: int, columns: int, used: int, width: int) -> None:
        """Make room for ``rows`` rows of up to ``columns - SPARE`` tokens.

        The first ``used`` rows keep their last ``width`` columns.
        """
        end = columns - SPARE
        old = slice(self.window.end - width, self.window.end)
        for layer in self.parts:
            layer.rows, layer.columns = rows, columns
            for place, buffer in enumerate(layer.buffers):
                live = buffer[:used, :, old]
                if (rows, columns) == (self.rows, self.columns):
                    live, target = live.clone(), buffer
                else:
                    target = buffer.new_zeros(rows, buffer.shape[1], columns, buffer.shape[3])
                target[:used, :, end - width : end] = live
                layer.buffers[place] = target
        self.rows, self.columns, self.window.end = rows, columns, end

    def advance(self, used: int, width: int) -> None:
        """Move on to the next column; ``used`` rows have up to ``width`` tokens so far."""
        if self.window.end == self.columns:
            self.resize(self.rows, self.columns, used, width)
        self.window.end += 1

    def show(self, first: int, last: int, width: int, queries: int) -> None:
        """Set the window of the next forward pass (:class:`Window`)."""
        window = self.window
        window.first, window.last, window.width, window.queries = first, last, width, queries

    def move(self, sources: Sequence[int], targets: Sequence[int], width: int) -> None:
        """Copy rows of up to ``width`` tokens into the places of others."""
        columns = slice(self.window.end - width, self.window.end)
        for layer in self.parts:
            for buffer in layer.buffers:
                for source, target in zip(sources, targets, strict=True):
                    buffer[target, :, columns] = buffer[source, :, columns]

    def copy(self, row: int, length: int, tokens: int) -> Kept:
        """Copy the first ``tokens`` of a row that has ``length`` tokens."""
        start = self.window.end - length
        return [buffer[row, :, start : start + tokens].clone() for layer in self.parts for buffer in layer.buffers]

    def paste(self, row: int, length: int, tokens: int, kept: Kept) -> None:
        """Fill the beginning of a row that will have ``length`` tokens with the first ``tokens`` of a copy."""
        start = self.window.end - length
        buffers = (buffer for layer in self.parts for buffer in layer.buffers)
        for buffer, found in zip(buffers, kept, strict=True):
            buffer[row, :, start : start + tokens] = found[:, :tokens]
