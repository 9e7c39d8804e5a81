"""The nftables engine: one table of our own, filled and switched by raw netlink.

`program`, `messages`, `elements`, `compare` and what they use are pure; `netlink`, `observe`, `judge`, `engine` act.
"""
