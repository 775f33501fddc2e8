"""The key-value cache of a batch whose rows come and go, and how much of it there is room for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer

SPARE = 64
"""Columns beyond the longest row. Rows are moved back once in as many steps, so that the copy costs next to nothing."""
GPU_SHARE = 0.8
"""Of the GPU's memory that is free beside the weights; the rest is for activations."""
CPU_BYTES = 4 << 30
"""On a CPU, where an eighth of the machine's memory is not less."""

Kept = list[Any]
"""Keys and values of one row, a tensor (heads, tokens, size) for each layer and kind."""


def token_bytes(config: Any, dtype: torch.dtype) -> int:
    """Bytes that one token takes in the key-value cache of a model with this configuration."""
    config = config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(config.num_hidden_layers * heads * size * 2 * dtype.itemsize)


def cache_bytes(device: str) -> int:
    """Bytes that key-value caches may take on a device where the weights are already."""
    if device == "cuda":
        return int(GPU_SHARE * torch.cuda.mem_get_info()[0])
    return min(CPU_BYTES, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 8)


def columns_for(tokens: int) -> int:
    """Columns of a cache whose longest row has so many tokens; rounded, so that few caches are made anew."""
    return -(-tokens // SPARE) * SPARE + SPARE


@dataclass
class Window:
    """What a forward pass sees of the cache: rows from ``first`` to before ``last``, and the ``width`` columns before
    ``end``, of which it writes the last ``queries``."""

    first: int = 0
    last: int = 0
    width: int = 0
    queries: int = 0
    end: int = 0


class Layer(DynamicLayer):
    """Keys and values of a layer, as tensors (rows, heads, columns, size) that are written in place."""

    def __init__(self, window: Window) -> None:
        super().__init__()
        self.window, self.rows, self.columns = window, 0, 0
        self.buffers: list[Any] = []

    def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Write what was computed, and return all that the window shows."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.buffers = [
                # Zeros, since a masked column still counts with weight 0, and 0 times garbage can be NaN.
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
        """Columns of the window that are there before the pass."""
        return self.window.width - self.window.queries


class RowCache(Cache):
    """The cache of a batch: rows that all end at one column, shorter ones padded on their left.

    So one more token of every row is one more column, and the masks are those of any left-padded batch, whatever the
    architecture. The rows in use are the first ones.
    """

    def __init__(self, config: Any) -> None:
        self.window, self.rows, self.columns = Window(), 0, 0
        self.parts = [Layer(self.window) for _ in range(config.get_text_config().num_hidden_layers)]
        super().__init__(layers=[*self.parts])

    def resize(self, rows: int, columns: int, used: int, width: int) -> None:
        """Make room for rows of up to ``columns - SPARE`` tokens. The first ``used`` rows keep their last ``width``
        columns."""
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
        """Go on to the next column; ``used`` rows have up to ``width`` tokens so far."""
        if self.window.end == self.columns:
            self.resize(self.rows, self.columns, used, width)
        self.window.end += 1

    def show(self, first: int, last: int, width: int, queries: int) -> None:
        """Say what the next pass sees, see :class:`Window`."""
        window = self.window
        window.first, window.last, window.width, window.queries = first, last, width, queries

    def move(self, sources: Sequence[int], targets: Sequence[int], width: int) -> None:
        """Move rows of up to ``width`` tokens into the places of others."""
        columns = slice(self.window.end - width, self.window.end)
        for layer in self.parts:
            for buffer in layer.buffers:
                for source, target in zip(sources, targets, strict=True):
                    buffer[target, :, columns] = buffer[source, :, columns]

    def copy(self, row: int, length: int, tokens: int) -> Kept:
        """The first ``tokens`` of a row that has ``length``."""
        start = self.window.end - length
        return [buffer[row, :, start : start + tokens].clone() for layer in self.parts for buffer in layer.buffers]

    def paste(self, row: int, length: int, tokens: int, kept: Kept) -> None:
        """Let a row that will have ``length`` tokens begin with the first ``tokens`` of what was kept."""
        start = self.window.end - length
        buffers = (buffer for layer in self.parts for buffer in layer.buffers)
        for buffer, found in zip(buffers, kept, strict=True):
            buffer[row, :, start : start + tokens] = found[:, :tokens]
