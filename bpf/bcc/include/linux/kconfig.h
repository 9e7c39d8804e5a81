/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Replaces what bcc takes from the kernel's own headers, since this program needs none of them. bcc looks for the
 * headers of the running kernel (BCC_KERNEL_SOURCE names this folder instead) and includes this file first. Its
 * helpers.h then uses only a few types. Everything else comes from the headers for programs (/usr/include/linux), which
 * have no version to match. The other files here are empty: bcc includes them by name.
 */
#ifndef GEODROP_BCC_KCONFIG_H
#define GEODROP_BCC_KCONFIG_H

#define CONFIG_BPF_SYSCALL 1

typedef signed char s8;
typedef unsigned char u8;
typedef short s16;
typedef unsigned short u16;
typedef int s32;
typedef unsigned int u32;
typedef long long s64;
typedef unsigned long long u64;
typedef _Bool bool;
typedef unsigned long size_t;
typedef unsigned long uintptr_t;

#endif
