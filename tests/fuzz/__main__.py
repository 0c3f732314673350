"""Campaigns by hand: see `tests.fuzz`."""

from __future__ import annotations

import argparse
import sys

from ..fixtures.fuzz_app import STORES
from ..serve import ADAPTERS, SERVERS
from .campaign import Options, Result, attack, serve
from .sessions import NAMES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Attacks real servers.")
    parser.add_argument("--requests", type=int, default=10_000, help="in all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--adapter", default="all", metavar="NAME[,NAME...]", help=f"of {', '.join(ADAPTERS)}; or all")
    parser.add_argument("--server", choices=SERVERS, help="default: the adapter's first one")
    parser.add_argument("--store", default="all", metavar="NAME[,NAME...]", help=f"of {', '.join(STORES)}; or all")
    parser.add_argument("--connections", type=int, default=16, help="sessions at the same time (default: %(default)s)")
    parser.add_argument(
        "--deadline", type=float, default=60.0, help="seconds that an exchange may take (default: %(default)s)"
    )
    parser.add_argument("--first", type=int, default=0, help="the first session's number, to repeat one")
    parser.add_argument("--only", choices=NAMES, help="the one kind of session to play")
    arguments = parser.parse_args()
    adapters = list(ADAPTERS) if arguments.adapter == "all" else arguments.adapter.split(",")
    stores = list(STORES) if arguments.store == "all" else arguments.store.split(",")
    for name in (*(set(adapters) - set(ADAPTERS)), *(set(stores) - set(STORES))):
        parser.error(f"there is no {name!r}")
    share, total = -(-arguments.requests // (len(adapters) * len(stores))), Result()
    for adapter in adapters:
        with serve(adapter, arguments.server) as server:
            for store in stores:
                result = attack(
                    server,
                    Options(
                        requests=share,
                        adapter=adapter,
                        store=store,
                        seed=arguments.seed,
                        first=arguments.first,
                        server=arguments.server,
                        connections=arguments.connections,
                        deadline=arguments.deadline,
                        only=arguments.only,
                    ),
                )
                print(f"{adapter}, {store}: {result.summary()}", flush=True)
                for text in (*result.faults, *result.tracebacks[:5]):
                    print(f"    {text}", flush=True)
                total.merge(result)
    print(f"in all: {total.summary()}", flush=True)
    return 0 if total.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
