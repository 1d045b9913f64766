# SPDX-License-Identifier: Apache-2.0
"""The C sources of the clouds; ``dex_core.native`` builds them."""
