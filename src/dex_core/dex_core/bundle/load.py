# SPDX-License-Identifier: Apache-2.0
"""Loads a bundle: every check in a fixed order, the first failure refuses it; nothing is repaired, nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

from dex_core.bundle.checks import CHECKS
from dex_core.bundle.loaded import Bundle, CheckResult, LoadOptions
from dex_core.config.paths import find_share
from dex_core.errors import BundleError, ConfigError

__all__ = ["CHECKS", "Bundle", "CheckResult", "LoadOptions", "find_bundle", "load_bundle", "verify_bundle"]
DEFAULT = LoadOptions()


def find_bundle(path_or_name: str | Path) -> Path:
    """The folder of a bundle: a path, or a name under ``models/``. Raises ConfigError with what there is."""
    path = Path(path_or_name)
    if path.is_dir():
        return path.resolve()
    if path.name == "manifest.yaml" and path.is_file():
        return path.parent.resolve()
    if len(path.parts) == 1:
        return find_share("models", path.name).resolve()
    raise ConfigError(f"bundle {str(path_or_name)!r}: no such folder")


def verify_bundle(path_or_name: str | Path, options: LoadOptions = DEFAULT) -> tuple[Bundle, BundleError | None]:
    """Runs the checks in order up to the first failure; ``bundle.report`` holds every one, later ones with ``ok`` None.

    Returns:
        The bundle (complete only without an error) and the error, or None. A p99 above the budget is reported as a failed
        check but refuses only when ``options.enforce_speed``.
    """
    bundle = Bundle(find_bundle(path_or_name), options)
    refusal: BundleError | None = None
    for number, name, codes, check in CHECKS:
        if refusal is not None:
            bundle.report.append(CheckResult(number, name, codes, None, "not reached"))
            continue
        try:
            bundle.report.append(CheckResult(number, name, codes, True, check(bundle)))
        except BundleError as error:
            bundle.report.append(CheckResult(number, name, codes, False, str(error), error.code))
            if not (error.code == "too_slow" and name == "speed") or options.enforce_speed:
                refusal = error
    return bundle, refusal


def load_bundle(path_or_name: str | Path, options: LoadOptions = DEFAULT) -> Bundle:
    """A verified bundle, ready to run.

    Raises:
        BundleError: the first failed check; ``code`` is its reason.
        ConfigError: there is no such bundle.
    """
    bundle, refusal = verify_bundle(path_or_name, options)
    if refusal is not None:
        raise refusal
    return bundle
