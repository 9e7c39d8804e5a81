# SPDX-License-Identifier: Apache-2.0
"""bpf/layout.h as ctypes: what program and user space share, byte for byte. A test compares the two."""

from __future__ import annotations

from ctypes import Structure, c_uint8, c_uint16, c_uint32, c_uint64, sizeof

LAYOUT_VERSION = 7
PROBE_MARK = 0x67656F64
MAX_SERVICES = 16
NO_SERVICE = 0xFF

SEGMENT_BYTES = 4 << 20
SEGMENT_LINES = 1 << 16
ROOT_BYTES = 4 << 16
LINE_BYTES = 64
POLICY_BYTES = 256 << 10
ELEMENT_ROWS = 1 << 16

ROW_ACCEPT, ROW_DROP, ROW_EMBEDDED, ROW_NEVER_DROP = range(4)
ROW_HOLDS_IPV4 = 4
ROW_PAIR_SHIFT = 8

SERVICE_ENFORCE = 1
SERVICE_KEEP = 2
SERVICE_RAMP = 4
SERVICE_RAMP_TIMED = 8
MAX_STEPS = 8
STEP_NEVER = 1 << 62

SELECTION_NEVER_DROP = 1
SELECTION_LOCAL = 2
SELECTION_EVERY = 4
MAX_SELECTIONS = 256
MAX_LOCAL = 256

UNREADABLE_PROTOCOL, UNREADABLE_TCP, UNREADABLE_UDP = range(3)

CONTROL_TABLES = 1
CONTROL_POLICY = 2
CONTROL_IN_FORCE = 4
CONTROL_WINDOW = 8
CONTROL_WINDOW_SLOT = 16
CONTROL_GENERATION_SHIFT = 8

MAX_QUESTIONS = 16

MAX_EXEMPT = 2048


class StepLayout(Structure):
    """From this moment on (nanoseconds of CLOCK_TAI; 0: always), this share of sources is dropped, in buckets."""

    _fields_ = (("moment", c_uint64), ("share", c_uint64))


class ServiceLayout(Structure):
    """`starts` is in nanoseconds of CLOCK_TAI (0: has started); `pair` counts what it accepts and never drops,
    `exempted` what passes because its source is exempt. With SERVICE_RAMP, the last `step` that has come says which
    share is dropped; `seed` is for the hash.
    """

    _fields_ = (
        ("starts", c_uint64),
        ("flags", c_uint32),
        ("pair", c_uint32),
        ("exempted", c_uint32),
        ("seed", c_uint32),
        ("step", StepLayout * MAX_STEPS),
    )


class SelectionLayout(Structure):
    """Services that take a protocol and port: a bit each; `single` is the only one's number, or NO_SERVICE."""

    _fields_ = (("services", c_uint16), ("single", c_uint8), ("flags", c_uint8))


class LocalLayout(Structure):
    """Services that take packets to this local address and those after it. IPv4 is in the upper 32 bits."""

    _fields_ = (("high", c_uint64), ("low", c_uint64), ("services", c_uint64))


class PolicyLayout(Structure):
    """Element 0 of the policy map."""

    _fields_ = (
        ("digest", c_uint8 * 32),
        ("tables_digest", c_uint8 * 32),
        ("generation", c_uint64),
        ("version", c_uint32),
        ("zones", c_uint32),
        ("services", c_uint32),
        ("row_bits", c_uint32),
        ("enforced", c_uint16),
        ("catch_all", c_uint16),
        ("tai_offset", c_uint32),
        ("service", ServiceLayout * MAX_SERVICES),
        ("selection", SelectionLayout * MAX_SELECTIONS),
        ("local_ipv4", LocalLayout * MAX_LOCAL),
        ("local_ipv6", LocalLayout * MAX_LOCAL),
        ("too_deep", c_uint32),
        ("by_unreadable", c_uint8 * 4),
        ("by_protocol", c_uint8 * 256),
        ("by_tcp_port", c_uint8 * 65536),
        ("by_udp_port", c_uint8 * 65536),
        (
            "unused",
            c_uint8
            * (
                POLICY_BYTES
                - 64
                - 32
                - sizeof(ServiceLayout) * MAX_SERVICES
                - 4 * MAX_SELECTIONS
                - 48 * MAX_LOCAL
                - 8
                - 256
                - 2 * 65536
            ),
        ),
    )


class WindowLayout(Structure):
    """What ends a generation that nobody confirms: a moment of CLOCK_MONOTONIC, and the word from then on."""

    _fields_ = (("deadline", c_uint64), ("previous", c_uint64))


class ControlLayout(Structure):
    """The one element of the control map."""

    _fields_ = (("word", c_uint64), ("window", WindowLayout * 2))


class CounterLayout(Structure):
    """One counter on one CPU."""

    _fields_ = (("packets", c_uint64), ("bytes", c_uint64))


class ExemptKeyLayout(Structure):
    """A prefix of exempt sources; `high` and `low` are in network byte order, IPv4 in the first four bytes."""

    _fields_ = (("prefix", c_uint32), ("family", c_uint32), ("high", c_uint64), ("low", c_uint64))


class ExemptLayout(Structure):
    """Until when a source passes, in nanoseconds of CLOCK_MONOTONIC, and what has passed because of it."""

    _fields_ = (("expires", c_uint64), ("packets", c_uint64), ("bytes", c_uint64))


class QuestionLayout(Structure):
    """An address as keys; the program writes its answer to `zone`."""

    _fields_ = (("high", c_uint64), ("low", c_uint64), ("family", c_uint32), ("zone", c_uint32))


class QuestionsLayout(Structure):
    """The frame that the asking program gets and answers in place; it replaces `tables` by its LAYOUT_VERSION."""

    _fields_ = (("tables", c_uint32), ("count", c_uint32), ("question", QuestionLayout * MAX_QUESTIONS))
