"""The nftables engine: one table of our own, filled and switched by raw netlink.

From a ruleset down to the kernel: `program` (with `selectors`, `lookups`, `stamp`, `names`) says what should be there,
as the values of `model` and `expressions`; `messages`, `elements` and `wire` turn that into netlink and back; `netlink`
is the socket; `observe` reads the table back, `compare` tells it from the program, `judge` asks it about addresses;
`engine` puts these in order.
"""
