# SPDX-License-Identifier: Apache-2.0
"""`geodrop run`: keeps the kernel as the policy wants it. Stopping it changes nothing in the kernel."""
