# SPDX-License-Identifier: Apache-2.0
"""The XDP engine: layouts and encoding are pure; libbpf, pins and links access the kernel; `engine` combines them."""
