"""Records whose fields are arrays of one length (or scalars), one entry per layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Columns:
    """A record of float64 arrays that broadcast against each other.

    Fields may be given as numbers or arrays; they are stored as arrays of zero or one dimension,
    or of two where a law is asked for all pairs of some values and others.
    """

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, np.ndarray) or value.dtype != np.float64:
                object.__setattr__(self, field.name, np.asarray(value, dtype=np.float64))

    @classmethod
    def make(cls, **values: ArrayLike) -> Self:
        """A record from numbers or arrays by the names of its fields."""
        return cls(**values)

    def take(self, index: Any) -> Self:
        """The entries at ``index`` (integers, a mask or a slice); scalars stay scalars."""
        return type(self)(
            **{
                field.name: value[index] if (value := getattr(self, field.name)).ndim else value
                for field in fields(self)
            }
        )

    @classmethod
    def stack(cls, records: Sequence[Self]) -> Self:
        """One record with an entry for each of ``records``, which hold scalars."""
        return cls(
            **{
                field.name: np.array([float(getattr(r, field.name)) for r in records])
                for field in fields(cls)
            }
        )

    @classmethod
    def join(cls, records: Sequence[Self]) -> Self:
        """One record with the entries of all ``records``, one after the other."""
        sizes = [record.length for record in records]

        def column(name: str) -> Array:
            values = [getattr(record, name) for record in records]
            return np.concatenate(
                [
                    value if value.shape == (size,) else np.full(size, value)
                    for value, size in zip(values, sizes, strict=True)
                ]
            )

        return cls(**{field.name: column(field.name) for field in fields(cls)})

    @property
    def length(self) -> int:
        """Entries of the longest field; 1 for scalars."""
        values = (getattr(self, field.name) for field in fields(self))
        return max((int(value.size) for value in values if value.ndim), default=1)

    @property
    def scalar(self) -> bool:
        """Whether every field is a single number."""
        return all(getattr(self, field.name).ndim == 0 for field in fields(self))


def ceil_div(a: Array, b: Array | float) -> Array:
    """The smallest whole number not below a / b."""
    return np.ceil(np.asarray(a) / b - 1e-12)
