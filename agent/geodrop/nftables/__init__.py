# SPDX-License-Identifier: Apache-2.0
"""The nftables engine: one table of our own, filled and switched by raw netlink.

Modules that call themselves pure only build and compare values; the others talk to the kernel.
"""
