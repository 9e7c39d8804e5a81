# SPDX-License-Identifier: Apache-2.0
"""Numbers of the kernel's netlink interface to nf_tables, under the kernel's names.

Sources: linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h, linux/netfilter.h. At the end are
the few that nft defines for its own use: types of keys, layout of user data.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag

NETLINK_NETFILTER = 12
SO_SNDBUFFORCE = 32

NFNL_MSG_BATCH_BEGIN = 0x10
NFNL_MSG_BATCH_END = 0x11
NFNL_SUBSYS_NFTABLES = 10
NFNLGRP_NFTABLES = 7

NFPROTO_INET = 1
NFPROTO_IPV4 = 2
NFPROTO_IPV6 = 10
NF_INET_PRE_ROUTING = 0
NFT_OBJECT_COUNTER = 1
NFT_TABLE_F_DORMANT = 1
NFT_REG_VERDICT = 0
NFT_REG_1 = 1
NFT_SET_ELEM_INTERVAL_END = 1
NFT_BYTEORDER_HTON = 1


class Flag(IntFlag):
    """Flags of a netlink message."""

    REQUEST = 0x1
    ACK = 0x4
    DUMP = 0x300
    EXCL = 0x200
    CREATE = 0x400
    APPEND = 0x800


class Message(IntEnum):
    """enum nf_tables_msg_types."""

    NEWTABLE = 0
    GETTABLE = 1
    DELTABLE = 2
    NEWCHAIN = 3
    GETCHAIN = 4
    DELCHAIN = 5
    NEWRULE = 6
    GETRULE = 7
    DELRULE = 8
    NEWSET = 9
    GETSET = 10
    DELSET = 11
    NEWSETELEM = 12
    GETSETELEM = 13
    DELSETELEM = 14
    NEWGEN = 15
    GETGEN = 16
    NEWOBJ = 18
    GETOBJ = 19
    DELOBJ = 20
    GETFLOWTABLE = 23
    DELFLOWTABLE = 24


class FlowtableAttribute(IntEnum):
    """NFTA_FLOWTABLE_*."""

    TABLE = 1
    NAME = 2
    HOOK = 3


class FlowtableHookAttribute(IntEnum):
    """NFTA_FLOWTABLE_HOOK_DEVS; and, inside it, NFTA_DEVICE_PREFIX beside NFTA_DEVICE_NAME."""

    PREFIX = 2
    DEVICES = 3


class GenerationAttribute(IntEnum):
    """NFTA_GEN_*, of an NFT_MSG_NEWGEN; numbers are big-endian."""

    ID = 1
    PROC_PID = 2
    PROC_NAME = 3


class TableAttribute(IntEnum):
    """NFTA_TABLE_*."""

    NAME = 1
    FLAGS = 2
    USERDATA = 6


class ChainAttribute(IntEnum):
    """NFTA_CHAIN_*."""

    TABLE = 1
    NAME = 3
    HOOK = 4
    POLICY = 5
    TYPE = 7
    USERDATA = 12


class HookAttribute(IntEnum):
    """NFTA_HOOK_*."""

    HOOKNUM = 1
    PRIORITY = 2


class RuleAttribute(IntEnum):
    """NFTA_RULE_*."""

    TABLE = 1
    CHAIN = 2
    HANDLE = 3
    EXPRESSIONS = 4
    USERDATA = 7


class SetAttribute(IntEnum):
    """NFTA_SET_*."""

    TABLE = 1
    NAME = 2
    FLAGS = 3
    KEY_TYPE = 4
    KEY_LEN = 5
    DATA_TYPE = 6
    DATA_LEN = 7
    ID = 10
    USERDATA = 13
    EXPR = 17


class SetFlag(IntFlag):
    """enum nft_set_flags."""

    ANONYMOUS = 0x1
    CONSTANT = 0x2
    INTERVAL = 0x4
    MAP = 0x8
    TIMEOUT = 0x10


class ElementsAttribute(IntEnum):
    """NFTA_SET_ELEM_LIST_*."""

    TABLE = 1
    SET = 2
    ELEMENTS = 3
    SET_ID = 4


class ElementAttribute(IntEnum):
    """NFTA_SET_ELEM_*."""

    KEY = 1
    DATA = 2
    FLAGS = 3
    TIMEOUT = 4
    EXPIRATION = 5
    EXPR = 7


class ObjectAttribute(IntEnum):
    """NFTA_OBJ_*."""

    TABLE = 1
    NAME = 2
    TYPE = 3
    DATA = 4
    USERDATA = 8


class CounterAttribute(IntEnum):
    """NFTA_COUNTER_*."""

    BYTES = 1
    PACKETS = 2


LIST_ELEM = 1
EXPR_NAME, EXPR_DATA = 1, 2
DATA_VALUE, DATA_VERDICT = 1, 2
VERDICT_CODE, VERDICT_CHAIN = 1, 2
IMMEDIATE_DREG, IMMEDIATE_DATA = 1, 2
META_DREG, META_KEY = 1, 2
PAYLOAD_DREG, PAYLOAD_BASE, PAYLOAD_OFFSET, PAYLOAD_LEN = 1, 2, 3, 4
CMP_SREG, CMP_OP, CMP_DATA = 1, 2, 3
LOOKUP_SET, LOOKUP_SREG, LOOKUP_DREG, LOOKUP_SET_ID, LOOKUP_FLAGS = 1, 2, 3, 4, 5
BITWISE_SREG, BITWISE_DREG, BITWISE_LEN, BITWISE_MASK, BITWISE_XOR = 1, 2, 3, 4, 5
HASH_SREG, HASH_DREG, HASH_LEN, HASH_MODULUS, HASH_SEED = 1, 2, 3, 4, 5
BYTEORDER_SREG, BYTEORDER_DREG, BYTEORDER_OP, BYTEORDER_LEN, BYTEORDER_SIZE = 1, 2, 3, 4, 5
EXTHDR_DREG, EXTHDR_TYPE, EXTHDR_OFFSET, EXTHDR_LEN = 1, 2, 3, 4
OBJREF_IMM_TYPE, OBJREF_IMM_NAME = 1, 2
REJECT_TYPE, REJECT_CODE = 1, 2


class VerdictCode(IntEnum):
    """enum nft_verdicts and the netfilter verdicts it extends: all that the kernel accepts."""

    DROP = 0
    ACCEPT = 1
    QUEUE = 3
    CONTINUE = -1
    BREAK = -2
    JUMP = -3
    GOTO = -4
    RETURN = -5


class RejectType(IntEnum):
    """enum nft_reject_types: ICMP of the table's family, TCP reset, ICMP of the packet's family."""

    ICMP_UNREACH = 0
    TCP_RST = 1
    ICMPX_UNREACH = 2


class RejectCode(IntEnum):
    """enum nft_reject_inet_code, for ICMPX_UNREACH; a reset has no code."""

    NO_ROUTE = 0
    PORT_UNREACH = 1
    HOST_UNREACH = 2
    ADMIN_PROHIBITED = 3


class MetaKey(IntEnum):
    """enum nft_meta_keys."""

    MARK = 3
    IIF = 4
    IIFNAME = 6
    NFPROTO = 15
    L4PROTO = 16
    IIFKIND = 26
    TIME_NS = 30


class PayloadBase(IntEnum):
    """enum nft_payload_bases."""

    NETWORK = 1
    TRANSPORT = 2


class CmpOp(IntEnum):
    """enum nft_cmp_ops."""

    EQ = 0
    NEQ = 1
    LT = 2
    LTE = 3
    GT = 4
    GTE = 5


class KeyType(IntEnum):
    """What nft writes into NFTA_SET_KEY_TYPE to be able to print elements (nftables, include/datatype.h)."""

    INTEGER = 4
    IPV4_ADDR = 7
    IPV6_ADDR = 8
    INET_PROTO = 12
    INET_SERVICE = 13
    ICMP_TYPE = 14
    MARK = 19
    ICMPV6_TYPE = 29
    IFNAME = 41


NFT_DATA_VERDICT = 0xFFFFFF00
UDATA_COMMENT = 0  # of tables, chains, rules and objects (libnftnl, libnftnl/udata.h)
UDATA_SET_KEYBYTEORDER = 0
UDATA_SET_KEY_TYPEOF, UDATA_SET_DATA_TYPEOF = 3, 4  # of maps: an expression by which nft lists and checks lookups
UDATA_EXPR_VERDICT, UDATA_EXPR_PAYLOAD = 1, 7  # nftables, include/expression.h
UDATA_PAYLOAD_DESC, UDATA_PAYLOAD_TYPE, UDATA_PAYLOAD_BASE, UDATA_PAYLOAD_OFFSET, UDATA_PAYLOAD_LEN = range(5)
UDATA_SET_COMMENT = 7
UDATA_HOST_ENDIAN, UDATA_BIG_ENDIAN = 1, 2  # nftables, include/datatype.h
