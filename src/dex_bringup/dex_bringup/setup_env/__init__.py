# SPDX-License-Identifier: Apache-2.0
"""Makes `.venv`: pinned wheels, their mend, the interface packages and the links to src/. Standard library only."""
