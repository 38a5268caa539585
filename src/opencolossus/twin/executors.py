"""Where seeds are played when one machine is not enough: a cluster of Dask or Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from opencolossus.specs.errors import UserError


class Dask:
    """A Dask cluster, by the address of its scheduler.

    Raises:
        UserError: Dask is not installed, or nobody answers.
    """

    def __init__(self, address: str) -> None:
        try:
            import distributed
        except ImportError:
            raise UserError(
                "playing on Dask needs its package: pip install 'opencolossus[sweep]'"
            ) from None
        try:
            client: Any = distributed.Client
            self._client = client(address, timeout=10)
        except (OSError, ValueError) as error:
            raise UserError(f"no Dask scheduler answers at {address}: {error}") from None

    def map(self, function: Callable[[int], Any], seeds: Iterable[int], /) -> list[Any]:
        """Results of ``function`` for all seeds, in order; the connection ends with them."""
        with self._client as client:
            return list(client.gather(client.map(function, list(seeds), pure=False)))


class Ray:
    """A Ray cluster, by its address (``auto`` for the one that runs on this machine).

    Raises:
        UserError: Ray is not installed, or nobody answers.
    """

    def __init__(self, address: str) -> None:
        try:
            import ray
        except ImportError:
            raise UserError(
                "playing on Ray needs its package: pip install 'opencolossus[ray]'"
            ) from None
        self._ray: Any = ray
        try:
            self._ray.init(address=address, log_to_driver=False, ignore_reinit_error=True)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise UserError(
                f"no Ray cluster answers at {address}: {reason}; if it asks for a token, "
                f"set the same RAY_AUTH_TOKEN here"
            ) from None

    def map(self, function: Callable[[int], Any], seeds: Iterable[int], /) -> list[Any]:
        """Results of ``function`` for all seeds, in order; the function travels once."""
        shared = self._ray.put(function)
        task = self._ray.remote(_apply)
        return list(self._ray.get([task.remote(shared, seed) for seed in seeds]))


def _apply(function: Callable[[int], Any], seed: int) -> Any:
    """A plain function, which is what Ray takes."""
    return function(seed)


def executor(address: str) -> Dask | Ray:
    """The cluster at ``dask://host:port``, ``tcp://host:port`` (Dask) or ``ray://host:port``.

    Raises:
        UserError: the address is of neither kind, or nobody answers.
    """
    kind, found, rest = address.partition("://")
    if found and kind == "ray":
        return Ray("auto" if rest == "auto" else address)
    if found and kind in ("dask", "tcp", "tls"):
        return Dask(address if kind != "dask" else f"tcp://{rest}")
    raise UserError(f"--on {address}: write it like dask://host:8786 or ray://host:10001")
