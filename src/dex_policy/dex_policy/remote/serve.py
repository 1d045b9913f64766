# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: T201 - a command-line tool
"""``dex serve``: verified bundles as the repository of an existing inference server, and that server started on it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import dex_core
import dex_policy
from dex_core.bundle import LoadOptions, load_bundle
from dex_core.config.policy_server import parse_url
from dex_core.errors import ConfigError
from dex_policy.remote.repository import LAYOUTS, write_repository

ENVIRONMENT = ".venv-serve"
EXAMPLES = """examples:
  dex serve xl_vla_tabletop --out /tmp/serving --run       MLServer on this machine, HTTP 8080 and gRPC 8081
  dex up policy_server:=http://127.0.0.1:8080              a cell whose policy it runs, in a second terminal
  dex serve xl_vla_tabletop --out repository --layout triton
  tritonserver --model-repository repository               Triton on a machine with a GPU

Exit code: 0 written (or the server ended well), 1 a bundle is refused, 2 wrong use."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="dex serve",
        description="Writes bundles as the model repository of an Open Inference Protocol server (MLServer or Triton), for robots that run them "
        "from elsewhere. Every check of a bundle must pass first.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("bundle", nargs="+", help="name under models/ or path")
    top.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the repository; made where it is missing")
    top.add_argument("--layout", default="mlserver", choices=LAYOUTS, help="whose repository (default: %(default)s)")
    top.add_argument("--host", default="127.0.0.1", help="where MLServer listens (default: %(default)s, this machine alone)")
    top.add_argument("--http-port", type=int, default=8080, metavar="N", help="default: %(default)s")
    top.add_argument("--grpc-port", type=int, default=8081, metavar="N", help="default: %(default)s")
    top.add_argument("--insecure", action="store_true", help="listen for other machines: MLServer has neither TLS nor tokens, put a proxy before it")
    top.add_argument("--provider", default="auto", choices=("auto", "cpu", "cuda", "tensorrt"), help="what runs the graphs (default: %(default)s)")
    top.add_argument("--threads", type=int, default=1, metavar="N", help="threads of one inference (default: %(default)s)")
    top.add_argument("--run", action="store_true", help=f"then start MLServer, from {ENVIRONMENT} (make serve-env)")
    return top


def main(argv: Sequence[str]) -> int:
    """Writes the repository; with ``--run`` becomes MLServer. Raises BundleError or ConfigError."""
    options = parser().parse_args(list(argv))
    if options.run and options.layout != "mlserver":
        raise ConfigError("--run starts MLServer; for Triton:  tritonserver --model-repository " + str(options.out))
    if not parse_url(f"http://{_in_url(options.host)}").is_here and not options.insecure:
        raise ConfigError(f"--host {options.host}: MLServer has neither TLS nor tokens; put a proxy before it, or write --insecure")
    server = find_mlserver() if options.run else None
    bundles = [load_bundle(name, LoadOptions(provider=options.provider, threads=options.threads)) for name in options.bundle]
    names = write_repository(
        bundles, options.out, options.layout, host=options.host, http_port=options.http_port, grpc_port=options.grpc_port,
        provider=options.provider, threads=options.threads,
    )
    for bundle in bundles:
        print(f"{bundle.manifest.name} {bundle.manifest.version}, hash {bundle.hash}")
    for name in names:
        print(f"  {options.out / name}")
    if server is None:
        return 0
    print(f"MLServer on http://{_in_url(options.host)}:{options.http_port} and grpc://{_in_url(options.host)}:{options.grpc_port}; Ctrl-C ends it")
    sys.stdout.flush()
    os.execve(server, [str(server), "start", str(options.out)], serving_environment())


def find_mlserver() -> Path:
    """MLServer's command: of this environment, of ``.venv-serve`` beside it, or ``DEX_MLSERVER``. Raises ConfigError saying how to get it."""
    here = Path(sys.prefix)
    places = [Path(os.environ["DEX_MLSERVER"])] if os.environ.get("DEX_MLSERVER") else []
    places += [here / "bin" / "mlserver", here.parent / ENVIRONMENT / "bin" / "mlserver", Path(ENVIRONMENT, "bin", "mlserver").absolute()]
    for place in places:
        if place.is_file():
            return place
    raise ConfigError(f"there is no MLServer; make serve-env  installs it into {ENVIRONMENT} (looked in {[str(p) for p in places]})")


def serving_environment() -> dict[str, str]:
    """The environment MLServer is started in: it finds the stack's sources, as it lives in a virtual environment of its own."""
    sources = [str(Path(package.__file__ or "").parents[1]) for package in (dex_core, dex_policy)]
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONHOME", "VIRTUAL_ENV")}
    return {**kept, "PYTHONPATH": os.pathsep.join(sources)}


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
