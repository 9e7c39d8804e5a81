# SPDX-License-Identifier: Apache-2.0
"""Notice changes of the kernel by other programs, repair them, and report who made them."""
