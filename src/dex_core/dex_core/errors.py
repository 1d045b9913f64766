# SPDX-License-Identifier: Apache-2.0
"""One family of errors; each names the value, the place and what is allowed, and keeps the evidence."""

from __future__ import annotations

from collections.abc import Iterable


class DexError(Exception):
    """Base of every error this project raises on purpose.

    Attributes:
        code: short machine-readable reason, e.g. ``state_stale``; goes into reports and diagnostics.
    """

    code = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class ConfigError(DexError):
    """A configuration file or argument is wrong: names the file, the key and the allowed values."""

    code = "config_invalid"


class JointNameError(DexError):
    """Joint names do not match: unknown, missing or repeated."""

    code = "joint_names"

    def __init__(self, where: str, got: Iterable[str], expected: Iterable[str]) -> None:
        self.got = tuple(got)
        self.expected = tuple(expected)
        missing = [n for n in self.expected if n not in self.got]
        unknown = [n for n in self.got if n not in self.expected]
        repeated = sorted({n for n in self.got if self.got.count(n) > 1})
        parts = [
            f"{label} {names}"
            for label, names in (("missing", missing), ("unknown", unknown), ("repeated", repeated))
            if names
        ]
        super().__init__(f"{where}: joint names do not match: {'; '.join(parts) or 'other order'}; expected {list(self.expected)}")


class NonFiniteError(DexError):
    """A number is NaN or infinite where a finite one is required."""

    code = "non_finite"


class ShapeError(DexError):
    """An array has the wrong shape or type."""

    code = "shape"


class StaleError(DexError):
    """Something is older than allowed; says what, how old and the limit."""

    code = "stale"

    def __init__(self, what: str, age_s: float, max_age_s: float) -> None:
        self.what, self.age_s, self.max_age_s = what, age_s, max_age_s
        super().__init__(f"{what} is {age_s * 1e3:.0f} ms old; at most {max_age_s * 1e3:.0f} ms is allowed")


class DeadlineError(DexError):
    """A wait ended without an answer; says who was silent and for how long."""

    code = "deadline"

    def __init__(self, who: str, timeout_s: float, hint: str = "") -> None:
        self.who, self.timeout_s = who, timeout_s
        super().__init__(f"{who} was silent for {timeout_s:.3g} s" + (f"; {hint}" if hint else ""))


class DeviceError(DexError):
    """A device refused, failed or is not there. ``device_code`` is the vendor's own number, if any."""

    code = "device_error"

    def __init__(self, message: str, *, code: str | None = None, device_code: int | None = None) -> None:
        super().__init__(message, code=code)
        self.device_code = device_code


class ConnectionLostError(DeviceError):
    """The link to a device is gone."""

    code = "connection_lost"


class LimitError(DexError):
    """A command breaks a limit and is refused (not clamped)."""

    code = "limit"


class BundleError(DexError):
    """A model bundle is refused; ``code`` is the reason code of the failed check."""

    code = "bundle_invalid"
